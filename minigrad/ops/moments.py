"""Ops that standardise over axes: mean 0 and variance 1, and layer normalisation on top of it."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.backend.rows import rowwise
from minigrad.op import JointOp, Op, V
from minigrad.ops.broadcast import expand_to
from minigrad.ops.normalise import by_blocks, merged, refuse_integers
from minigrad.ops.reduce import Dims, axes_of, mean, sum
from minigrad.ops.shape import permute, reshape


# What becomes of a row, in C: the mean first, so that squares are small numbers' squares.
def _standardize_text(eps: float, centre: bool) -> str:
    return f"""
        sum total = {"x" if centre else 0}
        mean = total / n
        sum squares = (x - mean) * (x - mean)
        r = 1 / sqrt(squares / n + (T){eps!r})
        each y = (x - mean) * r
    """


@rowwise("x[m,n] -> y[m,n], r[m,1]", _standardize_text)
def _standardize_forward(
    xp: Any, x: Array, *, eps: float, centre: bool, axis: int
) -> tuple[Array, Array]:
    if axis == -2:
        y, r = xp.empty_like(x), xp.empty((*x.shape[:-2], 1, x.shape[-1]), x.dtype)
        for block in _leading(xp, x):
            r[block] = _standardize_columns(xp, y[block], x[block], eps, centre)
        return y, r
    shape = x.shape
    x = x.reshape(-1, shape[-1])
    y, r = xp.empty_like(x), xp.empty((len(x), 1), x.dtype)
    for block in xp.blocks(len(x), shape[-1] * x.dtype.itemsize):
        _, r[block] = _standardize_rows(xp, y[block], x[block], eps, centre)
    return y.reshape(shape), r.reshape(*shape[:-1], 1)


def _standardize_rows(xp: Any, y: Array, x: Array, eps: float, centre: bool) -> tuple[Any, Array]:
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


def _leading(xp: Any, x: Array) -> list[Any]:
    """The matrices of x (…, n, m) in blocks."""
    return [...] if x.ndim == 2 else xp.blocks(len(x), x.nbytes // max(len(x), 1))


def _standardize_columns(xp: Any, y: Array, x: Array, eps: float, centre: bool) -> Array:
    scale = 1.0 / x.shape[-2]
    if centre:
        x = xp.subtract(x, xp.column_sums(x) * scale, y)
    r = 1.0 / xp.sqrt(xp.column_sums(x * x) * scale + eps)
    xp.multiply(x, r, y)
    return r


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
    for block in _leading(xp, y):
        _standardize_backward_columns(xp, out[block], g[block], y[block], r[block], centre)
    return out


def _standardize_backward_rule_y(
    h: Any, _gx: Any, g: Any, y: Any, r: Any, *, axis: int, **_: Any
) -> Any:
    gy, hy = mean(g * y, axis, keepdim=True), mean(h * y, axis, keepdim=True)
    return -r * (h * gy + g * hy)


_pull_standardize = Op(
    "standardize_backward",  # r · (g - mean(g) - y · mean(g·y))
    _standardize_backward,
    lambda h, _gx, _g, y, r, **how: _pull_standardize(h, y, r, **how),
    _standardize_backward_rule_y,
    lambda h, gx, _g, _y, r, *, axis, **_: sum(h * gx, axis, keepdim=True) / r,
)


def _standardize_rule(
    gs: Any, ys: Any, _x: Any, *, centre: bool, axis: int = -1, **_: Any
) -> list[Any]:
    (g, g_r), (y, r) = gs, ys
    parts: list[Any] = [] if g is None else [_pull_standardize(g, y, r, centre=centre, axis=axis)]
    if g_r is not None:  # dr/dx = -r² y / n
        parts.append(g_r * (r * r * (-1.0 / y.shape[axis])) * y)
    return [parts[0] if len(parts) == 1 else parts[0] + parts[1]]


_standardize = JointOp("standardize", _standardize_forward, _standardize_rule, several=True)


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


# ---- layer normalisation: each block of rows is scaled and shifted while in the cache --------


@rowwise(
    "x[m,n], w[n], b[n] -> out[m,n], mean[m,1], r[m,1]",
    lambda eps, centre: f"{_standardize_text(eps, centre)}each out = y * w + b",
)
def _layer_norm_forward(
    xp: Any, x: Array, w: Array, b: Array | None = None, *, eps: float, centre: bool
) -> tuple[Array, Array, Array]:
    shape, dtype = x.shape, np.result_type(*[a.dtype for a in (x, w, b) if a is not None])
    x = x.reshape(-1, shape[-1])
    out, columns = xp.empty(x.shape, dtype), xp.empty((2, len(x), 1), x.dtype)
    mean, r = columns
    for block in xp.blocks(len(x), shape[-1] * dtype.itemsize):
        y = out[block]
        mean[block], r[block] = _standardize_rows(xp, y, x[block], eps, centre)
        xp.multiply(y, w, y)
        if b is not None:
            xp.add(y, b, y)
    return out.reshape(shape), *(a.reshape(*shape[:-1], 1) for a in columns)


@rowwise(
    "g[m,n], x[m,n], mean[m,1], r[m,1], w[n] -> gx[m,n], gw[n], gb[n]",
    lambda centre: (
        f"""
        each y = (x - mean) * r
        each gx = g * w
        sum products = gx * y
        sum sums = {"gx" if centre else 0}
        total gw = g * y
        total gb = g
        a = sums / n
        b = products / n
        each gx = (gx - a - (x - mean) * r * b) * r
    """
    ),
)
def _layer_norm_backward(
    xp: Any, g: Array, x: Array, mean: Array, r: Array, w: Array, *, centre: bool
) -> tuple[Array, Array, Array]:
    n, shape = g.shape[-1], x.shape
    g, x, mean, r = (a.reshape(-1, a.shape[-1]) for a in (g, x, mean, r))
    gx, gw, gb = xp.empty_like(x), xp.zeros(n, w.dtype), xp.zeros(n, w.dtype)
    for block in xp.blocks(len(g), n * w.dtype.itemsize):
        out, g_b, r_b = gx[block], g[block], r[block]
        y = xp.by_row(xp.multiply, xp.by_row(xp.subtract, x[block], mean[block]), r_b)
        gw += xp.multiply(g_b, y, out).sum(axis=0)
        gb += g_b.sum(axis=0)
        _standardize_backward_rows(xp, out, g_b * w, y, r_b, centre=centre)
    return gx.reshape(shape), gw, gb


def _layer_norm_backward_rule(
    hs: Any, gxs: Any, g: Any, x: Any, mean: Any, r: Any, w: Any, *, centre: bool
) -> list[Any]:
    """Of gx = standardize_backward(g·w, y, r), gw = Σ g·y and gb = Σ g; y = (x - mean) · r."""
    (h, h_w, h_b), rows, y = hs, tuple(range(g.ndim - 1)), (x - mean) * r
    to_g, to_y, to_r, to_w = [], [], [], None
    if h is not None:
        u = _pull_standardize(h, y, r, centre=centre, axis=-1)
        to_g, to_w = [u * w], sum(u * g, rows)
        to_y = [_standardize_backward_rule_y(h, None, g * w, y, r, axis=-1)]
        to_r = [sum(h * gxs[0], -1, keepdim=True) / r]
    if h_w is not None:
        to_g, to_y = [*to_g, h_w * y], [*to_y, h_w * g]
    if h_b is not None:
        to_g = [*to_g, h_b + g * 0.0]
    if not to_y:
        return [_added(to_g), None, None, None, None]
    to_x, to_r = _added(to_y) * r, [*to_r, sum(_added(to_y) * (x - mean), -1, keepdim=True)]
    return [_added(to_g), to_x, -sum(to_x, -1, keepdim=True), _added(to_r), to_w]


def _added(parts: list[Any]) -> Any:
    """The sum of what flows in, None where nothing does."""
    return functools.reduce(operator.add, parts) if parts else None


_pull_layer_norm = JointOp(
    "layer_norm_backward", _layer_norm_backward, _layer_norm_backward_rule, several=True
)


def _layer_norm_rule(
    gs: Any, ys: Any, x: Any, w: Any, *_b: Any, centre: bool, **_: Any
) -> list[Any]:
    (g, g_mean, g_r), (_, mean, r) = gs, ys
    parts: list[Any] = [None, None, None]
    if g is not None:
        parts = list(_pull_layer_norm(g, x, mean, r, w, centre=centre))
    scale, to_x = 1.0 / x.shape[-1], [] if g is None else [parts[0]]
    if g_mean is not None and centre:
        to_x.append(expand_to(g_mean * scale, shape=x.shape))
    if g_r is not None:  # dr/dx = -r³ (x - mean) / n
        to_x.append(g_r * (r * r * r * -scale) * (x - mean))
    return [_added(to_x), *parts[1 : 2 + len(_b)]]


_layer_norm = JointOp("layer_norm", _layer_norm_forward, _layer_norm_rule, several=True)


def layer_norm(x: V, weight: V, bias: V | None = None, eps: float = 1e-5, centre: bool = True) -> V:
    """y = standardize(x) · weight + bias over the last axes, those of weight; bias has its shape.

    >>> import minigrad as mg
    >>> mg.layer_norm(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 2.0]), eps=0.0)
    tensor([-1.,  2.])
    """
    tensor: Any = x
    refuse_integers("layer_norm", tensor)
    n: int = weight.ndim  # pyright: ignore[reportAttributeAccessIssue]
    parameters: list[Any] = [p for p in (weight, bias) if p is not None]
    if n == 0 or any(p.shape != tensor.shape[-n:] for p in parameters):
        raise ValueError(
            f"layer_norm: expected weight and bias of the last extents of x {tensor.shape}, got "
            f"{[p.shape for p in parameters]}"
        )
    if n > 1:
        tensor = merged(tensor, range(tensor.ndim - n, tensor.ndim))
        parameters = [reshape(p, (tensor.shape[-1],)) for p in parameters]
    if tensor.shape[-1] == 0:
        raise ValueError(f"layer_norm over no elements: shape {x.shape}")  # pyright: ignore[reportAttributeAccessIssue]
    y = _layer_norm(tensor, *parameters, eps=eps, centre=centre)[0]
    return y if n == 1 else reshape(y, x.shape)  # pyright: ignore[reportAttributeAccessIssue]
