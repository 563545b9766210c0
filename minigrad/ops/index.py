"""Ops that pick elements by position, and the scatter that carries their gradient back."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false
# Rules are lambdas, which cannot be annotated; they handle arrays, Tensors and symbols alike.
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from minigrad.backend import Array, backend_of, is_array
from minigrad.gathering import Later
from minigrad.op import Op, V
from minigrad.ops.broadcast import Shape
from minigrad.ops.elementwise import where
from minigrad.ops.shape import axis_of


def _is_basic(key: Any) -> bool:
    keys = cast("tuple[Any, ...]", key) if type(key) is tuple else (key,)
    return all(k is None or k is Ellipsis or type(k) in (int, slice) for k in keys)


def _put(xp: Any, into: Array, key: Any, g: Array) -> None:
    if _is_basic(key):
        into[key] += g
    else:
        xp.scatter_add(into, key, g)


def _scatter_forward(xp: Any, g: Array, *, key: Any, shape: Shape) -> Array:
    into = xp.zeros(shape, g.dtype)
    _put(xp, into, key, g)
    return into


def _settle_scatter(into: Array | None, waiting: list[Later]) -> Array:
    """Write every slice into one buffer, instead of adding buffers full of zeros."""
    xp = backend_of(waiting[0].xs[0])
    if into is None:
        g = waiting[0].xs[0]
        into = xp.zeros(waiting[0].params["shape"], g.dtype)
    for later in waiting:
        _put(xp, into, later.params["key"], later.xs[0])
    return into


_scatter = Op(
    "scatter",
    _scatter_forward,
    lambda g, _y, _x, *, key, **_: _index(g, key=key),
    settle=_settle_scatter,
)
_index = Op(
    "index",
    lambda _xp, x, *, key: x[key],
    lambda g, _y, x_shape, *, key: Later(_scatter, g, key=key, shape=x_shape),
)
_index.view = True


def getitem(x: V, key: Any) -> V:
    """NumPy's indexing: integers, slices, None, …, boolean masks, integer arrays and tensors."""
    if type(key) is int or type(key) is slice:  # the common case, x[t]
        return _index(x, key=key)
    keys = cast("tuple[Any, ...]", key) if isinstance(key, tuple) else (key,)
    device: Any = x.backend if hasattr(x, "__run_op__") else backend_of(x)
    plain = tuple(_plain(k, device) for k in keys)
    _refuse_out_of_range(plain, x.shape)
    if any(type(k) is int for k in plain) and any(is_array(k) for k in plain):
        first, plain = _integers_first(plain)
        x = _index(x, key=first)
    return _index(x, key=plain if isinstance(key, tuple) else plain[0])


def _integers_first(keys: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """x[0, :, index] as x[0][:, index], as in PyTorch.

    NumPy counts the integer among the arrays, and brings what is of arrays that a slice separates
    to the front.
    """
    first: list[Any] = []
    then: list[Any] = []
    for k in keys:
        if type(k) is int or k is Ellipsis or type(k) is slice:
            first.append(k)
        elif is_array(k):
            first += [slice(None)] * _consumed(k)
        if type(k) is not int:
            then.append(slice(None) if type(k) is slice else k)
    return tuple(first), tuple(then)


def _array(x: Any) -> Any:
    return x.data if hasattr(x, "__run_op__") else x


def _plain(k: Any, device: Any) -> Any:
    """A key without tensors: Python's own, or an array on the device."""
    if k is None or k is Ellipsis or type(k) in (bool, slice):
        return k
    array = _array(k)
    if isinstance(array, (int, np.integer)):
        return int(array)
    if not is_array(array) or (array is k and backend_of(k) is not device):
        host = np.asarray(array)  # a list or a host array: data, which may move
        empty = host.size == 0 and host.dtype.kind == "f"  # what NumPy makes of []
        array = device.from_host(host.astype(np.int64) if empty else host)
    if backend_of(array) is not device:
        raise ValueError(f"the index is not on {device.device}: write index.to({device.device!r})")
    if array.dtype.kind not in "iub":
        raise IndexError(f"an index must be of integers or booleans, not {array.dtype}")
    return array


def _refuse_out_of_range(keys: tuple[Any, ...], shape: Shape) -> None:
    """Check integer arrays on the host: the GPU's array module wraps them silently."""
    axis = 0
    for i, k in enumerate(keys):
        if k is Ellipsis:
            axis = len(shape) - sum(_consumed(later) for later in keys[i + 1 :])
        elif is_array(k) and k.dtype.kind in "iu":
            if k.size and axis < len(shape):
                check_range(k, shape[axis], f"index of axis {axis}")
            axis += 1
        else:
            axis += _consumed(k)


def _consumed(k: Any) -> int:
    """How many axes of x a key takes."""
    if k is None or isinstance(k, bool):
        return 0
    return k.ndim if is_array(k) and k.dtype.kind == "b" else 1


def check_range(index: Array, extent: int, what: str) -> None:
    """Raise unless every index lies in [-extent, extent)."""
    low, high = int(index.min()), int(index.max())
    if low < -extent or high >= extent:
        raise IndexError(f"{what} runs from {low} to {high}, but the extent is {extent}")


def all_below(index: Array, extent: int) -> bool:
    """Whether every index lies in [0, extent): one look, for negative ones are huge as unsigned."""
    if index.dtype.kind == "i":
        index = index.view(f"u{index.dtype.itemsize}")
    return not index.size or int(index.max()) < extent


def gather(x: V, dim: int, index: Any) -> V:
    """Pick along one axis: y[i, j] = x[index[i, j], j] for dim = 0, and so on.

    index: integers, of x's number of axes; its extents may be smaller except along `dim`.
    """
    axis = axis_of(dim, x.ndim)
    if index.ndim != x.ndim:
        raise ValueError(f"gather: index has {index.ndim} axes, but x has {x.ndim}")
    xp = backend_of(_array(index))
    key = [xp.arange(n).reshape((-1,) + (1,) * (x.ndim - i - 1)) for i, n in enumerate(index.shape)]
    key[axis] = index
    return getitem(x, tuple(key))


def index_select(x: V, dim: int, index: Any) -> V:
    """The slices of x along `dim` that a 1-D `index` names, in its order."""
    return getitem(x, (slice(None),) * axis_of(dim, x.ndim) + (index,))


def _embedding_forward(xp: Any, weight: Array, index: Array) -> Array:
    if index.size:
        check_range(index, weight.shape[0], "index of axis 0")
    if not weight.flags.c_contiguous:  # of which `take` makes a copy
        return weight[index]
    return xp.take(weight, index, axis=0)  # (10000, 256) by 4096: 0.42 ms, weight[index] 0.58


_embedding = Op(
    "embedding",
    _embedding_forward,
    lambda g, _y, weight_shape, index: Later(_scatter, g, key=index, shape=weight_shape),
)


def embedding(weight: V, index: Any) -> V:
    """Rows of `weight` (V, E) by integer `index` (…), as (…, E); gradients add up by row.

    index: integers, an argument of the op as weight is if it is a tensor, or a key of `getitem`.
    """
    integers = hasattr(index, "__run_op__") and index.dtype.kind in "iu"
    return _embedding(weight, index) if integers else getitem(weight, index)


def masked_fill(x: V, mask: Any, value: float) -> V:
    """x, with `value` where the mask holds."""
    return where(mask, value, x)


def argsort(x: V, dim: int = -1, descending: bool = False) -> V:
    """The indices (int64) that sort x along `dim`; equal elements keep their order."""
    return _argsort(x, dim=dim, descending=descending)


def sort(x: V, dim: int = -1, descending: bool = False) -> tuple[V, V]:
    """Sorted values along `dim`, and their indices."""
    order = argsort(x, dim, descending)
    return gather(x, dim, order), order


def topk(x: V, k: int, dim: int = -1, largest: bool = True) -> tuple[V, V]:
    """The k largest (or smallest) elements along `dim` in order, and their indices."""
    tensor: Any = x
    axis = axis_of(dim, tensor.ndim)
    if not 0 <= k <= tensor.shape[axis]:
        raise ValueError(f"topk: k = {k}, but dim {dim} has {tensor.shape[axis]} elements")
    order: Any = argsort(x, dim, descending=largest)
    first = getitem(order, (slice(None),) * axis + (slice(k),))
    return gather(x, dim, first), first


def _argsort_forward(xp: Any, x: Array, *, dim: int, descending: bool) -> Array:
    if not descending:
        return xp.argsort(x, axis=dim, kind="stable")
    last = x.shape[dim] - 1  # sort the mirror image, so that equal elements keep their order
    return last - xp.flip(xp.argsort(xp.flip(x, dim), axis=dim, kind="stable"), dim)


_argsort = Op("argsort", _argsort_forward)


def pad_constant(x: V, widths: Sequence[tuple[int, int]], value: float = 0.0) -> V:
    """x with `widths[i]` = (before, after) constant elements added along axis i."""
    return _pad(x, widths=tuple(widths), value=value) if x.ndim else x


def _inner(widths: tuple[tuple[int, int], ...], shape: Shape) -> tuple[slice, ...]:
    return tuple(slice(before, before + n) for (before, _), n in zip(widths, shape, strict=True))


_pad = Op(
    "pad",
    lambda xp, x, *, widths, value: xp.pad(x, widths, constant_values=value),
    lambda g, _y, x_shape, *, widths, **_: _index(g, key=_inner(widths, x_shape)),
)
