"""scatter_add is np.add.at, to the bit, on every backend of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.backend import Backend, get_backend
from minigrad.backend.numpy_ import FEW
from minigrad.backend.scatter import BLOCK, cuts_of

DEVICES = ("cpu", "strict")


def check(into: np.ndarray[Any, Any], index: Any, values: np.ndarray[Any, Any]) -> None:
    expected = into.copy()
    np.add.at(expected, index, values)
    for device in DEVICES:
        xp = get_backend(device)
        target = xp.from_host(into.copy())
        xp.scatter_add(target, _moved(xp, index), xp.from_host(values))
        assert xp.to_host(target).tobytes() == expected.tobytes()


def _moved(xp: Backend, index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_moved(xp, k) for k in index)
    return xp.from_host(index) if isinstance(index, np.ndarray) else index


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape).astype(dtype)


@given(
    rows=st.integers(1, 300),
    width=st.sampled_from([1, 2, 3, 8, 64, 127, 600]),
    lead=hnp.array_shapes(max_dims=2, max_side=40, min_side=0, min_dims=1),
    dtype=st.sampled_from([np.float32, np.float64, np.float16]),
    index_dtype=st.sampled_from([np.int64, np.int32, np.uint8, np.uint64]),
    seed=st.integers(0, 2**32),
)
def test_rows(rows: int, width: int, lead: Any, dtype: Any, index_dtype: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = -rows if np.dtype(index_dtype).kind == "i" else 0
    index = rng.integers(low, min(rows, 255), lead).astype(index_dtype)
    check(normal(rng, (rows, width), dtype), index, normal(rng, (*lead, width), dtype))


@pytest.mark.parametrize("width", [256, 255])
@pytest.mark.parametrize("distinct", [1, 5, 10000])
def test_many_rows(width: int, distinct: int) -> None:
    """Over several blocks: one row many times, few rows, and rows that hardly ever repeat."""
    rng = np.random.default_rng(0)
    count = 3 * BLOCK // width
    index = rng.integers(0, distinct, count)
    check(normal(rng, (10000, width), np.float32), index, normal(rng, (count, width), np.float32))


def _repeating(kind: str, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """2000 of 3000 rows, as they are named in turn."""
    rows = rng.integers(0, 3000, 2000)
    if kind == "at once":
        rows[1::100] = rows[0::100]
    elif kind == "negative":
        rows[1::7] = rows[0:-1:7] - 3000
    elif kind == "one row often":
        rows[::2] = 5
    elif kind == "each once":
        rows = rng.permutation(3000)[:2000]
    elif kind == "ends with a repeat":
        rows[-1] = rows[-2]
    return rows


@pytest.mark.parametrize(
    "kind", ["at random", "at once", "negative", "one row often", "each once", "ends with a repeat"]
)
def test_rows_that_are_named_again(kind: str) -> None:
    rng = np.random.default_rng(0)
    index = _repeating(kind, rng)
    check(normal(rng, (3000, 200), np.float32), index, normal(rng, (2000, 200), np.float32))


@pytest.mark.parametrize(
    ("shape", "index", "lead"),
    [
        ((3, 4, 50), np.repeat(np.arange(3), 30), (90,)),  # rows of two axes
        ((2000,), np.arange(4000) % 7, (4000,)),
        ((40, 50), (np.repeat(np.arange(40), 40), np.arange(1600) % 3), (1600,)),
        ((40, 50), (slice(None), np.arange(60) % 5), (40, 60)),
        ((40, 50), np.arange(40) % 3 == 0, (14,)),
        ((40, 50), (slice(2, 30), None), (28, 1)),
        ((40, 50), 7, ()),
        ((40, 0), np.zeros(1200, int), (1200,)),
        ((0, 50), np.zeros(0, int), (0,)),
        ((0, 5), np.zeros(0, int), (0,)),
        ((40, 50), np.array(3), ()),
    ],
)
def test_other_keys(shape: tuple[int, ...], index: Any, lead: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    target = normal(rng, shape, np.float32)
    tail = target[index].shape[len(lead) :]
    check(target, index, normal(rng, (*lead, *tail), np.float32))


def test_values_that_broadcast_or_are_strided() -> None:
    rng = np.random.default_rng(0)
    into, index = normal(rng, (40, 64), np.float32), rng.integers(0, 40, (50, 3))
    check(into, index, normal(rng, (50, 1, 64), np.float32))
    check(into, index, np.broadcast_to(normal(rng, (64,), np.float32), (50, 3, 64)))
    check(into, index, normal(rng, (64, 3, 50), np.float32).T)


def test_a_target_that_is_a_view() -> None:
    rng = np.random.default_rng(0)
    index, values = rng.integers(0, 40, 100), normal(rng, (100, 32), np.float32)
    for device in DEVICES:
        xp = get_backend(device)
        for view in (np.s_[10:50], np.s_[::2]):
            base = normal(rng, (80, 32), np.float32)
            target = xp.from_host(base)
            expected = base.copy()
            np.add.at(expected[view], index, values)
            xp.scatter_add(target[view], xp.from_host(index), xp.from_host(values))
            np.testing.assert_array_equal(xp.to_host(target), expected)


def test_values_of_another_dtype() -> None:
    rng = np.random.default_rng(0)
    check(
        normal(rng, (40, 64), np.float32),
        rng.integers(0, 40, 100),
        normal(rng, (100, 64), np.float64),
    )


@pytest.mark.parametrize("row", [40, -41])
def test_a_row_out_of_bounds_raises_and_nothing_is_added(row: int) -> None:
    values, into = np.ones((30, FEW), np.float32), np.zeros((40, FEW), np.float32)
    with pytest.raises(IndexError):
        get_backend("cpu").scatter_add(into, np.array([*range(29), row]), values)
    assert not into.any()


def test_runs_are_cut_where_a_row_is_named_again() -> None:
    rows = np.array([1, 2, 1, 3, 2, 2, 9])
    assert cuts_of(rows, most=4) == [0, 2, 5, 7]
    assert cuts_of(rows, most=2) is None
    assert cuts_of(np.arange(5), most=1) == [0, 5]
