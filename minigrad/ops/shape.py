"""Ops that move elements without computing on them: shapes, axes, joining and splitting."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from itertools import accumulate
from operator import neg
from typing import Any, cast

import numpy as np

from minigrad.backend import Array
from minigrad.gathering import Later
from minigrad.op import JointOp, Op, V
from minigrad.ops.broadcast import Shape, expand_to
from minigrad.ops.convert import cast as converted


def ints(args: Sequence[Any]) -> tuple[int, ...]:
    """Read `f(2, 3)` and `f((2, 3))` alike."""
    several = len(args) == 1 and not isinstance(args[0], int) and isinstance(args[0], Sequence)
    inner = cast("Sequence[Any]", args[0]) if several else args
    return tuple(map(operator.index, inner))


def axis_of(dim: int, ndim: int) -> int:
    """Give `dim` as a number from 0, or raise where there is no such axis."""
    if not -ndim <= dim < ndim:
        raise IndexError(f"dim {dim} is out of range for a tensor of {ndim} axes")
    return dim % ndim


# ---- one array in, the same elements out -----------------------------------------------------

_reshape = Op(
    "reshape",
    lambda _xp, x, *, shape: x.reshape(shape),
    lambda g, _y, x_shape, **_: _reshape(g, shape=x_shape),
)
_permute = Op(
    "permute",
    lambda _xp, x, *, dims: x.transpose(dims),
    lambda g, _y, _x, *, dims: _permute(g, dims=_inverse(dims)),
)


def _transposed_product(later: Later, params: dict[str, Any]) -> Later | None:
    """(A B)ᵀ = Bᵀ Aᵀ: a product that waits passes through a transpose, and goes on waiting."""
    if later.op.name != "matmul" or params["dims"] != (1, 0):
        return None
    a, b = later.xs
    return Later(later.op, b.T, a.T)


_permute.through = _transposed_product


def _inverse(dims: tuple[int, ...]) -> tuple[int, ...]:
    inverse = [0] * len(dims)
    for i, d in enumerate(dims):
        inverse[d] = i
    return tuple(inverse)


def reshape(x: V, *shape: Any) -> V:
    """The same elements in another shape; one extent may be -1, to be worked out.

    >>> import minigrad as mg
    >>> mg.arange(6).reshape(2, -1).shape
    (2, 3)
    """
    return _reshape(x, shape=ints(shape))


def permute(x: V, *dims: Any) -> V:
    """The axes in another order: axis i of the result is axis dims[i] of x."""
    order = tuple(axis_of(d, x.ndim) for d in ints(dims))
    if len(set(order)) != x.ndim:
        raise ValueError(f"permute: dims {order} must name each of the {x.ndim} axes once")
    return _permute(x, dims=order)


def transpose(x: V, dim0: int, dim1: int) -> V:
    """Two axes swapped."""
    dims = list(range(x.ndim))
    a, b = axis_of(dim0, x.ndim), axis_of(dim1, x.ndim)
    dims[a], dims[b] = b, a
    return _permute(x, dims=tuple(dims))


def reversed_axes(x: V) -> V:
    """The axes in reverse order."""
    return _permute(x, dims=tuple(range(x.ndim - 1, -1, -1)))


def movedim(x: V, source: int, destination: int) -> V:
    """One axis moved to another place, the others in their order."""
    dims = list(range(x.ndim))
    dims.insert(axis_of(destination, x.ndim), dims.pop(axis_of(source, x.ndim)))
    return _permute(x, dims=tuple(dims))


def expand(x: V, *sizes: Any) -> V:
    """Broadcast to `sizes` without a copy; -1 keeps an extent."""
    wanted = ints(sizes)
    extra = len(wanted) - x.ndim
    shape = tuple(x.shape[i - extra] if n == -1 and i >= extra else n for i, n in enumerate(wanted))
    return expand_to(x, shape=shape)


def squeeze(x: V, dim: int | None = None) -> V:
    """Without its axes of extent 1, or without axis `dim` if its extent is 1."""
    drop = range(x.ndim) if dim is None else (axis_of(dim, x.ndim),)
    return _reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in drop or n != 1))


def unsqueeze(x: V, dim: int) -> V:
    """With a new axis of extent 1 at `dim`."""
    shape = list(x.shape)
    shape.insert(axis_of(dim, x.ndim + 1), 1)
    return _reshape(x, shape=tuple(shape))


def flatten(x: V, start_dim: int = 0, end_dim: int = -1) -> V:
    """The axes from start_dim to end_dim as one."""
    if x.ndim == 0:
        return _reshape(x, shape=(1,))
    a, b = axis_of(start_dim, x.ndim), axis_of(end_dim, x.ndim)
    return _reshape(x, shape=(*x.shape[:a], math.prod(x.shape[a : b + 1]), *x.shape[b + 1 :]))


_flip = Op(
    "flip",
    lambda xp, x, *, dims: xp.flip(x, dims),
    lambda g, _y, _x, *, dims: _flip(g, dims=dims),
)
_roll = Op(
    "roll",
    lambda xp, x, *, shifts, dims: xp.roll(x, shifts, dims),
    lambda g, _y, _x, *, shifts, dims: _roll(g, shifts=tuple(map(neg, shifts)), dims=dims),
)
_tril = Op(
    "tril",
    lambda xp, x, *, diagonal: xp.tril(x, diagonal),
    lambda g, _y, _x, *, diagonal: _tril(g, diagonal=diagonal),
)
_triu = Op(
    "triu",
    lambda xp, x, *, diagonal: xp.triu(x, diagonal),
    lambda g, _y, _x, *, diagonal: _triu(g, diagonal=diagonal),
)


def flip(x: V, *dims: Any) -> V:
    """Reversed along `dims`."""
    return _flip(x, dims=tuple(axis_of(d, x.ndim) for d in ints(dims)))


def roll(x: V, shifts: int | Sequence[int], dims: int | Sequence[int]) -> V:
    """Shifted along `dims`; what leaves at the end comes in at the start."""
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    return _roll(x, shifts=by, dims=tuple(axis_of(d, x.ndim) for d in along))


def tril(x: V, diagonal: int = 0) -> V:
    """The lower triangle of the last two axes, zeros above `diagonal`."""
    return _tril(x, diagonal=diagonal)


def triu(x: V, diagonal: int = 0) -> V:
    """The upper triangle of the last two axes, zeros below `diagonal`."""
    return _triu(x, diagonal=diagonal)


def repeat(x: V, *sizes: Any) -> V:
    """Copies of x laid side by side, sizes[i] times along axis i (leading axes are added)."""
    times = ints(sizes)
    if len(times) < x.ndim:
        raise ValueError(f"repeat: {len(times)} sizes for a tensor of {x.ndim} axes")
    shape = (1,) * (len(times) - x.ndim) + tuple(x.shape)
    thin = tuple(n for extent in shape for n in (1, extent))
    wide = tuple(n for k, extent in zip(times, shape, strict=True) for n in (k, extent))
    tiled = expand_to(_reshape(x, shape=thin), shape=wide)
    return _reshape(tiled, shape=tuple(k * n for k, n in zip(times, shape, strict=True)))


# ---- many in or many out ---------------------------------------------------------------------

zeros_op = Op("zeros", lambda xp, like, *, shape: xp.zeros(shape, like.dtype))


def _present(gs: Sequence[Any], shapes: Sequence[Shape]) -> list[Any]:
    """The cotangents, zeros in the place of absent ones."""
    like = next(g for g in gs if g is not None)
    return [zeros_op(like, shape=s) if g is None else g for g, s in zip(gs, shapes, strict=True)]


def _split_forward(_xp: Any, x: Array, *, sizes: tuple[int, ...], dim: int) -> tuple[Array, ...]:
    lead = (slice(None),) * dim
    ends = list(accumulate(sizes))
    return tuple([x[(*lead, slice(e - n, e))] for e, n in zip(ends, sizes, strict=True)])


def _split_rule(gs: Any, _ys: Any, x_shape: Shape, *, sizes: tuple[int, ...], dim: int) -> Any:
    shapes = [(*x_shape[:dim], n, *x_shape[dim + 1 :]) for n in sizes]
    return [cat_op(*_present(gs, shapes), dim=dim, sizes=sizes)]


split_op = JointOp("split", _split_forward, _split_rule, several=True)


def _cat_forward(xp: Any, *xs: Array, dim: int, **_: Any) -> Array:
    if xs[0].flags.c_contiguous:
        return xp.concatenate(xs, axis=dim)
    strides = xs[0].strides  # joined as they lie, which is quicker than to turn them
    order = sorted(range(xs[0].ndim), key=lambda axis: -strides[axis])
    joined = xp.concatenate([x.transpose(order) for x in xs], axis=order.index(dim))
    return joined.transpose(_inverse(tuple(order)))


cat_op = JointOp(
    "cat",
    _cat_forward,
    lambda g, _y, *_xs, dim, sizes: split_op(g, sizes=sizes, dim=dim),
)
_unbind = JointOp(
    "unbind",
    lambda xp, x, *, dim: tuple(xp.moveaxis(x, dim, 0) if dim else x),
    lambda gs, _ys, x_shape, *, dim: [
        stack_op(*_present(gs, [x_shape[:dim] + x_shape[dim + 1 :]] * len(gs)), dim=dim)
    ],
    several=True,
)
stack_op = JointOp(
    "stack",
    lambda xp, *xs, dim: xp.stack(xs, axis=dim),
    lambda g, _y, *_xs, dim: _unbind(g, dim=dim),
)
for _op in (_reshape, _permute, _flip, split_op, _unbind):
    _op.view = True


def cat(tensors: Sequence[V], dim: int = 0) -> V:
    """Join along an existing axis; the other extents must agree.

    >>> import minigrad as mg
    >>> mg.cat([mg.zeros(2), mg.ones(1)])
    tensor([0., 0., 1.])
    """
    xs: tuple[Any, ...] = tuple(tensors)
    if not xs:
        raise ValueError("cat: expected at least one tensor, got none")
    axis = axis_of(dim, xs[0].ndim)
    others = {(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs}
    if len(others) > 1 or len({x.ndim for x in xs}) > 1:
        raise ValueError(f"cat along dim {dim}: shapes {[x.shape for x in xs]} differ elsewhere")
    xs = _of_one_kind(xs)
    return cat_op(*xs, dim=axis, sizes=tuple(x.shape[axis] for x in xs))


def _of_one_kind(xs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Integers among floats as floats of their dtype (NumPy would join them in float64)."""
    floats = [x.dtype for x in xs if x.dtype.kind == "f"]
    if len(floats) in (0, len(xs)):
        return xs
    return tuple([converted(x, dtype=np.result_type(*floats)) for x in xs])


def stack(tensors: Sequence[V], dim: int = 0) -> V:
    """Join along a new axis; all shapes must be equal."""
    xs: tuple[Any, ...] = tuple(tensors)
    if not xs:
        raise ValueError("stack: expected at least one tensor, got none")
    if any(x.shape != xs[0].shape for x in xs):
        raise ValueError(f"stack: expected equal shapes, got {sorted({x.shape for x in xs})}")
    xs = _of_one_kind(xs)
    return stack_op(*xs, dim=axis_of(dim, xs[0].ndim + 1))


def split(x: V, split_size: int | Sequence[int], dim: int = 0) -> tuple[V, ...]:
    """Pieces of `split_size` along `dim` (the last may be smaller), or of the sizes in a list."""
    tensor: Any = x
    axis = axis_of(dim, tensor.ndim)
    extent: int = tensor.shape[axis]
    if isinstance(split_size, int):
        if split_size < 1:
            raise ValueError(f"split: split_size must be positive, got {split_size}")
        starts = range(0, max(extent, 1), split_size)
        sizes = tuple(min(split_size, extent - start) for start in starts)
    else:
        sizes = tuple(split_size)
        if sum(sizes) != extent or min(sizes, default=0) < 0:
            raise ValueError(f"split: sizes {sizes} do not add up to {extent} along dim {dim}")
    return split_op(tensor, sizes=sizes, dim=axis)


def chunk(x: V, chunks: int, dim: int = 0) -> tuple[V, ...]:
    """`chunks` pieces of equal extent along `dim` (as in PyTorch: the last ones may be smaller)."""
    if chunks < 1:
        raise ValueError(f"chunk: chunks must be positive, got {chunks}")
    tensor: Any = x
    extent = tensor.shape[axis_of(dim, tensor.ndim)]
    return split(x, -(-extent // chunks) if extent else [0] * chunks, dim)


def unbind(x: V, dim: int = 0) -> tuple[V, ...]:
    """The slices along `dim`, without that axis: what iterating over a tensor gives."""
    tensor: Any = x
    return _unbind(tensor, dim=axis_of(dim, tensor.ndim))
