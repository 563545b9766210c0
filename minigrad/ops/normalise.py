"""Ops that normalise along an axis by exponentials: log-sum-exp, softmax and its logarithm."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.gathering import Later
from minigrad.op import Op, V
from minigrad.ops.elementwise import exp, where
from minigrad.ops.reduce import Dims, axes_of, sum
from minigrad.ops.shape import axis_of, movedim, permute, reshape, unsqueeze

# The ops work along the last axis, a block of rows at a time, written into `out`; the functions
# bring other axes there. A *column* holds one number a row: (rows, 1).


def by_blocks(kernel: Any, column: bool = False) -> Any:
    """Make a forward of `kernel(xp, out, *xs)`, which sees some rows of each, (rows, n) or (rows,).

    The first of xs gives the shape of the output; with `column` that is one number a row.
    """

    def forward(xp: Any, *xs: Array, **params: Any) -> Array:
        shape = xs[0].shape
        rows, dtype = math.prod(shape[:-1]), np.result_type(*[x.dtype for x in xs])
        flat = [x.reshape(rows, *x.shape[len(shape) - 1 :]) for x in xs]
        out = xp.empty((rows,) if column else (rows, shape[-1]), dtype)
        if out.size:
            for block in xp.blocks(rows, shape[-1] * dtype.itemsize):
                kernel(xp, out[block], *[x[block] for x in flat], **params)
        return out.reshape(shape[:-1] if column else shape)

    return forward


def refuse_integers(name: str, x: Any) -> None:
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: expected a floating tensor, got {x.dtype}; write x.float()")


def _along(op: Op, x: Any, dim: int) -> Any:
    """Apply an op of the last axis along `dim`."""
    refuse_integers(op.name, x)
    if x.ndim == 0:
        return reshape(_along(op, reshape(x, 1), dim), ())
    axis = axis_of(dim, x.ndim)
    if axis == x.ndim - 1:
        return op(x)
    return movedim(op(movedim(x, axis, -1)), -1, axis)


def merged(x: Any, dims: Sequence[int]) -> Any:
    """The axes `dims` as one, the last."""
    if tuple(dims) == (x.ndim - 1,):
        return x
    others = [a for a in range(x.ndim) if a not in dims]
    extent = math.prod(x.shape[a] for a in dims)
    moved = x if [*others, *dims] == list(range(x.ndim)) else permute(x, *others, *dims)
    return reshape(moved, (*(x.shape[a] for a in others), extent))


# ---- log-sum-exp -----------------------------------------------------------------------------


def _logsumexp_rows(xp: Any, out: Array, x: Array) -> None:
    top, total = xp.exp_below_top(x, xp.empty_like(x))
    y = xp.log(total) + top
    out[...] = xp.where(top == float(np.finfo(x.dtype).min), -math.inf, y)[:, 0]


def _shares_rows(xp: Any, out: Array, x: Array, g: Array, y: Array) -> None:
    xp.exp_shares(x, y[:, None], g[:, None], out)


def _settle_shares(into: Array | None, waiting: list[Later]) -> Array:
    """Nothing is saved by waiting, but a scatter that follows is written into this array."""
    for later in waiting:
        share = later.run()
        into = share if into is None else into + share
    return into


_shares = Op(
    "shares",  # g · exp(x - y): each element's part in its row's log-sum-exp y
    by_blocks(_shares_rows),
    lambda h, e, _x, _g, _y: h * e,
    lambda h, _e, x, _g, y: sum(h * exp(x - unsqueeze(y, -1)), -1),
    lambda h, e, _x, _g, _y: -sum(h * e, -1),
    settle=_settle_shares,
)
_logsumexp = Op(
    "logsumexp",
    by_blocks(_logsumexp_rows, column=True),
    lambda g, y, x: Later(_shares, x, g, where(y == -math.inf, 0.0, y)),
)


def logsumexp(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """y = ln Σ eˣ over `dim`, without overflow; where every x is -∞, it is -∞ with gradient 0.

    >>> import minigrad as mg
    >>> mg.logsumexp(mg.tensor([1000.0, 1000.0]))
    tensor(1000.6932)
    """
    refuse_integers("logsumexp", x)
    dims = axes_of(dim, x.ndim)
    if 0 in [x.shape[a] for a in dims]:
        raise ValueError(f"logsumexp over no elements: shape {x.shape}, dim {dim}")
    y = _logsumexp(merged(x, dims))
    return reshape(y, [1 if a in dims else n for a, n in enumerate(x.shape)]) if keepdim else y


# ---- softmax ---------------------------------------------------------------------------------


def _softmax_rows(xp: Any, out: Array, x: Array) -> None:
    xp.by_row(xp.divide, out, xp.exp_to_scale(x, out), out)


def _softmax_backward_rows(xp: Any, out: Array, g: Array, y: Array) -> None:
    xp.by_row(xp.subtract, g, xp.row_dots(g, y)[:, None], out)
    xp.multiply(out, y, out)


def _softmax_backward_rule_y(h: Any, _gx: Any, g: Any, y: Any) -> Any:
    return h * (g - sum(g * y, -1, keepdim=True)) - g * sum(h * y, -1, keepdim=True)


_pull_softmax = Op(
    "softmax_backward",  # y · (g - Σ g·y)
    by_blocks(_softmax_backward_rows),
    lambda h, _gx, _g, y: _pull_softmax(h, y),
    _softmax_backward_rule_y,
)
_softmax = Op("softmax", by_blocks(_softmax_rows), lambda g, y, _x: _pull_softmax(g, y))


def _log_softmax_rows(xp: Any, out: Array, x: Array) -> None:
    top, total = xp.exp_below_top(x, out)
    xp.by_row(xp.subtract, x, xp.log(total) + top, out)


def _log_softmax_backward_rows(xp: Any, out: Array, g: Array, y: Array) -> None:
    xp.exp(y, out)
    xp.by_row(xp.multiply, out, xp.row_sums(g)[:, None], out)
    xp.subtract(g, out, out)


_pull_log_softmax = Op(
    "log_softmax_backward",  # g - eʸ · Σ g
    by_blocks(_log_softmax_backward_rows),
    lambda h, _gx, _g, y: h - sum(h * exp(y), -1, keepdim=True),
    lambda h, _gx, g, y: -h * exp(y) * sum(g, -1, keepdim=True),
)
_log_softmax = Op(
    "log_softmax", by_blocks(_log_softmax_rows), lambda g, y, _x: _pull_log_softmax(g, y)
)


def softmax(x: V, dim: int) -> V:
    """y = eˣ / Σ eˣ along `dim`, without overflow; where every x is -∞, y is 0 (PyTorch: NaN).

    >>> import minigrad as mg
    >>> mg.softmax(mg.tensor([0.0, 0.0, -float("inf")]), dim=0)
    tensor([0.5, 0.5, 0. ])
    """
    return _along(_softmax, x, dim)


def log_softmax(x: V, dim: int) -> V:
    """y = x - ln Σ eˣ along `dim`, the logarithm of softmax, without overflow."""
    return _along(_log_softmax, x, dim)
