"""The strategies draw what they say, and the cases that matter do come."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.testing.strategies import (
    arrays,
    broadcastable,
    indices,
    mutually_broadcastable,
    shapes,
    tensors,
)

TWO = ((-2.0, -1.0), (3.0, 3.5))


@given(shapes(1, 2, 2, 3))
def test_shapes_have_the_sides_asked_for(shape: tuple[int, ...]) -> None:
    assert 1 <= len(shape) <= 2
    assert set(shape) <= {2, 3}


def test_zero_sides_come_when_asked_for() -> None:
    assert 0 in find(shapes(min_side=0), lambda s: 0 in s and len(s) > 1)


@given(shapes(min_side=0).flatmap(lambda s: arrays(s, domain=TWO)))
def test_elements_come_from_the_domain(x: np.ndarray) -> None:
    assert x.dtype == np.float64
    assert all(any(low <= v <= high for low, high in TWO) for v in x.flat)


@given(arrays((30,), domain=TWO, distinct=True))
def test_distinct_elements_are_apart(x: np.ndarray) -> None:
    assert np.diff(np.sort(x)).min() >= 1.5 / 30 / 2


@given(arrays((40,), np.int64, ((-2, 2),)))
def test_integers_are_below_the_end(x: np.ndarray) -> None:
    assert x.dtype == np.int64
    assert set(x.tolist()) <= {-2, -1, 0, 1}


@given(st.data())
def test_shapes_that_broadcast(data: st.DataObject) -> None:
    shape = data.draw(shapes(min_side=0))
    assert np.broadcast_shapes(data.draw(broadcastable(shape)), shape) == shape
    several = data.draw(mutually_broadcastable(3, st.just(shape)))
    assert np.broadcast_shapes(*several) == shape


@given(st.data())
def test_indices_are_what_numpy_takes(data: st.DataObject) -> None:
    shape = data.draw(shapes(min_side=0))
    x = np.zeros(shape)
    key = data.draw(indices(shape))
    x[key] = 1.0


@pytest.mark.parametrize(
    "kind",
    [
        lambda k: isinstance(k, np.ndarray) and k.dtype == bool,
        lambda k: isinstance(k, tuple) and None in [e for e in k if e is None],
        lambda k: isinstance(k, tuple) and any(isinstance(e, slice) and e.step for e in k),
        lambda k: isinstance(k, tuple) and {np.ndarray, slice} <= {type(e) for e in k},
        lambda k: isinstance(k, tuple) and Ellipsis in [e for e in k if e is Ellipsis],
    ],
)
def test_every_kind_of_index_comes(kind: object) -> None:
    find(indices((2, 3, 2)), kind)


@given(tensors(shapes(), np.float32, requires_grad=False))
def test_tensors_are_on_the_default_device(x: mg.Tensor) -> None:
    assert x.device == mg.get_default_device()
    assert x.dtype == np.float32
    assert not x.requires_grad


def test_without_hypothesis_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import minigrad.testing\n"
        "try:\n    import minigrad.testing.strategies\n"
        "except ImportError as error:\n    print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'minigrad[dev]'" in result.stdout
