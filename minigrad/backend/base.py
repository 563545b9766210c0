"""What a backend is: an array namespace, and the few things in which NumPy and CuPy differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray, cupy.ndarray or the strict backend's array: never mixed


@dataclass(frozen=True)
class Lanes:
    """An argument or result of a kernel: one array, or `n` equal chunks of one along `dim`."""

    names: tuple[str, ...]
    dim: int | None = None  # None: the array is taken whole, under its one name


@dataclass(frozen=True)
class Kernel:
    """A fused elementwise function, written out for the backends by `minigrad.fuse`.

    `python` is the text of `def name(xp)`, which returns a function of the input arrays; `c` is
    the statements that compute one element of type T, reading the lanes named in `inputs` and
    assigning those in `outputs`.
    """

    name: str
    inputs: tuple[Lanes, ...]
    outputs: tuple[Lanes, ...]
    python: str
    c: str


@dataclass(frozen=True)
class Operand:
    """An array that a row function reads or gives: its name and its axes, of m rows and n."""

    name: str
    axes: str  # "m,n", "m,1" (one number a row), "m" (that without its axis), "n" (for all rows)


@dataclass(frozen=True)
class RowKernel:
    """A function along the rows of arrays, of which `minigrad.backend.rows` says how it is written.

    The first operand has both axes; `axis` is where a row lies in it, -1 or -2.
    """

    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    text: str
    axis: int


def gives_booleans(kernel: Kernel, output: Lanes) -> bool:
    """Whether an output is that of a comparison, whose results are booleans."""
    source = re.search(rf"^{output.names[0]} = (\w+);$", kernel.c, re.MULTILINE)
    return bool(source and re.search(rf"^bool {source[1]} = ", kernel.c, re.MULTILINE))


class Backend:
    """One array namespace; an attribute that is not defined here is the array module's own.

    Ops receive the backend as `xp`, so `xp.tanh` is `numpy.tanh` on the CPU and `cupy.tanh` on
    the GPU, and the few differences (`scatter_add`, host transfer, fused kernels) are spelled
    the same way.
    """

    name: str
    device: str
    array_types: tuple[type, ...]
    native = False  # whether fused functions are compiled to machine code (`use_native`)

    def __init__(self, module: ModuleType | Any) -> None:
        self.module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.module, name)
        setattr(self, name, value)  # later look-ups find it on the instance
        return value

    def __repr__(self) -> str:
        return f"<backend {self.name}>"

    def from_host(self, x: np.ndarray[Any, Any]) -> Array:
        """Copy a NumPy array to this backend's device."""
        raise NotImplementedError

    def to_host(self, x: Array) -> np.ndarray[Any, Any]:
        """Give a NumPy array with the values of `x` (a copy, unless `x` lives on the host)."""
        raise NotImplementedError

    def erf(self, x: Array, out: Array | None = None) -> Array:
        """The error function, elementwise; written into `out`, as by a ufunc."""
        raise NotImplementedError

    def by_row(self, ufunc: Any, x: Array, column: Array, out: Array | None = None) -> Array:
        """`ufunc(x, column)`, one number a row, (…, 1), broadcast along the rows of x."""
        return ufunc(x, column) if out is None else ufunc(x, column, out)

    def sum_over(self, x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
        """The sum of x along axes, which count from 0."""
        return x.sum(axis=axes, keepdims=keepdims)

    def feature_sums(self, x: Array) -> Array:
        """The sum of each feature of x (…, n, B), whose columns are examples, as (n,)."""
        return x.sum(axis=tuple([k for k in range(x.ndim) if k != x.ndim - 2]))

    def row_sums(self, x: Array) -> Array:
        """The sum of each row of x (rows, n)."""
        return x.sum(axis=-1)

    def row_dots(self, x: Array, y: Array) -> Array:
        """Σ x·y of each row of two (rows, n); no array of products is made."""
        return self.einsum("ij,ij->i", x, y)

    def column_sums(self, x: Array) -> Array:
        """The sum of each column of x (…, n, m), as (…, 1, m)."""
        return x.sum(axis=-2, keepdims=True)

    def exp_below_top(self, x: Array, out: Array) -> tuple[Array, Array]:
        """Write exp(x - top) into `out`, and give top and the sums of the rows, (rows, 1) each.

        Top is each row's largest x, but finite. A sum is at least 1, also where all x are -∞.
        """
        top = self.maximum(x.max(axis=-1, keepdims=True), float(np.finfo(x.dtype).min))
        self.by_row(self.subtract, x, top, out)
        self.exp(out, out)
        return top, self.maximum(self.row_sums(out)[:, None], 1.0)

    def exp_to_scale(self, x: Array, out: Array) -> Array:
        """Write exp(x - c) into `out`, with a c for each row that keeps it in range; give the sums.

        The sums are (rows, 1), and none is 0.
        """
        return self.exp_below_top(x, out)[1]

    def exp_shares(self, x: Array, y: Array, g: Array, out: Array) -> None:
        """Write g · exp(x - y) into `out`; g and y, of which no x is above, are (rows, 1)."""
        self.by_row(self.subtract, x, y, out)
        self.exp(out, out)
        self.by_row(self.multiply, out, g, out)

    def blocks(self, rows: int, row_bytes: int) -> list[slice]:
        """How to go through an array of `rows` rows: all at once, or (NumPy) in blocks."""
        return [slice(0, rows)]

    def scatter_add(self, into: Array, index: Any, values: Array) -> None:
        """Add `values` to `into[index]` in place; where an index repeats, the values add up."""
        raise NotImplementedError

    def compile(self, kernel: Kernel) -> Callable[..., tuple[Array, ...]]:
        """Give a function of the kernel's input arrays that returns its output arrays."""
        scope: dict[str, Any] = {}
        exec(compile(kernel.python, f"<fused {kernel.name}>", "exec"), scope)
        return scope[kernel.name](self)

    def compile_rows(self, kernel: RowKernel, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function like `plain`, which is the kernel in calls of this backend."""
        return plain

    def chunks(self, x: Array, n: int, dim: int) -> list[Array]:
        """Views of the n equal chunks of x along `dim`."""
        extent = x.shape[dim]
        if extent % n:
            raise ValueError(f"cannot take {n} equal chunks of shape {x.shape} along dim {dim}")
        size = extent // n
        if dim == 0:
            return [x[k : k + size] for k in range(0, extent, size)] if size else [x] * n
        lead = (slice(None),) * (dim % x.ndim)
        return [x[(*lead, slice(k * size, (k + 1) * size))] for k in range(n)]

    def common_shape(self, *xs: Array) -> tuple[int, ...]:
        """The shape to which the arrays broadcast."""
        return np.broadcast_shapes(*[x.shape for x in xs])

    def check_chunk(self, x: Array, dim: int, shape: tuple[int, ...], name: str) -> None:
        """Raise where a chunk along `dim` would broadcast there: its place would be ambiguous."""
        if (dim >= 0 and x.ndim != len(shape)) or x.shape[dim] != shape[dim]:
            raise ValueError(
                f"{name}: its chunks of shape {x.shape} along dim {dim} do not fit the other "
                f"arguments, which broadcast to {shape}: the axes must be as many, and the extents "
                "along dim equal; reshape it first"
            )

    def empty_chunks(self, n: int, dim: int, shape: tuple[int, ...], dtype: Any) -> Array:
        """A buffer for n chunks of `shape` along `dim`."""
        joined = list(shape)
        joined[dim] *= n
        return self.empty(joined, dtype)

    def join_chunks(
        self, lanes: tuple[Array | float, ...], dim: int, shape: tuple[int, ...]
    ) -> Array:
        """Chunks of `shape` along `dim` as one array; a number fills its chunk."""
        like: Array = next(x for x in lanes if not isinstance(x, float))
        full = [
            self.full(shape, x, like.dtype) if isinstance(x, float) else self.broadcast_to(x, shape)
            for x in lanes
        ]
        return self.concatenate(full, axis=dim)

    def synchronize(self) -> None:
        """Wait until the device has done what was asked of it."""
