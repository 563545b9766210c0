"""CuPy on a real GPU: transfer, erf, scatter_add, and fused kernels against NumPy's values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad.backend import Backend, backend_of, get_backend
from tests.backend.test_cupy_kernel import KERNEL, arguments

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu() -> Backend:
    return get_backend("cuda")


def test_there_and_back(gpu: Backend) -> None:
    for host in (np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2)), np.array(True), np.float16(2)):
        x = gpu.from_host(np.asarray(host))
        assert backend_of(x) is gpu
        np.testing.assert_array_equal(gpu.to_host(x), host)
        assert x.dtype == host.dtype
    gpu.synchronize()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_erf(gpu: Backend, dtype: Any) -> None:
    host = np.linspace(-4, 4, 101).astype(dtype)
    expected = get_backend("cpu").erf(host)
    y = gpu.erf(gpu.from_host(host))
    assert y.dtype == expected.dtype
    np.testing.assert_allclose(gpu.to_host(y), expected, rtol=4 * np.finfo(y.dtype).eps)
    out = gpu.empty(y.shape, y.dtype)
    gpu.erf(gpu.from_host(host), out)
    np.testing.assert_array_equal(gpu.to_host(out), gpu.to_host(y))


def test_scatter_add(gpu: Backend) -> None:
    rng = np.random.default_rng(0)
    index = rng.integers(-100, 100, 1000)
    into, values = np.zeros((100, 16)), rng.integers(-9, 10, (1000, 16)).astype(float)
    keys: list[tuple[Any, Any]] = [
        (index, values),
        ((slice(None), np.array([3, 3, -1])), values[:100, :3]),
        ((index[:500], index[500:] % 16), values[:500, 0]),
        (np.arange(100) % 3 == 0, values[:34]),
    ]
    for key, added in keys:  # whole numbers: exact in any order
        expected = into.copy()
        np.add.at(expected, key, added)
        target = gpu.from_host(into)
        parts = key if isinstance(key, tuple) else (key,)
        moved = [gpu.from_host(k) if isinstance(k, np.ndarray) else k for k in parts]
        gpu.scatter_add(target, tuple(moved), gpu.from_host(added))
        np.testing.assert_array_equal(gpu.to_host(target), expected)


@pytest.mark.parametrize(
    "shapes",
    [((6, 4), (3, 4), (4,)), ((6, 4), (3, 1), ()), ((2, 4), (5, 4), (1, 1)), ((6,), (3,), ())],
)
@pytest.mark.parametrize(
    "dtypes",
    [(np.float32,) * 2, (np.float64,) * 2, (np.float16,) * 2, (np.float32, np.float64)],
)
def test_fused_kernels(gpu: Backend, shapes: Any, dtypes: Any) -> None:
    xs = arguments(*shapes, dtypes)
    ys = gpu.compile(KERNEL)(*map(gpu.from_host, xs))
    expected = get_backend("cpu").compile(KERNEL)(*xs)
    for y, e in zip(ys, expected, strict=True):
        assert y.dtype == e.dtype
        tolerance = 4e-3 if y.dtype == np.float16 else 3e-6
        value = np.broadcast_to(e, y.shape)
        np.testing.assert_allclose(gpu.to_host(y), value, rtol=tolerance, atol=tolerance)
