"""The array namespaces, and the look-up of the one that an array belongs to."""

from __future__ import annotations

import importlib
import os

from minigrad.backend.base import Array as Array
from minigrad.backend.base import Backend as Backend
from minigrad.backend.base import Kernel as Kernel
from minigrad.backend.base import Lanes as Lanes
from minigrad.backend.base import RowKernel as RowKernel
from minigrad.backend.numpy_ import NumpyBackend

_numpy = NumpyBackend()
_by_device: dict[str, Backend] = {"cpu": _numpy}
# the backend of each type of array, of those backends that are in use
array_types: dict[type, Backend] = dict.fromkeys(_numpy.array_types, _numpy)

# device name -> (module, class, what to install): imported on first use
_LAZY = {
    "cuda": ("minigrad.backend.cupy_", "CupyBackend", "cupy"),
    "strict": ("minigrad.backend.strict", "StrictBackend", None),
}


def get_backend(device: str) -> Backend:
    """Give the backend of a device name: "cpu", "cuda" (also "cuda:0") or "strict" (for tests)."""
    key = device.split(":", maxsplit=1)[0]
    if key not in _by_device:
        if key not in _LAZY:
            raise ValueError(
                f"unknown device {device!r}: expected 'cpu' or 'cuda' ('strict' in tests)"
            )
        module, name, extra = _LAZY[key]
        try:
            backend: Backend = getattr(importlib.import_module(module), name)()
        except ImportError as error:
            raise ImportError(
                f"device {device!r} needs {extra}, which is not installed; "
                "write: pip install 'minigrad[cuda12]' (or cuda13, to match the driver)"
            ) from error
        _by_device[key] = backend
        array_types.update(dict.fromkeys(backend.array_types, backend))
    return _by_device[key]


def backend_of(*xs: object) -> Backend:
    """Give the backend of the first array among `xs`; Python numbers belong to NumPy's."""
    for x in xs:
        backend = array_types.get(type(x))
        if backend is not None:
            return backend
    return _numpy


def is_array(x: object) -> bool:
    """Whether `x` is an array of a backend that is in use."""
    return type(x) in array_types


def to_backend(array: Array, backend: Backend) -> Array:
    """An array moved to `backend`, if it is not there already."""
    source = backend_of(array)
    return array if source is backend else backend.from_host(source.to_host(array))


def use_native(on: bool = True) -> None:
    """Compile fused functions to machine code on the CPU from here on, or no longer.

    Needs a C compiler (`cc`, or what the variable CC names); raises RuntimeError without one.
    Each function is compiled at its first call (about 0.2 s) and kept in the user's cache folder.
    Values equal the plain path's up to a few units in the last place, and do not depend on where
    in an array an element stands; warnings of overflow are not given. The variable
    MINIGRAD_NATIVE=1 switches it on from the start.
    """
    if on:
        from minigrad.backend.library import compiler  # brings modules that few need

        compiler()
    _numpy.native = on


if os.environ.get("MINIGRAD_NATIVE", "0") not in ("", "0"):
    use_native()
