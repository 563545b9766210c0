"""The error function against values that mpmath gives to 20 digits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigrad.backend import Backend, get_backend
from minigrad.backend.erf import BLOCK, erf

# [(x, mpmath.erf(x)) …] with mpmath.mp.dps = 40; every x but the first and the last is a float32
VALUES = [
    (1e-300, 1.1283791670955126022e-300),
    (2**-60, 9.7871291548187100235e-19),
    (2**-20, 1.0761062308265404596e-6),
    (0.015625, 0.017629489782642005546),
    (0.125, 0.14031620480133381739),
    (0.25, 0.27632639016823693299),
    (0.375, 0.40411690943482229832),
    (0.5, 0.52049987781304653768),
    (0.625, 0.62324088218841797245),
    (0.75, 0.7111556336535151316),
    (0.84375, 0.76722566123234163346),
    (0.90625, 0.80002789416423298376),
    (0.96875, 0.82931915059331512739),
    (1 - 2**-24, 0.84270076820737846723),
    (1.0, 0.84270079294971486934),
    (1 + 2**-23, 0.84270084243437882502),
    (1.0078125, 0.84591855035762765397),
    (1.0625, 0.86705826943495275538),
    (1.125, 0.88838823170170776407),
    (1.25, 0.92290012825645823014),
    (1.5, 0.96610514647531072707),
    (1.75, 0.98667167121918244377),
    (2.0, 0.99532226501895273416),
    (2.25, 0.9985372834133188483),
    (2.5, 0.99959304798255504106),
    (3.0, 0.99997790950300141456),
    (3.5, 0.99999925690162765859),
    (3.75, 0.9999998862727434302),
    (4.0, 0.99999998458274209972),
    (4.5, 0.99999999980338395585),
    (5.0, 0.99999999999846254021),
    (5.5, 0.99999999999999264215),
    (5.75, 0.99999999999999957679),
    (6.0, 0.99999999999999997848),
    (8.0, 1.0),
    (1e300, 1.0),
]
FLOATS = st.floats(allow_nan=False, width=32)


@pytest.fixture(params=["cpu", "strict"])
def xp(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def test_float64_is_right_to_the_last_place() -> None:
    x, expected = np.array(VALUES).T
    error = np.abs(erf(x) - expected) / np.abs(expected)
    assert error.max() < 3e-16, x[error.argmax()]


def test_float32_is_right_to_the_last_place() -> None:
    x, expected = np.array(VALUES[1:-1]).T
    y = erf(x.astype(np.float32))
    assert y.dtype == np.float32
    error = np.abs(y - expected) / np.abs(expected)
    assert error.max() < 1.2e-7, x[error.argmax()]


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=0, min_side=0), elements=FLOATS))
def test_it_is_pythons_elementwise(x: np.ndarray[Any, Any]) -> None:
    expected = [math.erf(v) for v in x.ravel().tolist()]
    y = erf(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(y.ravel(), expected, rtol=4e-16, atol=5e-324)


@given(FLOATS)
def test_it_is_odd_to_the_bit(v: float) -> None:
    x = np.array([v, -v])
    for y in (erf(x), erf(x.astype(np.float32))):
        assert y[0] == -y[1]


def test_special_values() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)
        y = erf(x)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, np.array([0, 0, 1, -1, np.nan], dtype))
        assert np.signbit(y).tolist() == [False, True, False, True, bool(np.signbit(y[4]))]


def test_it_rises_where_its_pieces_meet() -> None:
    for dtype in (np.float32, np.float64):
        one, ulp = dtype(1), np.finfo(dtype).eps
        x = one + np.arange(-50, 51, dtype=dtype) * ulp
        assert np.all(np.diff(erf(x)) >= -ulp)


def test_more_than_a_block() -> None:
    x = np.linspace(-3, 3, 2 * BLOCK + 7)
    y = erf(x)
    picked = [0, BLOCK - 1, BLOCK, 2 * BLOCK + 6]
    np.testing.assert_allclose(y[picked], [math.erf(v) for v in x[picked]], rtol=4e-16)


def test_integers_become_float64(xp: Backend) -> None:
    y = xp.to_host(xp.erf(xp.from_host(np.array([0, 1, -2]))))
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, [0, math.erf(1), -math.erf(2)], rtol=4e-16)


def test_layouts_and_out(xp: Backend) -> None:
    host = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
    expected = np.vectorize(math.erf)(host)
    x = xp.from_host(host)
    np.testing.assert_allclose(xp.to_host(xp.erf(x.T)), expected.T, rtol=1e-6)
    np.testing.assert_allclose(xp.to_host(xp.erf(x[:, ::2])), expected[:, ::2], rtol=1e-6)
    xp.erf(x, x)
    np.testing.assert_allclose(xp.to_host(x), expected, rtol=1e-6)


def test_a_scalar_of_numpys() -> None:
    """On the CPU, a 0-d result may be a NumPy scalar."""
    assert get_backend("cpu").erf(np.float64(0.5)) == pytest.approx(math.erf(0.5), rel=4e-16)
