"""`np.add.at` for integers that name rows: the same sums, to the bit, sooner."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad.backend.base import Array

BLOCK = 65536  # numbers that are added at a time: they stay in the cache


def names_rows(index: Any, into: Array) -> bool:
    """Whether an index is integers that name rows of a contiguous array, which has them."""
    integers = hasattr(index, "dtype") and index.dtype.kind in "iu" and index.size
    if not integers or into.ndim < 2 or not into.size or not into.flags.c_contiguous:
        return False
    return index.min() >= -len(into) and index.max() < len(into)


def add_rows(into: Array, index: Array, values: Array) -> None:
    """Add `values` (…, *row) to the rows of `into` (n, *row) that `index` (…) names, in its order.

    4096 random rows into (10000, 256), float32: 7.9 ms by `np.add.at`, 1.4 as pairs, 0.8 in runs.
    """
    row = into.shape[1:]
    values = np.ascontiguousarray(np.broadcast_to(values, index.shape + row))
    size, rows = math.prod(row), index.reshape(-1).astype(np.intp)
    into, values = into.reshape(-1, size), values.reshape(-1, size)
    # a run pays from 8000 numbers on, and random rows first repeat after about √(n π / 2)
    most, likely = values.size / 8000, len(rows) / math.sqrt(len(into) * math.pi / 2)
    cuts = cuts_of(rows % len(into), most) if likely < most else None
    if cuts is None:
        _as_pairs(into, rows, values)
    else:
        _in_runs(into, rows, values, cuts)


def cuts_of(rows: Array, most: float) -> list[int] | None:
    """Where to cut, so that no row is named twice between two cuts; None where there are more."""
    order = rows.argsort(kind="stable")
    again = np.flatnonzero(np.diff(rows[order]) == 0)
    before, after = order[again], order[again + 1]  # where a row is named, and where next
    in_turn = after.argsort()
    cuts = [0]
    for earlier, later in zip(before[in_turn].tolist(), after[in_turn].tolist(), strict=True):
        if earlier >= cuts[-1]:
            cuts.append(later)
            if len(cuts) > most:
                return None
    return [*cuts, len(rows)]


def _in_runs(into: Array, rows: Array, values: Array, cuts: list[int]) -> None:
    """All rows between two cuts at a time, or as many as stay in the cache."""
    step = max(1, BLOCK // into.shape[1])
    for first, last in pairwise(cuts):
        for begin in range(first, last, step):
            here = slice(begin, min(begin + step, last))
            into[rows[here]] += values[here]


def _as_pairs(into: Array, rows: Array, values: Array) -> None:
    """Number by number: two real ones side by side are added as one complex.

    NumPy is quick on flat arrays only, and the fewer numbers the quicker.
    """
    size: int = into.shape[1]
    into, values = into.reshape(-1), values.reshape(-1)
    if into.dtype.char in "fd" and size % 2 == 0:
        pair = into.dtype.char.upper()
        into, values, size = into.view(pair), values.view(pair), size // 2
    columns, step = np.arange(size), max(1, BLOCK // size)
    for begin in range(0, len(rows), step):
        places = rows[begin : begin + step, None] * size + columns
        np.add.at(into, places.reshape(-1), values[begin * size : (begin + step) * size])
