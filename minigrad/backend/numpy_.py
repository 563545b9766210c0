"""The CPU backend: NumPy itself, and what NumPy spells differently from CuPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.backend.base import Array, Backend


class NumpyBackend(Backend):
    """Arrays are `numpy.ndarray`; NumPy's scalars count as 0-d arrays."""

    name = "numpy"
    device = "cpu"
    array_types = (np.ndarray, *{np.dtype(c).type for c in "?bBhHiIlLqQefdFD"})

    def __init__(self) -> None:
        super().__init__(np)

    def from_host(self, x: np.ndarray[Any, Any]) -> Array:
        return x

    def to_host(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def scatter_add(self, into: Array, index: Any, values: Array) -> None:
        np.add.at(into, index, values)
