"""NumPy ufuncs from loops in compiled code, by way of NumPy's interface in C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

TYPES = {"float": ("f", 11), "double": ("d", 12)}  # by C's name: NumPy's character and number
_FROM_LOOPS, _FROM_LOOPS_OF_ARRAYS = 1, 31  # entries of the table of NumPy's C interface
_kept: list[Any] = []  # NumPy does not copy what describes a ufunc


def ufunc(
    library: ctypes.CDLL,
    name: str,
    read: int,
    written: int,
    signature: str | None = None,
    numbers: Sequence[str] = tuple(TYPES),
    given: Sequence[int] = (),
) -> Callable[..., Any]:
    """The ufunc of a library's functions `loop_float` and `loop_double`, or of one of them.

    With a signature they work on whole arrays. The addresses `given` are their last argument.
    """
    loops = [ctypes.cast(library[f"loop_{number}"], ctypes.c_void_p).value for number in numbers]
    functions = (ctypes.c_void_p * len(loops))(*loops)
    shared = (ctypes.c_void_p * len(given))(*given)
    data = (ctypes.c_void_p * len(loops))(*[ctypes.addressof(shared)] * len(loops))
    codes = [TYPES[number][1] for number in numbers for _ in range(read + written)]
    types = (ctypes.c_char * len(codes))(*codes)
    texts = [ctypes.c_char_p(text.encode()) for text in (name, signature or "")]
    _kept.append((library, functions, shared, data, types, texts))
    addresses = [ctypes.addressof(part) for part in (functions, data, types)]
    values = [*addresses, len(loops), read, written, -1, texts[0], b"", 0]
    kinds: list[Any] = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 4 + [ctypes.c_char_p] * 2
    kinds.append(ctypes.c_int)
    entry = _FROM_LOOPS
    if signature is not None:
        entry, values, kinds = _FROM_LOOPS_OF_ARRAYS, [*values, texts[1]], [*kinds, ctypes.c_char_p]
    return ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(_entry(entry))(*values)


def _entry(number: int) -> int:
    """The address of a function of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    inner: Any = np
    table = pointer(inner._core._multiarray_umath._UFUNC_API, None)
    address = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[number]
    assert address is not None
    return address
