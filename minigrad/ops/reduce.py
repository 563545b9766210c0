"""Ops that reduce along axes, and running reductions."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, overload

import numpy as np

from minigrad.backend import Array
from minigrad.op import Op, V
from minigrad.ops.arguments import default
from minigrad.ops.broadcast import Shape, expand_to, running_sum, summed
from minigrad.ops.convert import cast, in_float32
from minigrad.ops.elementwise import abs, isnan, sqrt, where
from minigrad.ops.index import gather, getitem
from minigrad.ops.shape import axis_of, cat, flip, reshape, squeeze

Dims = int | Sequence[int] | None


def axes_of(dim: Dims, ndim: int) -> tuple[int, ...]:
    """Give `dim` (None for all) as a tuple of axes from 0; a 0-d tensor has dim 0 for this."""
    if dim is None:
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if ndim == 0:
        return tuple(axis_of(d, 1) for d in dims)[:0]
    return tuple(axis_of(d, ndim) for d in dims)


def _spread(g: Any, shape: Shape, dim: tuple[int, ...]) -> Any:
    """Broadcast what was reduced along `dim` back to `shape`."""
    if g.ndim and dim != tuple(range(len(dim))):  # not the leading axes: they need their places
        g = reshape(g, [1 if i in dim else n for i, n in enumerate(shape)])
    return expand_to(g, shape=shape)


def _reduction(name: str, doc: str, rule: Any) -> Op:
    def forward(_xp: Any, x: Array, *, dim: tuple[int, ...], keepdim: bool) -> Array:
        return getattr(x, name)(axis=dim, keepdims=keepdim)

    return Op(name, forward, *([] if rule is None else [rule]), doc=doc)


def _extreme_rule(g: Any, y: Any, x: Any, *, dim: tuple[int, ...], keepdim: bool) -> Any:
    ties = (x == _spread(y, x.shape, dim)) | isnan(x)
    count = cast(sum(ties, dim, keepdim), dtype=x.dtype)
    return where(ties, _spread(g / count, x.shape, dim), 0.0)


def _mean_forward(xp: Any, x: Array, *, dim: tuple[int, ...], keepdim: bool) -> Array:
    share = _share_of_each(x.shape, dim)
    if x.dtype.char in "fd":
        return xp.sum_over(x, dim, keepdim) * share
    mean = x.sum(axis=dim, keepdims=keepdim, dtype=np.float64) * share
    return mean.astype(x.dtype if x.dtype.kind == "f" else default["floating"])


def _share_of_each(shape: Shape, dim: tuple[int, ...]) -> float:
    return 1.0 / builtins.max(math.prod([shape[a] for a in dim]), 1)


mean_op = Op(
    "mean",
    _mean_forward,
    lambda g, _y, x_shape, *, dim, **_: _spread(g * _share_of_each(x_shape, dim), x_shape, dim),
)
sum_op = Op(
    "sum",
    summed,
    lambda g, _y, x_shape, *, dim, **_: _spread(g, x_shape, dim),
)
_amax = _reduction("max", "", _extreme_rule)
_amin = _reduction("min", "", _extreme_rule)
_any = _reduction("any", "", None)
_all = _reduction("all", "", None)
_argmax = Op("argmax", lambda _xp, x, *, dim, keepdim: x.argmax(axis=dim, keepdims=keepdim))
_argmin = Op("argmin", lambda _xp, x, *, dim, keepdim: x.argmin(axis=dim, keepdims=keepdim))


def sum(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """Sum over `dim` (an int, several, or None for all axes).

    >>> import minigrad as mg
    >>> mg.ones(2, 3).sum(dim=1)
    tensor([3., 3.])
    """
    return sum_op(x, dim=axes_of(dim, x.ndim), keepdim=keepdim)


def mean(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """Arithmetic mean over `dim`; of no elements it is 0, with gradient 0 (PyTorch: NaN)."""
    return mean_op(x, dim=axes_of(dim, x.ndim), keepdim=keepdim)


@in_float32
def var(x: V, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> V:
    """Variance over `dim`: Σ(x - mean)² / max(n - correction, 1); of one it is 0 (PyTorch: NaN)."""
    count = math.prod(x.shape[a] for a in axes_of(dim, x.ndim))
    d = x - mean(x, dim, keepdim=True)
    return sum(d * d, dim, keepdim) * (1.0 / builtins.max(count - correction, 1))


@in_float32
def std(x: V, dim: Dims = None, correction: int = 1, keepdim: bool = False) -> V:
    """Standard deviation over `dim`, the root of `var`; where it is 0, so is its gradient."""
    return _root(var(x, dim, correction, keepdim))


def amax(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """Largest element over `dim`; equal ones share the gradient."""
    _refuse_empty("amax", x, dim)
    return _amax(x, dim=axes_of(dim, x.ndim), keepdim=keepdim)


def amin(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """Smallest element over `dim`; equal ones share the gradient."""
    _refuse_empty("amin", x, dim)
    return _amin(x, dim=axes_of(dim, x.ndim), keepdim=keepdim)


def _refuse_empty(name: str, x: Any, dim: Dims) -> None:
    axes = axes_of(dim, x.ndim)
    if 0 in [x.shape[a] for a in axes]:
        raise ValueError(f"{name} over no elements: shape {x.shape}, dim {dim}")


class Extreme(NamedTuple, Generic[V]):
    """What `max` and `min` along an axis give."""

    values: V
    indices: V


@overload
def max(x: V, dim: None = None, keepdim: bool = False) -> V: ...
@overload
def max(x: V, dim: int, keepdim: bool = False) -> Extreme[V]: ...
def max(x: V, dim: int | None = None, keepdim: bool = False) -> V | Extreme[V]:
    """Largest element of all, or (values, indices) along `dim`: the gradient goes to one index."""
    return amax(x) if dim is None else _select(x, argmax(x, dim, keepdim=True), dim, keepdim)


@overload
def min(x: V, dim: None = None, keepdim: bool = False) -> V: ...
@overload
def min(x: V, dim: int, keepdim: bool = False) -> Extreme[V]: ...
def min(x: V, dim: int | None = None, keepdim: bool = False) -> V | Extreme[V]:
    """Smallest element of all, or (values, indices) along `dim`: the gradient goes to one index."""
    return amin(x) if dim is None else _select(x, argmin(x, dim, keepdim=True), dim, keepdim)


def _select(x: V, index: V, dim: int, keepdim: bool) -> Extreme[V]:
    if x.ndim == 0:
        return Extreme(x, index)
    values = gather(x, dim, index)
    return Extreme(values, index) if keepdim else Extreme(squeeze(values, dim), squeeze(index, dim))


def argmax(x: V, dim: int | None = None, keepdim: bool = False) -> V:
    """Index of the first largest element: of all elements in order, or along `dim`."""
    _refuse_empty("argmax", x, dim)
    return _argmax(x, dim=dim if dim is None or x.ndim else None, keepdim=keepdim)


def argmin(x: V, dim: int | None = None, keepdim: bool = False) -> V:
    """Index of the first smallest element: of all elements in order, or along `dim`."""
    _refuse_empty("argmin", x, dim)
    return _argmin(x, dim=dim if dim is None or x.ndim else None, keepdim=keepdim)


def any(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """Whether any element over `dim` is not 0."""
    return _any(x, dim=axes_of(dim, x.ndim), keepdim=keepdim)


def all(x: V, dim: Dims = None, keepdim: bool = False) -> V:
    """Whether all elements over `dim` are not 0."""
    return _all(x, dim=axes_of(dim, x.ndim), keepdim=keepdim)


_cumsum = Op(
    "cumsum",
    running_sum,
    lambda g, _y, _x, *, dim: flip(_cumsum(flip(g, dim), dim=dim), dim),
)


def cumsum(x: V, dim: int) -> V:
    """Running sum along `dim`: yᵢ = x₀ + … + xᵢ."""
    return _cumsum(x, dim=axis_of(dim, x.ndim))


@in_float32
def prod(x: V, dim: int | None = None, keepdim: bool = False) -> V:
    """Product over all elements or along `dim`, by halving: gradients stay exact at zeros."""
    if dim is None:
        total = prod(reshape(x, -1), 0)
        return reshape(total, (1,) * x.ndim) if keepdim else total
    if x.dtype.kind != "f":
        x = cast(x, dtype=np.dtype(np.int64))
    axis = axis_of(dim, x.ndim)
    lead = (slice(None),) * axis
    if x.shape[axis] == 0:
        x = sum(x, axis, keepdim=True) + 1.0
    while (n := x.shape[axis]) > 1:
        half = n // 2
        pairs = getitem(x, (*lead, slice(half))) * getitem(x, (*lead, slice(half, 2 * half)))
        x = pairs if n % 2 == 0 else _with_last(pairs, x, axis)
    return x if keepdim else squeeze(x, axis)


def _with_last(pairs: Any, x: Any, axis: int) -> Any:
    """Multiply the odd element at the end into the first pair."""
    lead = (slice(None),) * axis
    first = getitem(pairs, (*lead, slice(1))) * getitem(x, (*lead, slice(-1, None)))
    if pairs.shape[axis] == 1:
        return first
    return cat([first, getitem(pairs, (*lead, slice(1, None)))], axis)


@in_float32
def norm(x: V, p: float | str = 2, dim: Dims = None, keepdim: bool = False) -> V:
    """Length over `dim`, (Σ|x|ᵖ)^(1/p), Euclidean for p = 2 or "fro"; the gradient at 0 is 0.

    p = ∞ gives the largest |x|. Raises ValueError unless p is positive.

    >>> import minigrad as mg
    >>> mg.tensor([3.0, -4.0]).norm(), mg.tensor([3.0, -4.0]).norm(1)
    (tensor(5.), tensor(7.))
    """
    if p in (2, "fro"):
        return _root(sum(x * x, dim, keepdim))
    if isinstance(p, str) or not p > 0:
        raise ValueError(f"norm: p must be positive or 'fro', got {p!r}")
    if p == 1:
        return sum(abs(x), dim, keepdim)
    if p == math.inf:
        return amax(abs(x), dim, keepdim)
    powers = sum(_flat_at_0(abs(x), lambda a: a**p), dim, keepdim)
    return _flat_at_0(powers, lambda total: total ** (1 / p))


def _root(x: V) -> V:
    return _flat_at_0(x, sqrt)


def _flat_at_0(x: V, power: Callable[[V], V]) -> V:
    """A power of x, 0 at 0: the gradient of a length there is 0, and not 0·∞."""
    zero: Any = x == 0
    return where(zero, 0.0, power(where(zero, 1.0, x)))


def allclose(
    a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether |a - b| ≤ atol + rtol·|b| for all elements, as a Python bool."""
    close = (abs(a - b) <= atol + rtol * abs(b)) | (a == b)
    if equal_nan:
        close = close | (isnan(a) & isnan(b))
    return builtins.bool(all(close))
