"""The op of layer normalisation: rows standardised, scaled and shifted while in the cache."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.backend.rows import rowwise
from minigrad.op import JointOp, V
from minigrad.ops.broadcast import expand_to
from minigrad.ops.convert import in_float32
from minigrad.ops.moments import (
    leading,
    pull_standardize,
    pull_standardize_rule_y,
    standardize_columns,
    standardize_rows,
    standardize_text,
)
from minigrad.ops.normalise import merged, refuse_integers
from minigrad.ops.reduce import sum
from minigrad.ops.shape import axis_of, reshape, unsqueeze


def _as_matrix(x: Array, axis: int) -> Array:
    """Rows along the last axis as one matrix; those along the last but one stay where they are."""
    return x.reshape(-1, x.shape[-1]) if axis == -1 else x


def _blocks(xp: Any, x: Array, axis: int) -> list[Any]:
    return xp.blocks(len(x), x.shape[-1] * x.dtype.itemsize) if axis == -1 else leading(xp, x)


@rowwise(
    "x[m,n], w[n], b[n] -> out[m,n], mean[m,1], r[m,1]",
    lambda eps, centre: f"{standardize_text(eps, centre)}each out = y * w + b",
)
def _layer_norm_forward(
    xp: Any, x: Array, w: Array, b: Array | None = None, *, eps: float, centre: bool, axis: int
) -> tuple[Array, Array, Array]:
    dtype, once = np.result_type(*[a.dtype for a in (x, w, b) if a is not None]), [*x.shape]
    once[axis] = 1
    out, mean, r = xp.empty(x.shape, dtype), xp.empty(once, x.dtype), xp.empty(once, x.dtype)
    standardized = standardize_rows
    if axis == -2:
        standardized, w, b = standardize_columns, w[:, None], None if b is None else b[:, None]
    arrays = [_as_matrix(a, axis) for a in (out, mean, r, x)]
    for block in _blocks(xp, arrays[0], axis):
        y, m, s, x = (a[block] for a in arrays)
        m[...], s[...] = standardized(xp, y, x, eps, centre)
        xp.multiply(y, w, y)
        if b is not None:
            xp.add(y, b, y)
    return out, mean, r


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
    xp: Any, g: Array, x: Array, mean: Array, r: Array, w: Array, *, centre: bool, axis: int
) -> tuple[Array, Array, Array]:
    gx, gw, gb = xp.empty(x.shape, x.dtype), xp.zeros(w.shape, w.dtype), xp.zeros(w.shape, w.dtype)
    arrays = [_as_matrix(a, axis) for a in (gx, g, x, mean, r)]
    pulled = _pull_rows if axis == -1 else _pull_columns
    for block in _blocks(xp, arrays[0], axis):
        to_w, to_b = pulled(xp, w, *(a[block] for a in arrays), centre=centre)
        gw += to_w
        gb += to_b
    return gx, gw, gb


# y = d · r is not written out, for its sums are products: (512, 64), float32, 0.67 of the time


def _pull_rows(
    xp: Any, w: Array, out: Array, g: Array, x: Array, mean: Array, r: Array, *, centre: bool
) -> tuple[Array, Array]:
    g, scale = xp.ascontiguousarray(g), -1.0 / len(w)
    d = xp.by_row(xp.subtract, x, mean, out)
    t = g * d
    to_w, to_b = xp.matmul(r[:, 0], t), xp.column_sums(g)[0]
    xp.by_row(xp.multiply, d, xp.matmul(t, w)[:, None] * (r * r * scale), out)
    xp.add(out, xp.multiply(g, w, t), out)
    if centre:
        xp.by_row(xp.add, out, (xp.matmul(g, w) * scale)[:, None], out)
    xp.by_row(xp.multiply, out, r, out)
    return to_w, to_b


def _pull_columns(
    xp: Any, w: Array, out: Array, g: Array, x: Array, mean: Array, r: Array, *, centre: bool
) -> tuple[Array, Array]:
    g, scale, n = xp.ascontiguousarray(g), -1.0 / len(w), len(w)
    d = xp.subtract(x, mean, out)
    t = g * d
    to_w, to_b = xp.matmul(t, r.swapaxes(-1, -2)), g.sum(axis=-1)
    xp.multiply(d, xp.matmul(w[None], t) * (r * r * scale), out)
    xp.add(out, xp.multiply(g, w[:, None], t), out)
    if centre:
        xp.add(out, xp.matmul(w[None], g) * scale, out)
    xp.multiply(out, r, out)
    return to_w.reshape(-1, n).sum(axis=0), to_b.reshape(-1, n).sum(axis=0)


# ---- rules -----------------------------------------------------------------------------------


def _spread(w: Any, axis: int) -> Any:
    """A number for each place in a row, to be broadcast along the rows."""
    return w if axis == -1 else unsqueeze(w, -1)


def _layer_norm_backward_rule(
    hs: Any, gxs: Any, g: Any, x: Any, mean: Any, r: Any, w: Any, *, centre: bool, axis: int
) -> list[Any]:
    """Of gx = standardize_backward(g·w, y, r), gw = Σ g·y and gb = Σ g; y = (x - mean) · r."""
    (h, *later), y, w = hs, (x - mean) * r, _spread(w, axis)
    h_w, h_b = (h_p if h_p is None else _spread(h_p, axis) for h_p in later)
    to_g, to_y, to_r, to_w = [], [], [], None
    if h is not None:
        u = pull_standardize(h, y, r, centre=centre, axis=axis)
        to_g, to_w = [u * w], sum(u * g, [a for a in range(g.ndim) if a != g.ndim + axis])
        to_y = [pull_standardize_rule_y(h, None, g * w, y, r, axis=axis)]
        to_r = [sum(h * gxs[0], axis, keepdim=True) / r]
    if h_w is not None:
        to_g, to_y = [*to_g, h_w * y], [*to_y, h_w * g]
    if h_b is not None:
        to_g = [*to_g, h_b + g * 0.0]
    if not to_y:
        return [_added(to_g), None, None, None, None]
    to_x, to_r = _added(to_y) * r, [*to_r, sum(_added(to_y) * (x - mean), axis, keepdim=True)]
    return [_added(to_g), to_x, -sum(to_x, axis, keepdim=True), _added(to_r), to_w]


def _added(parts: list[Any]) -> Any:
    """The sum of what flows in, None where nothing does."""
    return functools.reduce(operator.add, parts) if parts else None


_pull_layer_norm = JointOp(
    "layer_norm_backward", _layer_norm_backward, _layer_norm_backward_rule, several=True
)


def _layer_norm_rule(
    gs: Any, ys: Any, x: Any, w: Any, *_b: Any, centre: bool, axis: int, **_: Any
) -> list[Any]:
    (g, g_mean, g_r), (_, mean, r) = gs, ys
    parts: list[Any] = [None, None, None]
    if g is not None:
        parts = list(_pull_layer_norm(g, x, mean, r, w, centre=centre, axis=axis))
    scale, to_x = 1.0 / x.shape[axis], [] if g is None else [parts[0]]
    if g_mean is not None and centre:
        to_x.append(expand_to(g_mean * scale, shape=x.shape))
    if g_r is not None:  # dr/dx = -r³ (x - mean) / n
        to_x.append(g_r * (r * r * r * -scale) * (x - mean))
    return [_added(to_x), *parts[1 : 2 + len(_b)]]


_layer_norm = JointOp("layer_norm", _layer_norm_forward, _layer_norm_rule, several=True)


@in_float32
def layer_norm(
    x: V,
    weight: V,
    bias: V | None = None,
    eps: float = 1e-5,
    centre: bool = True,
    dim: int = -1,
) -> V:
    """y = standardize(x) · weight + bias over the last axes, those of weight; bias has its shape.

    dim: -1, or -2 with a weight of one axis: features first, (…, features, B).

    >>> import minigrad as mg
    >>> mg.layer_norm(mg.tensor([1.0, 3.0]), mg.tensor([1.0, 2.0]), eps=0.0)
    tensor([-1.,  2.])
    >>> mg.layer_norm(mg.tensor([[1.0], [3.0]]), mg.tensor([1.0, 2.0]), eps=0.0, dim=-2)
    tensor([[-1.],
            [ 2.]])
    """
    tensor: Any = x
    refuse_integers("layer_norm", tensor)
    parameters: list[Any] = [p for p in (weight, bias) if p is not None]
    count, axis = parameters[0].ndim, axis_of(dim, tensor.ndim) - tensor.ndim
    extents = tensor.shape[-count:] if axis == -1 else tensor.shape[axis:][:1]
    if not count or axis < -2 or any(p.shape != extents for p in parameters):
        raise ValueError(
            f"layer_norm: expected weight and bias of the last extents of x {tensor.shape}, or of "
            f"that of dim -2, got {[p.shape for p in parameters]} and dim {dim}"
        )
    if 0 in extents:
        raise ValueError(f"layer_norm over no elements: shape {tensor.shape}, dim {dim}")
    if count > 1:
        parameters = [reshape(p, -1) for p in parameters]
        tensor = merged(tensor, range(tensor.ndim - count, tensor.ndim))
    y = _layer_norm(tensor, *parameters, eps=eps, centre=centre, axis=axis)[0]
    return y if count == 1 else reshape(y, (*tensor.shape[:-1], *extents))
