"""Random numbers lie where they should, in every dtype."""

from __future__ import annotations

import pytest

import minigrad as mg


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_rand_is_below_one(dtype: str) -> None:
    x = mg.rand(20_000, dtype=dtype, generator=mg.Generator(0))
    assert float(x.min()) >= 0
    assert float(x.max()) < 1
