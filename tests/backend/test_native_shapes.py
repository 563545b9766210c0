"""Compiled functions of arrays that broadcast: every element as NumPy's calls would give it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend.native import WIDE

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc")) is None, reason="there is no C compiler"
)


@pytest.fixture(autouse=True)
def native() -> Iterator[None]:
    before = mg.ones(1, device="cpu").backend.native
    mg.use_native()
    yield
    mg.use_native(before)


@mg.fuse
def scaled(x: Any, a: Any, b: Any) -> Any:
    return mg.tanh(x * a) + b, mg.exp(a - b), a * b


@mg.fuse
def compared(x: Any, a: Any) -> Any:
    return mg.tanh(x), x > a


@mg.fuse
def gated(z: Any, c: Any, w: Any) -> Any:
    i, f = z.chunk(2)
    return mg.sigmoid(i + w * c) * mg.tanh(f)


SHAPES = {
    "a column": ((5, WIDE), (5, 1), (5, WIDE)),
    "a row": ((5, WIDE + 7), (WIDE + 7,), (5, WIDE + 7)),
    "both": ((5, WIDE + 1), (1, WIDE + 1), (5, 1)),
    "each other": ((5, 1), (1, WIDE + 5), (1, 1)),
    "the first": ((1, 1), (3, 2, WIDE + 3), (2, 1)),
    "a number": ((5, WIDE), (), (1,)),
    "narrow": ((5, 7), (5, 1), (7,)),
    "no rows": ((0, WIDE), (0, 1), (WIDE,)),
    "empty rows": ((3, 0), (3, 1), (1, 1)),
    "numbers": ((), (), ()),
}


def arrays(shapes: Any, dtype: Any) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return [np.asarray(random.standard_normal(shape), dtype) for shape in shapes]


def checked(function: Any, xs: list[Any]) -> None:
    """Compare values and gradients with those of the function run op by op."""
    results: list[list[Any]] = []
    for run in (function, function.function):
        tensors = [mg.tensor(x).requires_grad_() for x in xs]
        ys = run(*tensors)
        ys = ys if isinstance(ys, tuple) else (ys,)
        mg.sum(ys[0] * ys[0]).backward()
        results.append([*(y.detach() for y in ys), *(t.grad for t in tensors)])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == expected.dtype
        shape = np.broadcast_shapes(found.shape, expected.shape)
        found, expected = (np.broadcast_to(np.asarray(r), shape) for r in (found, expected))
        eps = 1e-4 if xs[0].dtype == np.float32 else 1e-12
        np.testing.assert_allclose(found, expected, eps, eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_arrays_that_broadcast(shapes: Any, dtype: Any) -> None:
    checked(scaled, arrays(shapes, dtype))


@pytest.mark.parametrize("width", [3, WIDE, WIDE + 9])
def test_chunks_beside_what_broadcasts(width: int) -> None:
    checked(gated, arrays([(10, width), (5, width), (5, 1)], np.float32))


def test_a_chunk_that_would_broadcast_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        gated(*map(mg.tensor, arrays([(2, WIDE), (5, WIDE), (5, 1)], np.float32)))


def test_columns_of_another_layout() -> None:
    x, a, b = arrays([(WIDE, 6), (6, WIDE), (12, 1)], np.float32)
    y, ratio, product = scaled(*map(mg.tensor, (x.T, a[:, ::-1], b[::2])))
    x, a, b = x.T, a[:, ::-1], b[::2]
    np.testing.assert_allclose(np.asarray(y), np.tanh(x * a) + b, 1e-5, 1e-6)
    np.testing.assert_allclose(np.asarray(ratio), np.exp(a - b), 1e-5)
    np.testing.assert_array_equal(np.asarray(product), a * b)


def test_an_element_does_not_depend_on_how_it_was_spread() -> None:
    x, a, b = arrays([(4, WIDE + 3), (4, 1), (1, 1)], np.float32)
    spread = scaled(*map(mg.tensor, (x, a, b)))
    whole = scaled(*(mg.tensor(np.broadcast_to(v, x.shape).copy()) for v in (x, a, b)))
    for one, other in zip(spread, whole, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("shape", [(3, WIDE), (3, 1)])
def test_comparisons_give_booleans(shape: tuple[int, ...]) -> None:
    x, a = arrays([(3, WIDE), shape], np.float32)
    y, above = compared(mg.tensor(x), mg.tensor(a))
    np.testing.assert_allclose(np.asarray(y), np.tanh(x), 1e-6)
    assert above.dtype == np.bool_
    np.testing.assert_array_equal(np.asarray(above), x > a)
