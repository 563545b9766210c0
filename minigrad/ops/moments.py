"""The op that standardises over axes: mean 0 and variance 1."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

from typing import Any

from minigrad.backend import Array
from minigrad.backend.rows import rowwise
from minigrad.op import JointOp, Op, V
from minigrad.ops.convert import in_float32
from minigrad.ops.normalise import by_blocks, merged, refuse_integers
from minigrad.ops.reduce import Dims, axes_of, mean, sum
from minigrad.ops.shape import permute, reshape


# What becomes of a row, in C: the mean first, so that squares are small numbers' squares.
def standardize_text(eps: float, centre: bool) -> str:
    return f"""
        sum total = {"x" if centre else 0}
        mean = total / n
        sum squares = (x - mean) * (x - mean)
        r = 1 / sqrt(squares / n + (T){eps!r})
        each y = (x - mean) * r
    """


@rowwise("x[m,n] -> y[m,n], r[m,1]", standardize_text)
def _standardize_forward(
    xp: Any, x: Array, *, eps: float, centre: bool, axis: int
) -> tuple[Array, Array]:
    if axis == -2:
        y, r = xp.empty_like(x), xp.empty((*x.shape[:-2], 1, x.shape[-1]), x.dtype)
        for block in leading(xp, x):
            _, r[block] = standardize_columns(xp, y[block], x[block], eps, centre)
        return y, r
    shape = x.shape
    x = x.reshape(-1, shape[-1])
    y, r = xp.empty_like(x), xp.empty((len(x), 1), x.dtype)
    for block in xp.blocks(len(x), shape[-1] * x.dtype.itemsize):
        _, r[block] = standardize_rows(xp, y[block], x[block], eps, centre)
    return y.reshape(shape), r.reshape(*shape[:-1], 1)


def standardize_rows(xp: Any, y: Array, x: Array, eps: float, centre: bool) -> tuple[Any, Array]:
    """Write into y; give the mean, which counts as 0 without `centre`, and r, (rows, 1)."""
    scale, mean = 1.0 / x.shape[-1], 0.0
    if centre:
        mean = (xp.row_sums(x) * scale)[:, None]
        x = xp.by_row(xp.subtract, x, mean, y)
    r = 1.0 / xp.sqrt(xp.row_dots(x, x) * scale + eps)[:, None]
    xp.by_row(xp.multiply, x, r, y)
    return mean, r


def _standardize_backward_rows(
    xp: Any, out: Array, g: Array, y: Array, r: Array, *, centre: bool
) -> None:
    scale = -1.0 / y.shape[-1]
    xp.by_row(xp.multiply, y, (xp.row_dots(g, y) * scale)[:, None], out)
    xp.add(out, g, out)
    if centre:
        xp.by_row(xp.add, out, (xp.row_sums(g) * scale)[:, None], out)
    xp.by_row(xp.multiply, out, r, out)


_standardize_backward_last = by_blocks(_standardize_backward_rows)


# ---- the same for rows that lie side by side: features first, as in recurrent cells ----------


def leading(xp: Any, x: Array) -> list[Any]:
    """The matrices of x (…, n, m) in blocks."""
    return [...] if x.ndim == 2 else xp.blocks(len(x), x.nbytes // max(len(x), 1))


def standardize_columns(xp: Any, y: Array, x: Array, eps: float, centre: bool) -> tuple[Any, Array]:
    scale, mean = 1.0 / x.shape[-2], 0.0
    if centre:
        mean = xp.column_sums(x) * scale
        x = xp.subtract(x, mean, y)
    r = 1.0 / xp.sqrt(xp.column_sums(x * x) * scale + eps)
    xp.multiply(x, r, y)
    return mean, r


def _standardize_backward_columns(
    xp: Any, out: Array, g: Array, y: Array, r: Array, centre: bool
) -> None:
    scale = 1.0 / y.shape[-2]
    xp.multiply(g, y, out)
    xp.multiply(y, xp.column_sums(out) * scale, out)
    xp.subtract(g, out, out)
    if centre:
        xp.subtract(out, xp.column_sums(g) * scale, out)
    xp.multiply(out, r, out)


@rowwise(
    "g[m,n], y[m,n], r[m,1] -> gx[m,n]",
    lambda centre: (
        f"""
        sum products = g * y
        sum total = {"g" if centre else 0}
        dot = products / n
        mean = total / n
        each gx = (g - mean - y * dot) * r
    """
    ),
)
def _standardize_backward(
    xp: Any, g: Array, y: Array, r: Array, *, centre: bool, axis: int
) -> Array:
    if axis == -1:
        return _standardize_backward_last(xp, g, y, r, centre=centre)
    out = xp.empty_like(y)
    for block in leading(xp, y):
        _standardize_backward_columns(xp, out[block], g[block], y[block], r[block], centre)
    return out


def pull_standardize_rule_y(
    h: Any, _gx: Any, g: Any, y: Any, r: Any, *, axis: int, **_: Any
) -> Any:
    gy, hy = mean(g * y, axis, keepdim=True), mean(h * y, axis, keepdim=True)
    return -r * (h * gy + g * hy)


pull_standardize = Op(
    "standardize_backward",  # r · (g - mean(g) - y · mean(g·y))
    _standardize_backward,
    lambda h, _gx, _g, y, r, **how: pull_standardize(h, y, r, **how),
    pull_standardize_rule_y,
    lambda h, gx, _g, _y, r, *, axis, **_: sum(h * gx, axis, keepdim=True) / r,
)


def _standardize_rule(
    gs: Any, ys: Any, _x: Any, *, centre: bool, axis: int = -1, **_: Any
) -> list[Any]:
    (g, g_r), (y, r) = gs, ys
    parts: list[Any] = [] if g is None else [pull_standardize(g, y, r, centre=centre, axis=axis)]
    if g_r is not None:  # dr/dx = -r² y / n
        parts.append(g_r * (r * r * (-1.0 / y.shape[axis])) * y)
    return [parts[0] if len(parts) == 1 else parts[0] + parts[1]]


_standardize = JointOp("standardize", _standardize_forward, _standardize_rule, several=True)


@in_float32
def standardize(x: V, dim: Dims = -1, eps: float = 1e-5, centre: bool = True) -> V:
    """y = (x - mean) / √(mean((x - mean)²) + eps) over `dim`; without `centre`, mean counts as 0.

    >>> import minigrad as mg
    >>> mg.standardize(mg.tensor([1.0, 3.0]), eps=0.0)
    tensor([-1.,  1.])
    """
    refuse_integers("standardize", x)
    dims = axes_of(dim, x.ndim)
    if 0 in [x.shape[a] for a in dims]:
        raise ValueError(f"standardize over no elements: shape {x.shape}, dim {dim}")
    if tuple(dims) == (x.ndim - 2,):  # features first, as in recurrent cells: no axis moves
        return _standardize(x, eps=eps, centre=centre, axis=-2)[0]
    flat = merged(x, dims)
    y = _standardize(flat, eps=eps, centre=centre, axis=-1)[0]
    order = [*(a for a in range(x.ndim) if a not in dims), *dims]
    if order == list(range(x.ndim)):
        return y if y.shape == x.shape else reshape(y, x.shape)
    back = [order.index(a) for a in range(x.ndim)]
    return permute(reshape(y, [x.shape[a] for a in order]), *back)
