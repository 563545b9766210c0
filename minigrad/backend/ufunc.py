"""NumPy ufuncs from loops in compiled code, by way of NumPy's interface in C."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

TYPES = {"float": ("f", 11), "double": ("d", 12)}  # by C's name: NumPy's character and number
_FROM_LOOPS, _FROM_LOOPS_OF_ROWS = 1, 31  # entries of the table of NumPy's C interface
_kept: list[Any] = []  # NumPy does not copy what describes a ufunc


def ufunc(
    library: ctypes.CDLL, name: str, read: int, written: int, signature: str | None = None
) -> Callable[..., Any]:
    """The ufunc of a library's `loop_float` and `loop_double`; with a signature, of whole rows."""
    loops = [ctypes.cast(library[f"loop_{number}"], ctypes.c_void_p).value for number in TYPES]
    functions = (ctypes.c_void_p * len(loops))(*loops)
    data = (ctypes.c_void_p * len(loops))()
    numbers = [code for _, code in TYPES.values() for _ in range(read + written)]
    types = (ctypes.c_char * len(numbers))(*numbers)
    texts = [ctypes.c_char_p(text.encode()) for text in (name, signature or "")]
    _kept.append((library, functions, data, types, texts))
    addresses = [ctypes.addressof(part) for part in (functions, data, types)]
    given = [*addresses, len(loops), read, written, -1, texts[0], b"", 0]
    kinds: list[Any] = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 4 + [ctypes.c_char_p] * 2
    kinds.append(ctypes.c_int)
    entry = _FROM_LOOPS
    if signature is not None:
        entry, given, kinds = _FROM_LOOPS_OF_ROWS, [*given, texts[1]], [*kinds, ctypes.c_char_p]
    return ctypes.PYFUNCTYPE(ctypes.py_object, *kinds)(_entry(entry))(*given)


def _entry(number: int) -> int:
    """The address of a function of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    inner: Any = np
    table = pointer(inner._core._multiarray_umath._UFUNC_API, None)
    address = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[number]
    assert address is not None
    return address
