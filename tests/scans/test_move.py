"""The C that moves a matrix between any strides, beside NumPy's assignment."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.backend.library import built, compiler
from minigrad.scans.machine.source import COPIES

Host = np.ndarray[Any, Any]


def _has_compiler() -> bool:
    try:
        return bool(compiler())
    except RuntimeError:
        return False


pytestmark = pytest.mark.skipif(not _has_compiler(), reason="needs a C compiler")


@pytest.fixture(scope="module")
def move() -> Callable[..., None]:
    head = "#include <stdint.h>\n#define T float\n"
    library = ctypes.CDLL(str(built(head + COPIES.replace("static void move", "void move", 1))))
    size, pointer = ctypes.c_ssize_t, ctypes.c_void_p
    library.move.argtypes = [size, size, pointer, size, size, pointer, size, size]
    return library.move


LAYOUTS: dict[str, Callable[[int, int], Host]] = {
    "rows": lambda n, m: np.zeros((n, m), np.float32),
    "columns": lambda n, m: np.zeros((m, n), np.float32).T,
    "rows apart": lambda n, m: np.zeros((n, m + 3), np.float32)[:, 1:-2],
    "columns apart": lambda n, m: np.zeros((m, n + 3), np.float32)[:, 1:-2].T,
    "every other": lambda n, m: np.zeros((3 * n, 2 * m), np.float32)[::3, ::2],
    "backwards": lambda n, m: np.zeros((n, m), np.float32)[::-1, ::-1],
    "columns backwards": lambda n, m: np.zeros((m, n), np.float32)[::-1].T,
}


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (16, 16), (33, 50), (48, 32)])
@pytest.mark.parametrize("to", LAYOUTS)
@pytest.mark.parametrize("source", LAYOUTS)
def test_between_any_strides(
    move: Callable[..., None], source: str, to: str, shape: tuple[int, int]
) -> None:
    x, y = LAYOUTS[source](*shape), LAYOUTS[to](*shape)
    x[:] = np.arange(x.size).reshape(shape) + 1
    around = y.base if y.base is not None else y
    apart = [[stride // 4 for stride in array.strides] for array in (x, y)]
    move(*shape, x.ctypes.data, *apart[0], y.ctypes.data, *apart[1])
    np.testing.assert_array_equal(y, x)
    assert np.count_nonzero(around) == x.size  # nothing beside it is written


def test_one_row_for_all(move: Callable[..., None]) -> None:
    x, y = np.arange(40, dtype=np.float32), np.zeros((20, 40), np.float32)
    move(20, 40, x.ctypes.data, 0, 1, y.ctypes.data, 40, 1)
    np.testing.assert_array_equal(y, np.broadcast_to(x, y.shape))
