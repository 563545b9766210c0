"""Sums along axes: what is summed as a product with ones is what NumPy's sums give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad.backend import Backend, get_backend
from minigrad.backend.numpy_ import MANY
from minigrad.ops.contract import column_sum

Host = np.ndarray[Any, Any]
CASES = [
    ((2000, 9), (0,)),
    ((2000, 9), (1,)),
    ((2000, 9), (0, 1)),
    ((MANY, 1), (0,)),
    ((MANY,), (0,)),
    ((1, MANY), (0,)),
    ((20, 30, 31), (0, 1)),
    ((20, 30, 31), (0, 2)),
    ((20, 30, 31), ()),
    ((3, 4), (0,)),
    ((0, 4), (0,)),
]
DTYPES = [np.float32, np.float64, np.int64, np.bool_]
AROUND = {np.float16: 0, np.float32: 1e-6, np.float64: 1e-15}


@pytest.fixture(params=["cpu", "strict"])
def xp(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def numbers(shape: tuple[int, ...], dtype: Any) -> Host:
    return (100 * np.random.default_rng(0).standard_normal(shape)).astype(dtype)


def check(total: Host, expected: Host, x: Host) -> None:
    """Equal, up to what rounding does to a sum of such numbers."""
    assert total.shape == expected.shape
    size = np.abs(x.astype(float)).sum()
    np.testing.assert_allclose(total, expected, rtol=0, atol=AROUND.get(x.dtype.type, 0) * size)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axes"), CASES)
def test_sums(xp: Backend, shape: Any, axes: Any, dtype: Any, keepdims: bool) -> None:
    x = numbers(shape, dtype)
    for here in (x, np.asfortranarray(x), x[::-1]):
        total = xp.to_host(xp.sum_over(xp.from_host(here), axes, keepdims))
        expected = here.sum(axis=axes, keepdims=keepdims)
        assert total.dtype == expected.dtype
        check(total, expected, x)


def test_what_is_not_finite_stays_in_its_column(xp: Backend) -> None:
    x = np.ones((MANY, 3), np.float32)
    x[5, 0], x[9, 1] = np.nan, np.inf
    total = xp.to_host(xp.sum_over(xp.from_host(x), (0,)))
    np.testing.assert_array_equal(total, [np.nan, np.inf, MANY])


@pytest.mark.parametrize("dtype", AROUND)
@pytest.mark.parametrize(
    "shape",
    [(40, 700), (7, 40, 100), (2, 3, 40, 5), (2, 3, 40, 20), (0, 16), (3, 0, 16), (0, 4, 16)],
)
def test_all_but_the_features(xp: Backend, shape: tuple[int, ...], dtype: Any) -> None:
    x = numbers(shape, dtype)
    axes = tuple(axis for axis in range(x.ndim) if axis != x.ndim - 2)
    wide = np.float32 if dtype is np.float16 else dtype  # halves are rounded once, at the end
    for here in (x, np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -2, 0)), 0, -2)):
        total = xp.to_host(column_sum(xp.from_host(here)))
        check(total, here.sum(axis=axes, dtype=wide).astype(dtype), x)


def test_equal_numbers_add_up_as_exactly_as_by_numpy(xp: Backend) -> None:
    """Rounding goes one way all along: what is added number by number is off by 10⁻⁴."""
    for shape, axes in (((200_000, 1), (0,)), ((1, 200_000), (1,)), ((200_000,), (0,))):
        total = xp.sum_over(xp.from_host(np.full(shape, 0.1, np.float32)), axes)
        np.testing.assert_allclose(xp.to_host(total), 20_000, rtol=1e-6)
    for shape in ((3, 200_000), (1, 200_000), (3, 4, 50_000), (500, 4, 400)):
        x = np.full(shape, 0.1, np.float32)
        y = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, -2, 0)), 0, -2)
        for here in (x, y):
            total = xp.to_host(column_sum(xp.from_host(here)))
            np.testing.assert_allclose(total, x.size / shape[-2] / 10, rtol=1e-6)
