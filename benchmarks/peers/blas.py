"""The limit: the BLAS calls that the work cannot avoid, into buffers that are there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.inputs import BLOCKS

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Nothing = dict[str, Any]
Size = tuple[int, int, int, int]
Calls = list[Callable[[], Any]]
VERSION = f"NumPy {np.__version__}"


def host(x: Any) -> Any:
    return x


def product(a: Array, b: Array) -> Callable[[], Any]:
    """One product into a buffer of its own."""
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    return lambda: np.matmul(a, b, out)


def filled(*shape: int) -> Array:
    return np.full(shape, 0.01, np.float32)


def in_order(calls: list[tuple[Callable[[], Any], int]]) -> Callable[[], Nothing]:
    """Make each of the calls as often as it says."""

    def run() -> Nothing:
        for call, times in calls:
            for _ in range(times):
                call()
        return {}

    return run


def forward(rows: int, size: Size) -> list[tuple[Callable[[], Any], int]]:
    """The input's product for all steps at once, the state's for each; features first."""
    steps, batch, inputs, hidden = size
    return [
        (product(filled(rows, inputs), filled(inputs, steps * batch)), 1),
        (product(filled(rows, hidden), filled(hidden, batch)), steps),
    ]


def backward(rows: int, size: Size) -> list[tuple[Callable[[], Any], int]]:
    """The state's gradient for each step; those of x and of both weights in one product each."""
    steps, batch, inputs, hidden = size
    columns = steps * batch
    return [
        (product(filled(rows, hidden).T, filled(rows, batch)), steps),
        (product(filled(rows, inputs).T, filled(rows, columns)), 1),
        (product(filled(rows, columns), filled(columns, inputs)), 1),
        (product(filled(rows, columns), filled(columns, hidden)), 1),
    ]


def layer(_arrays: Arrays, kind: str, size: Size) -> Callable[[], Nothing]:
    rows = BLOCKS[kind] * size[3]
    return in_order([*forward(rows, size), *backward(rows, size)])


def inference(_arrays: Arrays, kind: str, size: Size) -> Callable[[], Nothing]:
    return in_order(forward(BLOCKS[kind] * size[3], size))


stream = inference


def user_cell(_arrays: Arrays, kind: str, size: Size) -> Callable[[], Nothing]:
    return layer(_arrays, kind, size)


def char_lm(
    _arrays: Arrays, steps: int, batch: int, vocabulary: int, embedding: int, hidden: int
) -> Callable[[], Nothing]:
    columns, rows = steps * batch, 4 * hidden
    first, second = (steps, batch, embedding, hidden), (steps, batch, hidden, hidden)
    head = [
        (product(filled(vocabulary, hidden), filled(hidden, columns)), 1),
        (product(filled(hidden, vocabulary), filled(vocabulary, columns)), 1),
        (product(filled(vocabulary, columns), filled(columns, hidden)), 1),
    ]
    layers = [
        call
        for size in (first, second)
        for part in (forward, backward)
        for call in part(rows, size)
    ]
    return in_order([*layers, *head])


def operation(_arrays: Arrays, kind: str, shape: tuple[int, ...]) -> Callable[[], Nothing]:
    if kind != "matmul":
        raise NotImplementedError("only products are calls of the BLAS")
    return in_order([(product(filled(*shape), filled(*shape)), 3)])
