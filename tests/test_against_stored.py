"""minigrad gives the numbers that PyTorch gave: values and all gradients, without PyTorch."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from tests.reference import stored
from tests.reference.case import MINIGRAD, Case, Run, assert_agree, run
from tests.reference.cases import FAMILIES

CASES = [(family, case) for family, cases in FAMILIES.items() for case in cases]
SINGLE = 1e-4  # float32 keeps 7 digits; those of a few operations are lost


@functools.cache
def runs(family: str) -> dict[str, Run]:
    return stored.load(family)


def name_of(value: Any) -> str | None:
    return value.name if isinstance(value, Case) else None


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("family", "case"), CASES, ids=name_of)
def test_as_stored(family: str, case: Case, dtype: Any) -> None:
    theirs = runs(family)[case.name].cast(dtype)
    ours = run(case, MINIGRAD, theirs)
    assert all(y.dtype == dtype for y in ours.outputs)
    assert all(g.dtype == dtype for g in ours.gradients.values())
    assert_agree(case, ours, theirs, case.rtol if dtype == np.float64 else SINGLE)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_stored_is_the_table(family: str) -> None:
    names = [case.name for case in FAMILIES[family]]
    assert not stored.duplicates(names)
    assert set(runs(family)) == set(names)


def test_a_wrong_number_is_caught() -> None:
    case = FAMILIES["recurrent"][0]
    theirs = runs("recurrent")[case.name]
    ours = run(case, MINIGRAD, theirs)
    ours.gradients["x"] = ours.gradients["x"] * (1 + 1e-7)
    with pytest.raises(AssertionError, match="gradient of x"):
        assert_agree(case, ours, theirs, 1e-9)
