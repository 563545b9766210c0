"""The C text of a function: kernels, arrays by name, and statements."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable, Sequence
from itertools import accumulate

from minigrad.backend import Kernel, RowKernel
from minigrad.backend.base import gives_booleans
from minigrad.backend.library import built
from minigrad.backend.native import HEAD, dense_run
from minigrad.backend.native_rows import ROWS_HEAD, row_functions
from minigrad.scans.machine.source import COPIES, LOOP, TEXT
from minigrad.scans.machine.views import View, dense
from minigrad.scans.step import Line
from minigrad.scans.text import has_columns

_AXES = ("t", "down", "along")


class Unfit(Exception):
    """It is something that only Python can do."""


class Refused(Unfit):
    """A line is."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self.line = line


class Code:
    """One C function: its kernels, its arrays by name, and its statements."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.arrays: list[str] = []
        self.strided: list[str] = []
        self.before: list[str] = []
        self.body: list[str] = []
        self.after: list[str] = []
        self._kernels: dict[Kernel, str] = {}
        self._rows: dict[RowKernel, str] = {}
        self._spaces: dict[str, int] = {}

    def array(self, name: str) -> str:
        """Declare an array that the function is given; gives its name."""
        if name not in self.arrays:
            self.arrays.append(name)
        return name

    def timed(self, name: str, shape: tuple[int, ...]) -> View:
        """Declare an array (T, …) that a loop is given; gives what it holds for step t.

        One of matrices with columns may lie as it likes: how far its numbers are apart is known
        when it runs. Others are dense.
        """
        self.array(name)
        if not has_columns(shape):
            return dense(f"({name} + t * {math.prod(shape)})", shape)
        if name not in self.strided:
            self.strided.append(name)
        return View(f"({name} + t * {name}_t)", shape, (f"{name}_down", f"{name}_along"))

    def space(self, name: str, size: int) -> str:
        """Declare room for `size` numbers, which serves one step after another; gives its name."""
        self._spaces[name] = max(self._spaces.get(name, 0), size)
        return name

    @property
    def rooms(self) -> int:
        """How many rooms there are."""
        return len(self._spaces)

    @property
    def room(self) -> int:
        """How many numbers `work` must hold."""
        return sum(map(padded, self._spaces.values()))

    def kernel(self, kernel: Kernel, size: int, pointers: Sequence[str]) -> str:
        """The statement that runs a kernel on dense arrays."""
        if re.search(" [&|^] ", kernel.c) or any(gives_booleans(kernel, y) for y in kernel.outputs):
            raise Unfit  # a loop has one number type
        name = self._kernels.setdefault(kernel, f"k{len(self._kernels)}")
        given = ", ".join(f"(T *)({p})" for p in pointers)
        return f"run_{name}({size}, (T *[]){{{given}}});"

    def rows(
        self, kernel: RowKernel, m: int, n: int, arrays: Sequence[tuple[str, int, int]]
    ) -> str:
        """The statement that runs a row kernel on m rows of n numbers.

        Each array has how far its rows are from each other, and how far the numbers in a row.
        """
        name = self._rows.setdefault(kernel, f"r{len(self._rows)}")
        given = ", ".join(f"(T *)({p})" for p, _, _ in arrays)
        down, along = (", ".join(str(array[k]) for array in arrays) for k in (1, 2))
        return (
            f"rows_{name}({m}, {n}, (T *[]){{{given}}}, (intptr_t[]){{{down}}}, "
            f"(intptr_t[]){{{along}}});"
        )

    def text(self, function: str, **parts: str) -> str:
        """The C text with a function, whose form has places for names, statements and parts."""
        names = [f"    T *const {name} = at[{k}];" for k, name in enumerate(self.arrays)]
        for k, name in enumerate(self.strided):
            apart = [f"{name}_{axis} = apart[{3 * k + i}]" for i, axis in enumerate(_AXES)]
            names.append(f"    const intptr_t {', '.join(apart)};")
        ends = accumulate(map(padded, self._spaces.values()), initial=0)
        pairs = zip(self._spaces, ends, strict=False)
        spaces = [f"    T *const {name} = work + {begin};" for name, begin in pairs]
        return TEXT.format(
            head=HEAD,
            copies=COPIES,
            number=self.number,
            kernels="".join(dense_run(kernel, name) for kernel, name in self._kernels.items()),
            rows=ROWS_HEAD + "".join(row_functions(k, name) for k, name in self._rows.items()),
            function=function.format(
                names="\n".join(names),
                spaces="\n".join(spaces),
                before="\n".join(f"    {line}" for line in self.before),
                body="\n".join(f"        {line}" for line in self.body),
                after="\n".join(f"    {line}" for line in self.after),
                number=self.number,
                room=self.room,
                count=len(self.arrays),
                **parts,
            ),
        )

    def loop(self) -> Callable[..., None]:
        """The function `run`, whose statements are those of one step of a loop."""
        self.array("work")
        run = ctypes.CDLL(str(built(self.text(LOOP)))).run
        run.argtypes = [ctypes.c_ssize_t] * 5 + [ctypes.c_void_p] * 4
        run.restype = None
        return run


def padded(size: int) -> int:
    """So many numbers that what follows begins a line of the cache, if this does."""
    return -(-size // 16) * 16
