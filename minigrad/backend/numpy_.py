"""The CPU backend: NumPy itself, and what NumPy spells differently from CuPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend.base import Array, Backend, Kernel, RowKernel
from minigrad.backend.erf import erf
from minigrad.backend.memory import keep_pages
from minigrad.backend.scatter import add_rows, names_rows
from minigrad.backend.where import where

FEW = 1024  # numbers below which a way of our own does not pay
LARGE = 2**17  # numbers from which a fused function goes through its arrays in blocks
HIGHEST = 60.0  # x whose exponentials can be summed as they are, in float32 and float64
LEAST = 1e-9  # what a row's exponentials must sum to
LONG, MANY = 2**11, 2**14  # bytes of a row, and numbers, from which `by_row` saves a copy
SHORTEST, LONGEST = 16, 1024  # numbers in rows that are summed as a product, and then pairwise
TALL = 32  # rows from which columns of MANY numbers are summed as a product
CACHE = 2**19  # bytes of each array to compute on at a time: 2¹⁸ and 2²⁰ take 0–8 % longer


class NumpyBackend(Backend):
    """Arrays are `numpy.ndarray`; NumPy's scalars count as 0-d arrays."""

    name = "numpy"
    device = "cpu"
    array_types = (np.ndarray, *{np.dtype(c).type for c in "?bBhHiIlLqQefdFD"})

    where = staticmethod(where)

    def __init__(self) -> None:
        super().__init__(np)
        keep_pages()

    def from_host(self, x: np.ndarray[Any, Any]) -> Array:
        return x

    def to_host(self, x: Array) -> np.ndarray[Any, Any]:
        return np.asarray(x)

    def erf(self, x: Array, out: Array | None = None) -> Array:
        return erf(x, out)

    def compile(self, kernel: Kernel) -> Callable[..., tuple[Array, ...]]:
        run = super().compile(kernel)
        whole = all(lanes.dim is None for lanes in (*kernel.inputs, *kernel.outputs))
        run = _by_blocks(run) if whole else run
        if not self.native:
            return run
        from minigrad.backend.native import compiled  # brings modules that few need

        return compiled(kernel, run, self)

    def compile_rows(self, kernel: RowKernel, plain: Callable[..., Any]) -> Callable[..., Any]:
        if not self.native:
            return plain
        from minigrad.backend.native_rows import compiled  # brings modules that few need

        return compiled(kernel, plain)

    def broadcast_to(self, x: Array, shape: tuple[int, ...]) -> Array:
        if x.shape == shape:
            return x
        if math.prod(shape) > FEW or x.ndim > len(shape):
            return np.broadcast_to(x, shape)
        out = np.empty(shape, x.dtype)  # 0.5 µs, and NumPy's view 2.3
        out[...] = x
        return out

    def by_row(self, ufunc: Any, x: Array, column: Array, out: Array | None = None) -> Array:
        # NumPy copies a broadcast operand into its buffer where a row fits there: 29 → 21 µs for
        # (256, 512) in float32 when none does; but (2048, 64) takes 67 µs without it, 23 with it.
        if x.size < MANY or x.shape[-1] * x.itemsize < LONG:
            return super().by_row(ufunc, x, column, out)
        size = np.setbufsize(16)
        try:
            return ufunc(x, column) if out is None else ufunc(x, column, out)
        finally:
            np.setbufsize(size)

    # products are faster than sums: of the rows of (128, 512), float32, 12 → 4 µs; of the columns
    # of (2048, 65) 32 → 10, of (100000, 8) 1240 → 58

    def sum_over(self, x: Array, axes: tuple[int, ...], keepdims: bool = False) -> Array:
        count = math.prod(x.shape[: len(axes)])  # of what is summed, if the axes are leading ones
        columns = x.size // max(count, 1)
        few = x.size < MANY or count < TALL or columns == 1  # NumPy's sum of one column is exacter
        if few or axes != tuple(range(len(axes))) or not _has_blas_rows(x):
            return super().sum_over(x, axes, keepdims)
        lead = (1,) * len(axes) if keepdims else ()
        return self.column_sums(x.reshape(count, columns)).reshape(lead + x.shape[len(axes) :])

    def feature_sums(self, x: Array) -> Array:
        columns = x.shape[-1]
        rows = x.swapaxes(0, 1) if x.ndim == 3 else x
        short = x.ndim <= 3 and SHORTEST <= columns <= LONGEST and x.size > 0
        if not short or not _has_blas_rows(rows):
            return super().feature_sums(x)
        # in rows of a batch, which are then added pairwise: exact, and for 768 by 100 by 64 on two
        # threads 0.83 → 0.37 ms
        sums = np.matmul(rows.reshape(-1, columns), np.ones(columns, x.dtype))
        return sums.reshape(x.shape[-2], -1).sum(axis=1)

    def row_sums(self, x: Array) -> Array:
        return np.vecdot(x, np.ones(x.shape[1], x.dtype))

    def row_dots(self, x: Array, y: Array) -> Array:
        return np.vecdot(x, y)

    def column_sums(self, x: Array) -> Array:
        return np.ones((1, x.shape[-2]), x.dtype) @ x

    def exp_to_scale(self, x: Array, out: Array) -> Array:
        # Mostly one number serves all rows of a block, and often 0 does, which need not even be
        # subtracted: (64, 1000), float32, 75 → 50 µs. No part above 10⁻²⁹ of a sum is lost.
        top: float = x.max().item() if x.dtype.char in "fd" else math.nan
        top = 0.0 if 0 <= top <= HIGHEST else top
        if abs(top) < 1e30:  # so that the difference overflows nowhere
            np.exp(np.subtract(x, top, out) if top else x, out)
            total = self.row_sums(out)[:, None]
            if total.min() >= LEAST:
                return total
        return super().exp_to_scale(x, out)

    def exp_shares(self, x: Array, y: Array, g: Array, out: Array) -> None:
        if x.size < FEW or x.dtype.char not in "fd" or not (y.min() >= -20 and y.max() <= 30):
            return super().exp_shares(x, y, g, out)
        np.exp(x, out)  # g·e⁻ʸ stays in the range, and y need not be subtracted: a pass fewer
        self.by_row(np.multiply, out, g * np.exp(-y), out)
        return None

    def blocks(self, rows: int, row_bytes: int) -> list[slice]:
        step = max(1, CACHE // max(row_bytes, 1))
        return [slice(k, k + step) for k in range(0, rows, step)]

    def scatter_add(self, into: Array, index: Any, values: Array) -> None:
        if names_rows(index, into) and values.size > FEW and into.dtype == values.dtype:
            add_rows(into, index, values)
        else:
            np.add.at(into, index, values)


def _has_blas_rows(x: Array) -> bool:
    """Whether the BLAS takes an array as it lies, as rows of numbers."""
    return x.dtype.char in "fd" and x.flags.c_contiguous


def _by_blocks(run: Callable[..., tuple[Array, ...]]) -> Callable[..., tuple[Array, ...]]:
    """Run on blocks that stay in the cache: silu's backward on (4096, 512), 6.6 → 2.6 ms."""

    def run_by_blocks(*xs: Array) -> tuple[Array, ...]:
        size, shape = xs[0].size, xs[0].shape
        if size < LARGE or not all(x.shape == shape and x.flags.c_contiguous for x in xs):
            return run(*xs)
        flat, step = [x.reshape(-1) for x in xs], CACHE // 8
        outs: list[Array] = []
        for k in range(0, size, step):
            ys = run(*[x[k : k + step] for x in flat])
            outs = outs or [np.empty(size, y.dtype) for y in ys]
            for out, y in zip(outs, ys, strict=True):
                out[k : k + step] = y
        return tuple([out.reshape(shape) for out in outs])

    return run_by_blocks
