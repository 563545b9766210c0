"""Ops that keep the values and change what holds them: the dtype, the device, the memory."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from minigrad.backend import Array, backend_of, get_backend, is_array
from minigrad.op import Op, V

F = TypeVar("F", bound=Callable[..., Any])

_HALF, _SINGLE = np.dtype(np.float16), np.dtype(np.float32)
_DTYPE_NAMES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def _cast_forward(_xp: Any, x: Array, *, dtype: np.dtype[Any], **_: Any) -> Array:
    return x.astype(dtype)


def _cast_rule(g: Any, _y: Any, _x: Any, *, dtype: Any, source: Any) -> Any:
    return _cast(g, dtype=source, source=dtype)


def _transfer_forward(xp: Any, x: Array, *, to: str, **_: Any) -> Array:
    return get_backend(to).from_host(xp.to_host(x))


def _transfer_rule(g: Any, _y: Any, _x: Any, *, to: str, source: str) -> Any:
    return _transfer(g, to=source, source=to)


def _clone_forward(_xp: Any, x: Array) -> Array:
    return x.copy()


def _detach_forward(_xp: Any, x: Array) -> Array:
    return x


def _clone_rule(g: Any, _y: Any, _x: Any) -> Any:
    return g


_cast = Op("cast", _cast_forward, _cast_rule)
_cast_off = Op("cast", _cast_forward)  # to integers and booleans: no gradient
_transfer = Op("transfer", _transfer_forward, _transfer_rule)
clone = Op(
    "clone",
    _clone_forward,
    _clone_rule,
    doc="A copy, on the tape: gradients flow through it.",
)

detach = Op(
    "detach",
    _detach_forward,
    doc="The same value off the tape (the array is shared): no gradient flows through.",
)


def cast(x: V, *, dtype: np.dtype[Any]) -> V:
    """The values in another dtype; gradients flow between floating dtypes only."""
    if x.dtype == dtype:
        return x
    if dtype.kind not in "fc":
        return _cast_off(x, dtype=dtype)
    return _cast(x, dtype=dtype, source=x.dtype)


def in_float32(function: F) -> F:
    """A function that computes with halves in float32 and rounds once, at the end, as PyTorch's."""

    @functools.wraps(function)
    def wide(x: Any, *args: Any, **options: Any) -> Any:
        if x.dtype is not _HALF:
            return function(x, *args, **options)
        options = {name: _widened(value) for name, value in options.items()}
        y: Any = function(_widened(x), *map(_widened, args), **options)
        return tuple(map(_halved, typing.cast("Any", y))) if type(y) is tuple else _halved(y)

    return wide  # pyright: ignore[reportReturnType]  # of the signature of what it wraps


def _widened(x: Any) -> Any:
    return cast(x, dtype=_SINGLE) if getattr(x, "dtype", None) == _HALF else x


def _halved(x: Any) -> Any:
    return cast(x, dtype=_HALF)


def transfer(x: V, *, to: str) -> V:
    """The values on another device; gradients come back to this one."""
    return _transfer(x, to=to, source=backend_of(x).device if is_array(x) else x.device)


def to(x: V, target: Any) -> V:
    """This tensor on another device ("cpu", "cuda") or in another dtype (mg.float64)."""
    if not isinstance(target, str) or target in _DTYPE_NAMES:
        return cast(x, dtype=np.dtype(target))
    backend = get_backend(target)
    return x if backend is x.backend else transfer(x, to=backend.device)


def cpu(x: V) -> V:
    """This tensor on the CPU."""
    return to(x, "cpu")


def cuda(x: V) -> V:
    """This tensor on the GPU."""
    return to(x, "cuda")


def float(x: V) -> V:
    """This tensor in float32."""
    return to(x, np.float32)


def double(x: V) -> V:
    """This tensor in float64."""
    return to(x, np.float64)


def long(x: V) -> V:
    """This tensor in int64."""
    return to(x, np.int64)


def bool(x: V) -> V:
    """This tensor as booleans: whether each element is not 0."""
    return to(x, np.bool_)
