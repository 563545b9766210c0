"""What works along rows: NumPy's quick ways give the numbers of the plain ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad.backend import Backend, get_backend

Host = np.ndarray[Any, Any]
FORMATS = [np.float16, np.float32, np.float64]
LOWEST = float(np.finfo(np.float32).min)


@pytest.fixture(params=["cpu", "strict"])
def xp(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def rows(dtype: Any, *tops: float) -> Host:
    """Rows of 40 numbers that reach about up to each of `tops`."""
    noise = np.random.default_rng(0).uniform(-8, 0, (len(tops), 40))
    return (noise + np.array(tops)[:, None]).astype(dtype)


def exact_softmax(x: Host) -> Host:
    wide = x.astype(np.longdouble)
    top = wide.max(axis=-1, keepdims=True)
    e = np.exp(wide - np.where(np.isneginf(top), 0, top))
    return e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300)


CASES = {
    "around 0": (0, 1, 2),
    "above 0": (50, 55, 59),
    "alike, far above": (5000, 5001, 4999),
    "alike, far below": (-5000, -5001, -4999),
    "far apart": (0, -500, 500),
    "one row far below": (10, 0, -300),
}


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("tops", CASES.values(), ids=CASES)
def test_exponentials_are_in_range_and_in_proportion(xp: Backend, tops: Any, dtype: Any) -> None:
    x = rows(dtype, *tops)
    out = xp.from_host(np.empty_like(x))
    total = xp.to_host(xp.exp_to_scale(xp.from_host(x), out))
    assert total.shape == (len(tops), 1)
    eps = 8 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(
        (xp.to_host(out) / total).astype(float), exact_softmax(x).astype(float), eps, 1e-4 * eps
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_masked_rows_and_what_is_not_finite(xp: Backend, dtype: Any) -> None:
    x = rows(dtype, 0, 1, 2, 3, 4)
    x[0, :20], x[1, :20], x[2] = -np.inf, LOWEST, -np.inf
    expected = exact_softmax(x)
    x[3, 0], expected[3] = np.nan, np.nan
    out = xp.from_host(np.empty_like(x))
    total = xp.exp_to_scale(xp.from_host(x), out)
    found = xp.to_host(out) / xp.to_host(total)
    np.testing.assert_allclose(found, expected.astype(float), 1e-6, 1e-30)


def test_a_row_at_the_ends_of_the_range_beside_another(xp: Backend) -> None:
    x = np.array([[-LOWEST, 0.0], [LOWEST, LOWEST]], np.float32)
    out = xp.from_host(np.empty_like(x))
    with np.errstate(all="raise", under="ignore"):
        total = xp.exp_to_scale(xp.from_host(x), out)
    np.testing.assert_array_equal(xp.to_host(out) / xp.to_host(total), [[1, 0], [0.5, 0.5]])


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("tops", CASES.values(), ids=CASES)
def test_shares_of_an_exponential(xp: Backend, tops: Any, dtype: Any) -> None:
    x, y = rows(dtype, *tops), np.array(tops, dtype)[:, None]
    g = np.array([[1.0], [-2.0], [1e-3]], dtype)
    x[0, 0] = -np.inf
    out = xp.from_host(np.empty_like(x))
    xp.exp_shares(*map(xp.from_host, (x, y, g)), out)
    expected = g * np.exp(x.astype(np.longdouble) - y)
    eps = 8 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(xp.to_host(out).astype(float), expected.astype(float), eps, eps)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", [(5, 33), (1, 1), (0, 3), (3, 0)])
def test_sums_and_products_of_rows(xp: Backend, shape: tuple[int, int], dtype: Any) -> None:
    random = np.random.default_rng(0)
    x, y = (random.uniform(0, 1, shape).astype(dtype) for _ in range(2))
    for found, expected in (
        (xp.row_sums(xp.from_host(x)), x.astype(float).sum(axis=1)),
        (xp.row_dots(xp.from_host(x), xp.from_host(y)), (x.astype(float) * y).sum(axis=1)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(xp.to_host(found), expected, 40 * float(np.finfo(dtype).eps))
