"""The GPU backend: CuPy itself, what NumPy spells differently, and one kernel a fused function."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend.base import Array, Backend, Kernel, Lanes, gives_booleans

# what a fused kernel computes in: half precision is for storage only
C_TYPES = {"float16": "float", "float32": "float", "float64": "double"}
PREAMBLE = """
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
#ifndef NAN
#define NAN __int_as_float(0x7fffffff)
#endif
"""

Run = Callable[..., tuple[Array, ...]]


class ElementwiseText(NamedTuple):
    """The texts from which CuPy makes an `ElementwiseKernel`, and the dtype of each output."""

    inputs: str
    outputs: str
    body: str
    name: str
    dtypes: tuple[np.dtype[Any], ...]


def elementwise_text(kernel: Kernel, dtypes: Sequence[np.dtype[Any]]) -> ElementwiseText:
    """Write a fused function for CuPy, given the dtypes of its inputs; needs no GPU.

    Every lane is an argument of its own. T is the C type of the dtype that all inputs promote to,
    so that inputs of mixed dtypes are converted as they are read; booleans stay what they are.
    """
    common = np.result_type(*dtypes)
    results = tuple(
        np.dtype(bool) if gives_booleans(kernel, lanes) else common for lanes in kernel.outputs
    )
    reads, parameters = [f"typedef {C_TYPES[common.name]} T;"], list[str]()
    for lanes, dtype in zip(kernel.inputs, dtypes, strict=True):
        for lane in lanes.names:
            parameters.append(f"{dtype.name} in_{lane}")
            reads.append(f"{'bool' if dtype == np.bool_ else 'T'} {lane} = in_{lane};")
    taken = {lane for lanes in kernel.inputs for lane in lanes.names}
    writes, outputs = list[str](), list[str]()
    for lanes, dtype in zip(kernel.outputs, results, strict=True):
        for lane in lanes.names:
            outputs.append(f"{dtype.name} out_{lane}")
            reads += [] if lane in taken else [f"T {lane};"]
            writes.append(f"out_{lane} = {lane};")
    name = "minigrad_" + re.sub(r"[^a-zA-Z0-9_]", "_", kernel.name)
    body = "\n".join([*reads, kernel.c, *writes])
    return ElementwiseText(", ".join(parameters), ", ".join(outputs), body, name, results)


class CupyBackend(Backend):
    """Arrays are `cupy.ndarray`, on CuPy's current device.

    Known differences: indices out of bounds wrap silently, so ops check them on the host;
    `scatter_add` takes float16, float32, float64, int32, uint32 and uint64 only, and adds values
    to one place in any order, so that the last bits of a sum may differ between runs.
    """

    name = "cupy"
    device = "cuda"

    def __init__(self) -> None:
        cupy = importlib.import_module("cupy")
        cupyx = importlib.import_module("cupyx.scipy.special")
        try:
            cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise RuntimeError(
                f"device 'cuda': CuPy is installed, but finds no GPU that it can use ({error}); "
                "write device='cpu', or look at what nvidia-smi says"
            ) from error
        super().__init__(cupy)
        self.array_types = (cupy.ndarray,)
        self._erf = cupyx.erf

    def from_host(self, x: np.ndarray[Any, Any]) -> Array:
        return self.module.array(x)

    def to_host(self, x: Array) -> np.ndarray[Any, Any]:
        return self.module.asnumpy(x)

    def erf(self, x: Array, out: Array | None = None) -> Array:
        if out is not None:
            return self._erf(x, out)
        y = self._erf(x)  # of float16 it is float64
        return y.astype(x.dtype, copy=False) if x.dtype.kind == "f" else y

    def scatter_add(self, into: Array, index: Any, values: Array) -> None:
        into.scatter_add(index, values)

    def synchronize(self) -> None:
        self.module.cuda.Device().synchronize()

    def compile(self, kernel: Kernel) -> Run:
        """One launch for all outputs, compiled for each combination of input dtypes.

        Every output has the shape to which the inputs broadcast. Inputs without a floating one
        take the general way, function by function, as on NumPy.
        """
        general = super().compile(kernel)
        compiled: dict[tuple[np.dtype[Any], ...], Run] = {}

        def run(*xs: Array) -> tuple[Array, ...]:
            dtypes = tuple([x.dtype for x in xs])
            launch = compiled.get(dtypes)
            if launch is None:
                fusible = np.result_type(*dtypes).name in C_TYPES
                launch = self._launcher(kernel, dtypes) if fusible else general
                compiled[dtypes] = launch
            return launch(*xs)

        return run

    def _launcher(self, kernel: Kernel, dtypes: tuple[np.dtype[Any], ...]) -> Run:
        text = elementwise_text(kernel, dtypes)
        elementwise = self.module.ElementwiseKernel(
            text.inputs, text.outputs, text.body, text.name, preamble=PREAMBLE
        )

        def launch(*xs: Array) -> tuple[Array, ...]:
            lanes = [
                a for x, group in zip(xs, kernel.inputs, strict=True) for a in self._take(x, group)
            ]
            shape = self.common_shape(*lanes)
            for x, group in zip(xs, kernel.inputs, strict=True):
                if group.dim is not None:
                    self.check_chunk(self._take(x, group)[0], group.dim, shape, group.names[0])
            ys = [
                self.empty(_joined(shape, group), dtype)
                for group, dtype in zip(kernel.outputs, text.dtypes, strict=True)
            ]
            for y, group in zip(ys, kernel.outputs, strict=True):
                lanes += self._take(y, group)
            elementwise(*lanes)
            return tuple(ys)

        return launch

    def _take(self, x: Array, group: Lanes) -> list[Array]:
        """The lanes of an argument: itself, or views of its chunks."""
        return [x] if group.dim is None else self.chunks(x, len(group.names), group.dim)


def _joined(shape: tuple[int, ...], group: Lanes) -> tuple[int, ...]:
    """The shape of the array whose chunks have `shape`."""
    if group.dim is None:
        return shape
    extents = list(shape)
    extents[group.dim] *= len(group.names)
    return tuple(extents)
