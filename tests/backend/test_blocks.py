"""Fused functions go through large arrays in blocks, and give the same numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import get_backend
from minigrad.backend.numpy_ import LARGE


@mg.fuse
def several(x: Any, y: Any) -> Any:
    return mg.tanh(x) * y, x > y, x


@pytest.mark.parametrize("rows", [LARGE // 64 - 1, LARGE // 64, LARGE // 64 + 7])
@pytest.mark.parametrize("layout", ["rows", "columns", "strided", "one row of y", "float64"])
def test_large_arrays(rows: int, layout: str) -> None:
    random = np.random.default_rng(0)
    x, y = (random.standard_normal((rows, 64)).astype(np.float32) for _ in range(2))
    if layout == "columns":
        x, y = np.asfortranarray(x), np.asfortranarray(y)
    elif layout == "strided":
        x, y = x[:, ::2], y[:, ::2]
    elif layout == "one row of y":
        y = y[:1]
    elif layout == "float64":
        y = y.astype(np.float64)
    product, above, same = several(x, y)
    np.testing.assert_allclose(product, np.tanh(x) * y, rtol=1e-6)
    np.testing.assert_array_equal(above, x > y)
    np.testing.assert_array_equal(same, np.broadcast_to(x, product.shape))
    assert (product.dtype, above.dtype) == (np.result_type(x, y), np.bool_)


def test_gradients_of_large_tensors() -> None:
    x = mg.randn(LARGE // 64 + 7, 64, dtype=mg.float64, requires_grad=True)
    product, *_ = several(x, x)
    product.sum().backward()
    host = x.detach().cpu().numpy()
    expected = host * (1 - np.tanh(host) ** 2) + np.tanh(host)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.cpu().numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("rows", [0, 1, 5, 1000])
def test_blocks_cover_the_rows(rows: int) -> None:
    found = [i for block in get_backend("cpu").blocks(rows, 1000) for i in range(rows)[block]]
    assert found == list(range(rows))
