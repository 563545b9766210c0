"""Products: matmul, the affine map in both orientations, and einsum."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minigrad.backend import Array, backend_of
from minigrad.gathering import Later
from minigrad.op import JointOp, Op, V
from minigrad.ops.broadcast import expand_to, settle_by_adding, sum_to, summed
from minigrad.ops.shape import permute, reshape, transpose


def _mT(x: V) -> V:
    return x.T if x.ndim == 2 else transpose(x, -1, -2)


def _rows(x: V) -> V:
    """(…, n) as (rows, n)."""
    return x if x.ndim == 2 else reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def _columns(x: V) -> V:
    """(…, n, B) as (n, … B): all columns side by side."""
    if x.ndim == 2:
        return x
    shape = (x.shape[-2], math.prod(x.shape[:-2]) * x.shape[-1])
    return reshape(permute(x, x.ndim - 2, *range(x.ndim - 2), x.ndim - 1), shape)


def _beside(xp: Any, blocks: Sequence[Array], axis: int) -> Array:
    """Blocks joined along `axis`, copied in the order in which they lie in memory."""
    if blocks[0].flags.c_contiguous:
        return xp.concatenate(blocks, axis=axis)
    return xp.concatenate([block.T for block in blocks], axis=1 - axis).T


def _settle_matmul(into: Array | None, waiting: list[Later]) -> Array:
    """Σ aₜ bₜ = [a₁ … a_T] [b₁; …; b_T]: T products of a weight's gradient become one."""
    xp = backend_of(waiting[0].xs[0])
    if len(waiting) == 1:
        product = xp.matmul(*waiting[0].xs)
    else:
        a = _beside(xp, [later.xs[0] for later in waiting], axis=1)
        b = _beside(xp, [later.xs[1] for later in waiting], axis=0)
        product = xp.matmul(a, b)
    if into is None:
        return product
    into += product
    return into


def _matmul_forward(xp: Any, a: Array, b: Array) -> Array:
    # one product instead of one per leading index
    if a.ndim > 2 and b.ndim == 2:
        return xp.matmul(_rows(a), b).reshape(*a.shape[:-1], b.shape[1])
    if a.ndim == 2 and b.ndim == 3:
        return _product_of_steps(xp, a, b)
    return xp.matmul(a, b)


def _product_of_steps(xp: Any, a: Array, b: Array) -> Array:
    """A bₜ for b (T, n, B), which may lie in memory as (n, T, B) or as (T, B, n)."""
    steps, inner, columns = b.shape
    if b.swapaxes(0, 1).flags.c_contiguous:
        return xp.matmul(a, _columns(b)).reshape(len(a), steps, columns).swapaxes(0, 1)
    if b.swapaxes(1, 2).flags.c_contiguous:
        rows = b.swapaxes(1, 2).reshape(-1, inner)
        if columns == 1:
            return xp.matmul(rows, a.T)[:, :, None]
        return xp.matmul(a, rows.T).reshape(len(a), steps, columns).swapaxes(0, 1)
    return xp.matmul(a, b)


def _matmul_rule_a(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if a.ndim == 2:
        return Later(matmul_op, _columns(g), _mT(_columns(b)))
    ga = matmul_op(g, _mT(b))
    return ga if ga.shape == a.shape else Later(sum_to, ga, shape=a.shape)


def _matmul_rule_b(g: Any, _y: Any, a: Any, b: Any) -> Any:
    if b.ndim == 2:
        return Later(matmul_op, _mT(_rows(a)), _rows(g))
    gb = matmul_op(_mT(a), g)
    return gb if gb.shape == b.shape else Later(sum_to, gb, shape=b.shape)


matmul_op = Op("matmul", _matmul_forward, _matmul_rule_a, _matmul_rule_b, settle=_settle_matmul)
matmul_op.stacks = {0: (1,), 1: (0,)}


matvec_op = Op(
    "matvec",  # W x of a matrix and a vector
    lambda xp, a, x: xp.matmul(a, x),
    lambda g, _y, _a, x: Later(matmul_op, _mT(_as_rows(g)), _as_rows(x)),
    lambda g, _y, a, _x: matvec_op(_mT(a), g),
)
matvec_op.stacks = {0: (1,)}


def _as_rows(x: V) -> V:
    """A vector as one row, and vectors as they are stacked."""
    return x if x.ndim == 2 else reshape(x, (1, -1))


def matmul(a: V, b: V) -> V:
    """Matrix product over the last two axes, the leading ones broadcast; 1-D operands as vectors.

    a (…, n, k) or (k,), b (…, k, m) or (k,). Raises ValueError when the inner extents differ.

    >>> import minigrad as mg
    >>> (mg.ones(2, 3) @ mg.ones(3)).shape
    (2,)
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul needs at least one axis: a {a.shape}, b {b.shape}; write a * b")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ValueError(f"matmul: the last axis of a {a.shape} must match that of b {b.shape}")
    if a.ndim > 1 and b.ndim > 1:
        return matmul_op(a, b)
    if a.ndim == 2:
        return matvec_op(a, b)
    y = matmul_op(
        reshape(a, (1, -1)) if a.ndim == 1 else a, reshape(b, (-1, 1)) if b.ndim == 1 else b
    )
    shape = y.shape[:-2] + (() if a.ndim == 1 else y.shape[-2:-1])
    return reshape(y, shape + (() if b.ndim == 1 else y.shape[-1:]))


def _plus(y: Array, b: Array) -> Array:
    if y.dtype != b.dtype:
        return y + b
    y += b  # the product is ours: no second buffer
    return y


# ---- affine: W x + b with features first, as textbooks write it ------------------------------


def _column_sum(xp: Any, g: Array) -> Array:
    if g.dtype.char in "fd":
        return xp.feature_sums(g)
    return summed(xp, g, dim=tuple([i for i in range(g.ndim) if i != g.ndim - 2]))


column_sum = Op(
    "column_sum",
    _column_sum,
    lambda g, _y, x_shape: _spread_columns(g, x_shape),
    settle=settle_by_adding,
)


def _spread_columns(g: Any, shape: tuple[int, ...]) -> Any:
    return expand_to(reshape(g, (-1, 1)), shape=shape)


def _affine_forward(xp: Any, weight: Array, x: Array, b: Array) -> Array:
    return _plus(_matmul_forward(xp, weight, x), b[:, None] if b.ndim == 1 else b)


def _affine_rule_b(g: Any, _y: Any, _w: Any, _x: Any, b_shape: tuple[int, ...]) -> Any:
    if len(b_shape) == 1:
        return Later(column_sum, g)
    return g if g.shape == b_shape else Later(sum_to, g, shape=b_shape)


affine_op = Op(
    "affine",
    _affine_forward,
    lambda g, _y, _w, x, _b: Later(matmul_op, _columns(g), _mT(_columns(x))),
    lambda g, _y, weight, _x, _b: matmul_op(_mT(weight), g),
    _affine_rule_b,
)
affine_op.stacks = {0: (1,), 2: ()}


def affine(weight: Any, x: V, bias: Any) -> V:
    """y = W x + b with features first: the equation of a recurrent cell as textbooks write it.

    weight (n, k), x (…, k, B) with B columns, bias (n,), one per row, or of y's shape (…, n, B).
    """
    if weight.ndim != 2 or x.ndim < 2 or weight.shape[1] != x.shape[-2]:
        raise ValueError(
            f"affine: expected weight (n, k) and x (…, k, B), got {weight.shape} and {x.shape}"
        )
    return affine_op(weight, x, bias)


# ---- linear: x Wᵀ + b with features last, as layers take them --------------------------------


def _linear_forward(xp: Any, x: Array, weight: Array, b: Array | None = None) -> Array:
    y = xp.matmul(_rows(x), weight.T)
    if b is not None:
        y = _plus(y, b)
    return y if x.ndim == 2 else y.reshape(*x.shape[:-1], weight.shape[0])


linear_op = Op(
    "linear",
    _linear_forward,
    lambda g, _y, _x, weight, *_b: matmul_op(g, weight),
    lambda g, _y, x, _w, *_b: Later(matmul_op, _mT(_rows(g)), _rows(x)),
    lambda g, _y, _x, _w, b_shape: Later(sum_to, g, shape=b_shape),
)
linear_op.stacks = {1: (0,), 2: ()}


def linear(x: V, weight: Any, bias: Any = None) -> V:
    """y = x Wᵀ + b: x (…, in), weight (out, in), bias (out,) or None; y (…, out)."""
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: expected x (…, in) and weight (out, in), got {x.shape} and {weight.shape}"
        )
    if x.ndim == 1:
        y = matvec_op(weight, x)
        return y if bias is None else y + bias
    return linear_op(x, weight) if bias is None else linear_op(x, weight, bias)


# ---- einsum ----------------------------------------------------------------------------------


def _einsum_rule(g: Any, _y: Any, *xs: Any, inputs: tuple[str, ...], output: str) -> list[Any]:
    return [_einsum_gradient(g, xs, inputs, output, i) for i in range(len(xs))]


def _einsum_gradient(g: Any, xs: Any, inputs: tuple[str, ...], output: str, i: int) -> Any:
    """Swap the output with operand i; an index that nothing else has was summed: spread over it."""
    others = [x for k, x in enumerate(xs) if k != i]
    names = [s for k, s in enumerate(inputs) if k != i]
    seen = set(output).union(*names)
    kept = "".join(c for c in inputs[i] if c in seen)
    gx = _einsum(g, *others, inputs=(output, *names), output=kept)
    if kept == inputs[i]:
        return gx
    shape = xs[i].shape
    thin = tuple(n if c in seen else 1 for c, n in zip(inputs[i], shape, strict=True))
    return expand_to(reshape(gx, thin), shape=shape)


_einsum = JointOp(
    "einsum",
    lambda xp, *xs, inputs, output: xp.einsum(
        f"{','.join(inputs)}->{output}", *xs, **({"optimize": True} if len(xs) > 2 else {})
    ),
    _einsum_rule,
)


def einsum(equation: str, *operands: V) -> V:
    """Sum of products by index names, as in NumPy: einsum("bij,bjk->bik", a, b).

    Without "->" the output has the indices that occur once, in alphabetical order; "…" is not
    taken, and an index may occur once in an operand.
    """
    left, arrow, output = equation.replace(" ", "").partition("->")
    inputs = tuple(left.split(","))
    if "." in equation or any(len(set(s)) != len(s) for s in inputs):
        raise ValueError(f"einsum: {equation!r} has '...' or repeats an index within an operand")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum: {equation!r} names {len(inputs)} operands, got {len(operands)}")
    extents: dict[str, int] = {}
    for name, x in zip(inputs, operands, strict=True):
        if len(name) != x.ndim:
            raise ValueError(f"einsum: {name!r} has {len(name)} indices, the operand {x.shape}")
        for c, n in zip(name, x.shape, strict=True):
            if extents.setdefault(c, n) != n:
                raise ValueError(f"einsum: index {c!r} has extent {extents[c]} and also {n}")
    if not arrow:
        joined = "".join(inputs)
        output = "".join(sorted(c for c in set(joined) if joined.count(c) == 1))
    return _einsum(*operands, inputs=inputs, output=output)
