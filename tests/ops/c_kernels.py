"""The C text of fused kernels, compiled all together and run on NumPy arrays."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from minigrad.backend import Kernel

COMPILER = shutil.which("cc")
NUMBERS = {"double": np.dtype(np.float64), "float": np.dtype(np.float32)}


def _names(kernel: Kernel) -> tuple[list[str], list[str]]:
    read = [name for lanes in kernel.inputs for name in lanes.names]
    written = [name for lanes in kernel.outputs for name in lanes.names]
    return read, written


def _function(symbol: str, number: str, kernel: Kernel, booleans: Set[str]) -> str:
    """A loop over elements around the kernel's statements."""
    read, written = _names(kernel)
    loads = "".join(
        f"const {'bool' if name in booleans else 'T'} {name} = at[{k}][i]; "
        for k, name in enumerate(read)
    )
    stores = "".join(f"at[{len(read) + k}][i] = {name}; " for k, name in enumerate(written))
    results = "".join(f"T {name}; " for name in written)
    return (
        f"#define T {number}\n"
        f"void {symbol}_{number}(long n, T **at) {{ for (long i = 0; i < n; i++) {{\n"
        f"{loads}{results}\n{kernel.c}\n{stores}\n}}}}\n#undef T\n"
    )


class Library:
    """Kernels by name, as functions of arrays of one shape and dtype (float64 or float32).

    `booleans` names the input lanes that are to be read as truth values.
    """

    def __init__(
        self, kernels: dict[str, Kernel], folder: Path, booleans: Mapping[str, Set[str]]
    ) -> None:
        self.kernels = kernels
        self.symbols = {name: f"k{i}" for i, name in enumerate(kernels)}
        text = "#include <math.h>\n#include <stdbool.h>\n" + "".join(
            _function(self.symbols[name], number, kernel, booleans.get(name, frozenset()))
            for name, kernel in kernels.items()
            for number in NUMBERS
        )
        source, built = folder / "kernels.c", folder / "kernels.so"
        source.write_text(text, encoding="utf-8")
        assert COMPILER is not None
        flags = ["-O1", "-w", "-ffp-contract=off", "-shared", "-fPIC"]
        command = [COMPILER, *flags, "-o", str(built), str(source), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        self.loaded = ctypes.CDLL(str(built))

    def __call__(self, name: str, lanes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run a kernel on its input lanes; gives its output lanes."""
        (dtype,) = {x.dtype for x in lanes}
        number = next(number for number, of in NUMBERS.items() if of == dtype)
        read, written = _names(self.kernels[name])
        shape = np.broadcast_shapes(*(x.shape for x in lanes))
        arrays = [np.ascontiguousarray(np.broadcast_to(x, shape)) for x in lanes]
        arrays += [np.empty(shape, dtype) for _ in written]
        at = (ctypes.c_void_p * len(arrays))(*[x.ctypes.data for x in arrays])
        getattr(self.loaded, f"{self.symbols[name]}_{number}")(ctypes.c_long(arrays[0].size), at)
        return arrays[len(read) :]
