"""`np.add.at` for integers that name rows: the same sums, to the bit, sooner."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.backend.base import Array

BLOCK = 65536  # numbers that are added at a time: they stay in the cache
SHORT = 32  # numbers in a row up to which sorting the rows does not pay


def names_rows(index: Any, into: Array) -> bool:
    """Whether an index is integers that name rows of a contiguous array."""
    integers = hasattr(index, "dtype") and index.dtype.kind in "iu"
    return integers and into.ndim > 1 and into.flags.c_contiguous


def add_rows(into: Array, index: Array, values: Array) -> None:
    """Add `values` (…, *row) to the rows of `into` (n, *row) that `index` (…) names, in its order.

    4096 random rows into (10000, 256), float32: 8.4 ms by `np.add.at`, 1.4 as pairs, 0.5 in rounds.
    """
    row = into.shape[1:]
    values = np.ascontiguousarray(np.broadcast_to(values, index.shape + row))
    size, rows = math.prod(row), index.reshape(-1).astype(np.intp)
    into, values = into.reshape(-1, size), values.reshape(-1, size)
    if size > SHORT:
        rows = rows % len(into) if rows.min() < 0 else rows  # -1 names the same row as n - 1
        order = rows.argsort(kind="stable")
        first, counts = _runs(rows[order])
        # each round takes about as long as 9000 numbers in pairs, and sorting one row as 20
        if counts.max() * 9000 + len(rows) * 20 < values.size:
            _in_rounds(into, rows, values, order, first, counts)
            return
    _as_pairs(into, rows, values)


def _runs(numbers: Array) -> tuple[Array, Array]:
    """Where equal numbers begin in a sorted array, and how many these are."""
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    return first, np.diff(first, append=len(numbers))


def _in_rounds(
    into: Array, rows: Array, values: Array, order: Array, first: Array, counts: Array
) -> None:
    """Whole rows at a time: those named once or more, then those named twice or more, …"""
    step = max(1, BLOCK // into.shape[1])
    for k in range(counts.max()):
        chosen = order[first[counts > k] + k]
        for begin in range(0, len(chosen), step):
            here = chosen[begin : begin + step]
            into[rows[here]] += values[here]


def _as_pairs(into: Array, rows: Array, values: Array) -> None:
    """Number by number: two real ones side by side are added as one complex.

    NumPy is quick on flat arrays only, and the fewer numbers the quicker.
    """
    size = into.shape[1]
    into, values = into.reshape(-1), values.reshape(-1)
    if into.dtype.char in "fd" and size % 2 == 0:
        pair = into.dtype.char.upper()
        into, values, size = into.view(pair), values.view(pair), size // 2
    columns, step = np.arange(size), max(1, BLOCK // size)
    for begin in range(0, len(rows), step):
        places = rows[begin : begin + step, None] * size + columns
        np.add.at(into, places.reshape(-1), values[begin * size : (begin + step) * size])
