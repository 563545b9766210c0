"""`where` on NumPy arrays without a branch an element, for conditions that follow no pattern."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend.base import Array

FEW = 4096  # elements below which NumPy's own is as fast
BLOCK = 16384  # elements at a time, so that temporaries stay in the cache
_numpy: Any = np  # whose stubs know less of `where`'s result than `Array` says


def where(condition: Array, a: Any, b: Any) -> Array:
    """a where the condition holds, else b, as `np.where`, to the bit.

    NumPy branches on each element, and a processor guesses half of the branches of relu wrong:
    (4096, 512) in float32, 8.0 → 1.5 ms. Bits are picked instead: b ^ ((a ^ b) & mask).
    """
    few = type(condition) is not np.ndarray or condition.size < FEW
    dtype = None if few else _one_format(condition, a, b)
    if dtype is None:
        return _numpy.where(condition, a, b)
    if not condition.flags.c_contiguous:
        return where(condition.T, *(x.T if _is_array(x) else x for x in (a, b))).T
    out = np.empty(condition.shape, dtype)
    _pick(condition, _bits(a, dtype), _bits(b, dtype), _bits(out, dtype))
    return out


def _is_array(x: Any) -> bool:
    return type(x) is np.ndarray and x.ndim > 0


def _one_format(condition: Array, a: Any, b: Any) -> np.dtype[Any] | None:
    """The dtype of a and b, if all arrays lie alike in memory and the dtype is float32 or 64."""
    if condition.dtype != np.bool_:
        return None
    arrays: list[Array] = [x for x in (a, b) if _is_array(x)]
    formats = {x.dtype for x in (a, b) if hasattr(x, "dtype")}
    if not arrays or len(formats) > 1 or arrays[0].dtype.char not in "fd":
        return None
    flags = [x.flags for x in (condition, *arrays)]
    alike = all(f.c_contiguous for f in flags) or all(f.f_contiguous for f in flags)
    return arrays[0].dtype if alike and {x.shape for x in arrays} == {condition.shape} else None


def _bits(x: Any, dtype: np.dtype[Any]) -> Array:
    """The bits of an array as flat integers, or of a number as one."""
    integer = f"i{dtype.itemsize}"
    return x.reshape(-1).view(integer) if _is_array(x) else np.asarray(x, dtype).view(integer)


def _pick(condition: Array, a: Array, b: Array, out: Array) -> None:
    chosen = condition.reshape(-1).view(np.int8)
    mask = np.empty(BLOCK, out.dtype)
    for k in range(0, out.size, BLOCK):
        block = slice(k, k + BLOCK)
        y = out[block]
        m = np.negative(chosen[block], mask[: y.size])  # -1 is all bits, 0 none
        x, other = (v[block] if v.ndim else v for v in (a, b))
        np.bitwise_xor(x, other, y)
        np.bitwise_and(y, m, y)
        np.bitwise_xor(y, other, y)
