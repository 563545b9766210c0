"""The BLAS that NumPy brings, for compiled code to call."""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np


class Blas:
    """The addresses of products in C: y = α W x + β y, row-major, with 64-bit sizes."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def gemm(self, dtype: np.dtype[Any]) -> int:
        """Of matrices."""
        return self._address(dtype, "gemm")

    def gemv(self, dtype: np.dtype[Any]) -> int:
        """Of a matrix and a vector."""
        return self._address(dtype, "gemv")

    @functools.cache  # noqa: B019 - there is one; and a cast of ctypes is a reference cycle
    def _address(self, dtype: np.dtype[Any], name: str) -> int:
        letter = "s" if dtype == np.float32 else "d"
        function = self._library[f"scipy_cblas_{letter}{name}64_"]
        address = ctypes.cast(function, ctypes.c_void_p).value
        assert address is not None
        return address


@functools.cache
def blas() -> Blas | None:
    """The OpenBLAS in NumPy's wheel; None where NumPy has another."""
    folder = Path(np.__file__).parents[1] / "numpy.libs"
    for path in folder.glob("libscipy_openblas64_*"):
        return Blas(ctypes.CDLL(str(path)))
    return None
