"""Broadcasting and its transpose: expand to a shape, and sum back to it."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.gathering import Later
from minigrad.op import Op

Shape = tuple[int, ...]


# What is added up in another dtype than its own, as in PyTorch; a half is rounded once, at the end.
_WIDER: dict[str, Any] = {"e": np.float32, **dict.fromkeys("?bBhHiIlLqQ", np.int64)}


def summed(xp: Any, x: Array, *, dim: tuple[int, ...], keepdim: bool = False) -> Array:
    """The sum of x along axes."""
    dtype = _WIDER.get(x.dtype.char)
    if dtype is None:
        return xp.sum_over(x, dim, keepdim)
    total = x.sum(axis=dim, keepdims=keepdim, dtype=dtype)
    return total.astype(x.dtype) if dtype is np.float32 else total


def running_sum(xp: Any, x: Array, *, dim: int) -> Array:
    """The sums of x along an axis up to each place."""
    dtype = _WIDER.get(x.dtype.char)
    if dtype is None:
        return xp.cumsum(x, axis=dim)
    total = xp.cumsum(x, axis=dim, dtype=dtype)
    return total.astype(x.dtype) if dtype is np.float32 else total


def _sum_to(xp: Any, x: Array, *, shape: Shape) -> Array:
    extra = x.ndim - len(shape)
    if shape == x.shape[extra:]:
        return summed(xp, x, dim=tuple(range(extra)))
    full = (*x.shape[:extra], *shape)
    axes = [axis for axis, n in enumerate(full) if axis < extra or n != x.shape[axis]]
    return summed(xp, x, dim=tuple(axes)).reshape(shape)


def settle_by_adding(into: Array | None, waiting: list[Later]) -> Array:
    """Sum a linear reduction's applications: add the full cotangents, then reduce once a shape."""
    by_shape: dict[Shape, list[Later]] = {}
    for later in waiting:
        by_shape.setdefault(later.xs[0].shape, []).append(later)
    total = into
    for group in by_shape.values():
        full = group[0].xs[0]
        if len(group) > 1:
            full = full + group[1].xs[0]
        for later in group[2:]:
            full += later.xs[0]
        part = group[0].op(full, **group[0].params)
        total = part if total is None else total + part
    return total


def _expand(xp: Any, x: Array, *, shape: Shape) -> Array:
    return xp.broadcast_to(x, shape)


sum_to = Op(
    "sum_to",
    _sum_to,
    lambda g, _y, x_shape, **_: expand_to(g, shape=x_shape),
    settle=settle_by_adding,
    doc="Sum over the axes along which `shape` was broadcast to the shape of x.",
)

expand_to = Op(
    "expand",
    _expand,
    lambda g, _y, x_shape, **_: Later(sum_to, g, shape=x_shape),
    doc="Broadcast x to `shape`, without a copy.",
)
expand_to.view = True
