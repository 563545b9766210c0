"""Ops that normalise along an axis by exponentials: log-sum-exp, softmax, cross entropy."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.backend.rows import rowwise
from minigrad.op import JointOp, Op, V
from minigrad.ops.convert import in_float32
from minigrad.ops.elementwise import exp, where
from minigrad.ops.index import all_below, gather
from minigrad.ops.reduce import Dims, axes_of, sum
from minigrad.ops.shape import axis_of, movedim, permute, reshape, squeeze, unsqueeze

# The ops work along the last axis, a block of rows at a time, written into `out`; the functions
# bring other axes there. A *column* holds one number a row: (rows, 1).


def by_blocks(kernel: Any, column: bool = False) -> Any:
    """Make a forward of `kernel(xp, out, *xs)`, which sees some rows of each, (rows, n) or (rows,).

    The first of xs gives the shape of the output, and the floating ones its dtype; with `column`
    that is one number a row.
    """

    @functools.wraps(kernel)
    def forward(xp: Any, *xs: Array, **params: Any) -> Array:
        shape, dtypes = xs[0].shape, [x.dtype for x in xs if x.dtype.kind == "f"]
        rows, dtype = math.prod(shape[:-1]), np.result_type(*dtypes)
        flat = xs if len(shape) == 2 else [x.reshape(rows, *x.shape[len(shape) - 1 :]) for x in xs]
        out = xp.empty((rows,) if column else (rows, shape[-1]), dtype)
        row_bytes = shape[-1] * dtype.itemsize
        blocks: list[slice] = xp.blocks(rows, row_bytes) if out.size else []
        if len(blocks) == 1:
            kernel(xp, out, *flat, **params)
        else:
            for block in blocks:
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

# In C: the largest number of the row, but finite, and the sum of what lies below it.
_BELOW_TOP = """
    max highest = x
    top = highest < LOWEST ? LOWEST : highest
    sum sums = exp(x - top)
    total = sums < 1 ? 1 : sums
"""


@rowwise("x[m,n] -> y[m]", f"{_BELOW_TOP}y = log(total) + top")
@functools.partial(by_blocks, column=True)
def _finite_logsumexp(xp: Any, out: Array, x: Array) -> None:
    """The log-sum-exp of each row, the least number there is where every x is -∞."""
    top, total = xp.exp_below_top(x, xp.empty_like(x))
    xp.add(xp.log(total)[:, 0], top[:, 0], out)


def _logsumexp_forward(xp: Any, x: Array) -> Array:
    y = _finite_logsumexp(xp, x)
    if xp.isnan(y).any():  # of ∞ - ∞, perhaps: where the largest x is ∞, so is y
        y = xp.where(xp.isnan(y), x.max(axis=-1), y)
    return xp.where(y == float(np.finfo(x.dtype).min), -math.inf, y)


@rowwise("x[m,n], g[m], y[m] -> out[m,n]", "each out = g * exp(x - y)")
@by_blocks
def _shares_forward(xp: Any, out: Array, x: Array, g: Array, y: Array) -> None:
    xp.exp_shares(x, y[:, None], g[:, None], out)


_shares = Op(
    "shares",  # g · exp(x - y): each element's part in its row's log-sum-exp y
    _shares_forward,
    lambda h, e, _x, _g, _y: h * e,
    lambda h, _e, x, _g, y: sum(h * exp(x - unsqueeze(y, -1)), -1),
    lambda h, e, _x, _g, _y: -sum(h * e, -1),
)


def _pull_logsumexp(g: Any, y: Any, x: Any) -> Any:
    return _shares(x, g, where(y == -math.inf, 0.0, y))  # e^-∞ is 0, and not e^(-∞ + ∞)


_logsumexp = Op("logsumexp", _logsumexp_forward, _pull_logsumexp)


@in_float32
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


# ---- cross entropy with one class a row ------------------------------------------------------


def _at(xp: Any, x: Array, classes: Array) -> tuple[Array, tuple[Array, Array]]:
    """x (…, C) as rows, and the index of the class (…) of each."""
    rows = x.reshape(-1, x.shape[-1])
    return rows, (xp.arange(len(rows)), classes.reshape(-1))


def _cross_entropy_forward(xp: Any, x: Array, classes: Array) -> tuple[Array, Array]:
    if not all_below(classes, x.shape[-1]):
        raise IndexError(
            f"softmax_cross_entropy: classes run from {int(classes.min())} to "
            f"{int(classes.max())}, but x {x.shape} has {x.shape[-1]} of them"
        )
    total = _finite_logsumexp(xp, x)  # so that x - total is -∞, not NaN
    rows, picked = _at(xp, x, classes)
    return total - rows[picked].reshape(total.shape), total


def _cross_entropy_backward(
    xp: Any, x: Array, g_x: Array, g: Array, total: Array, classes: Array
) -> Array:
    out = _shares.forward(xp, x, g_x, total)
    rows, picked = _at(xp, out, classes)
    rows[picked] -= g.reshape(-1)
    return out


_pull_softmax_cross_entropy = Op(
    "softmax_cross_entropy_backward",  # a · exp(x - total), less b at the class
    _cross_entropy_backward,
    lambda h, _gx, x, a, _b, total, _t: h * _shares(x, a, total),
    lambda h, _gx, x, _a, _b, total, _t: sum(h * exp(x - unsqueeze(total, -1)), -1),
    lambda h, _gx, _x, _a, _b, _total, t: -squeeze(gather(h, -1, unsqueeze(t, -1)), -1),
    lambda h, _gx, x, a, _b, total, _t: -sum(h * _shares(x, a, total), -1),
)


def _cross_entropy_rule(gs: Any, ys: Any, x: Any, classes: Any) -> list[Any]:
    (g, g_total), (_, total) = gs, ys
    if g is None:
        return [_shares(x, g_total, total), None]
    a = g if g_total is None else g + g_total
    return [_pull_softmax_cross_entropy(x, a, g, total, classes), None]


_softmax_cross_entropy = JointOp(
    "softmax_cross_entropy", _cross_entropy_forward, _cross_entropy_rule, several=True
)


@in_float32
def softmax_cross_entropy(x: V, classes: Any) -> tuple[V, V]:
    """-ln softmax(x)_t of each row of x (…, C), whose class is t, and ln Σ eˣ.

    classes: integers (…) from 0 to C - 1. Where every x is -∞, the first is ∞, and the second the
    least number of the dtype. Raises ValueError for another shape, IndexError for another class.

    >>> import minigrad as mg
    >>> loss, total = mg.softmax_cross_entropy(mg.tensor([[0.0, 0.0]]), mg.tensor([1]))
    >>> loss
    tensor([0.6931472])
    """
    tensor: Any = x
    refuse_integers("softmax_cross_entropy", tensor)
    if not tensor.ndim or classes.shape != tensor.shape[:-1] or classes.dtype.kind not in "iu":
        raise ValueError(
            f"softmax_cross_entropy: expected x (…, C) and integers (…), got {tensor.shape} and "
            f"{classes.dtype} of shape {classes.shape}"
        )
    if tensor.shape[-1] == 0:
        raise ValueError(f"softmax_cross_entropy over no elements: x {tensor.shape}")
    return _softmax_cross_entropy(tensor, classes)


# ---- softmax ---------------------------------------------------------------------------------


@rowwise(
    "x[m,n] -> y[m,n]",
    """
    max highest = x
    top = highest < LOWEST ? LOWEST : highest
    each y = exp(x - top)
    sum total = y
    scale = 1 / (total < 1 ? 1 : total)
    each y = y * scale
    """,
)
@by_blocks
def _softmax_forward(xp: Any, out: Array, x: Array) -> None:
    xp.by_row(xp.divide, out, xp.exp_to_scale(x, out), out)


@rowwise("g[m,n], y[m,n] -> gx[m,n]", "sum dot = g * y\neach gx = (g - dot) * y")
@by_blocks
def _softmax_backward_forward(xp: Any, out: Array, g: Array, y: Array) -> None:
    xp.by_row(xp.subtract, g, xp.row_dots(g, y)[:, None], out)
    xp.multiply(out, y, out)


def _softmax_backward_rule_y(h: Any, _gx: Any, g: Any, y: Any) -> Any:
    return h * (g - sum(g * y, -1, keepdim=True)) - g * sum(h * y, -1, keepdim=True)


_pull_softmax = Op(
    "softmax_backward",  # y · (g - Σ g·y)
    _softmax_backward_forward,
    lambda h, _gx, _g, y: _pull_softmax(h, y),
    _softmax_backward_rule_y,
)
_softmax = Op("softmax", _softmax_forward, lambda g, y, _x: _pull_softmax(g, y))


@rowwise("x[m,n] -> y[m,n]", f"{_BELOW_TOP}shift = log(total) + top\neach y = x - shift")
@by_blocks
def _log_softmax_forward(xp: Any, out: Array, x: Array) -> None:
    top, total = xp.exp_below_top(x, out)
    xp.by_row(xp.subtract, x, xp.log(total) + top, out)


@rowwise("g[m,n], y[m,n] -> gx[m,n]", "sum total = g\neach gx = g - exp(y) * total")
@by_blocks
def _log_softmax_backward_forward(xp: Any, out: Array, g: Array, y: Array) -> None:
    xp.exp(y, out)
    xp.by_row(xp.multiply, out, xp.row_sums(g)[:, None], out)
    xp.subtract(g, out, out)


_pull_log_softmax = Op(
    "log_softmax_backward",  # g - eʸ · Σ g
    _log_softmax_backward_forward,
    lambda h, _gx, _g, y: h - sum(h * exp(y), -1, keepdim=True),
    lambda h, _gx, g, y: -h * exp(y) * sum(g, -1, keepdim=True),
)
_log_softmax = Op("log_softmax", _log_softmax_forward, lambda g, y, _x: _pull_log_softmax(g, y))


@in_float32
def softmax(x: V, dim: int) -> V:
    """y = eˣ / Σ eˣ along `dim`, without overflow; where every x is -∞, y is 0 (PyTorch: NaN).

    >>> import minigrad as mg
    >>> mg.softmax(mg.tensor([0.0, 0.0, -float("inf")]), dim=0)
    tensor([0.5, 0.5, 0. ])
    """
    return _along(_softmax, x, dim)


@in_float32
def log_softmax(x: V, dim: int) -> V:
    """y = x - ln Σ eˣ along `dim`, the logarithm of softmax, without overflow."""
    return _along(_log_softmax, x, dim)
