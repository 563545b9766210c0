"""`where` without branches gives what NumPy's gives, to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigrad.backend import get_backend
from minigrad.backend.where import BLOCK, FEW, where

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, 1.0])


def values(random: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    x = random.standard_normal(shape).astype(dtype)
    return np.where(random.random(shape) < 0.2, random.choice(SPECIAL, shape).astype(dtype), x)


def assert_same_bits(condition: Any, a: Any, b: Any) -> None:
    expected, y = np.where(condition, a, b), where(condition, a, b)
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    assert np.ascontiguousarray(y).tobytes() == np.ascontiguousarray(expected).tobytes()


@given(
    size=st.sampled_from([1, FEW - 1, FEW, BLOCK, BLOCK + 1, 3 * BLOCK + 5]),
    dtype=st.sampled_from(["f4", "f8"]),
    number=st.sampled_from([None, 0.0, -0.0, -np.inf, 2, True]),
    left=st.booleans(),
    seed=st.integers(0, 99),
)
def test_arrays_and_numbers(size: int, dtype: str, number: Any, left: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = (values(random, (size,), dtype) for _ in range(2))
    if number is not None:
        a, b = (number, b) if left else (a, number)
    assert_same_bits(random.random(size) < 0.5, a, b)


def cases() -> dict[str, tuple[Any, Any, Any]]:
    random = np.random.default_rng(0)
    x, y = (values(random, (80, 90), "f4") for _ in range(2))
    mask = random.random((80, 90)) < 0.5
    return {
        "rows": (mask, x, y),
        "columns": (np.asfortranarray(mask), np.asfortranarray(x), np.asfortranarray(y)),
        "columns, a number": (mask.T, x.T, 0.0),
        "a column of numbers and a row": (np.asfortranarray(mask), x, y),
        "strided": (mask[:, ::2], x[:, ::2], y[:, ::2]),
        "broadcast condition": (mask[:, :1], x, y),
        "broadcast values": (mask, x[:1], y),
        "0-d": (mask, x, np.array(2.0, "f4")),
        "a 0-d of another dtype": (mask, x, np.array(2.0)),
        "mixed dtypes": (mask, x, y.astype("f8")),
        "half": (mask, np.float16(x.clip(-9, 9)), np.float16(y.clip(-9, 9))),
        "integers": (mask, np.arange(7200).reshape(80, 90), 3),
        "no array": (mask, 1.0, 0.0),
        "a condition of numbers": (mask.astype("f4"), x, y),
        "nothing": (mask[:0], x[:0], y[:0]),
    }


@pytest.mark.parametrize("name", cases())
def test_layouts_and_dtypes(name: str) -> None:
    assert_same_bits(*cases()[name])


def test_the_backend_has_it() -> None:
    assert get_backend("cpu").where is where
