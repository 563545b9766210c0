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
from minigrad.scans.machine.views import View, dense
from minigrad.scans.step import Line

_TEXT = """{head}
#define T {number}
typedef void (*gemm_t)(int, int, int, int64_t, int64_t, int64_t, T, const T *, int64_t, const T *,
    int64_t, T, T *, int64_t);
typedef void (*gemv_t)(int, int, int64_t, int64_t, T, const T *, int64_t, const T *, int64_t, T,
    T *, int64_t);
{copies}{kernels}{rows}
{function}
"""

# A matrix that lies column by column is turned in blocks of 16 by 16, in four rounds that
# interleave rows: 0.27 ms for 100 of 256 by 64, where loops took 0.64, and NumPy 0.69.
_COPIES = """
static inline void copy(intptr_t n, const T *x, T *y) {
    for (intptr_t i = 0; i < n; i++) y[i] = x[i];
}
static inline void add(intptr_t n, const T *x, T *y) {
    for (intptr_t i = 0; i < n; i++) y[i] += x[i];
}
#define ZIP(a, b, k) __builtin_shufflevector(a, b, k, k + 16, k + 1, k + 17, k + 2, k + 18, k + 3, \
    k + 19, k + 4, k + 20, k + 5, k + 21, k + 6, k + 22, k + 7, k + 23)
static void block(intptr_t n, intptr_t m, const T *x, intptr_t down, intptr_t along, T *y,
    intptr_t to) {
#if __has_builtin(__builtin_shufflevector)
    if (down == 1 && n == 16 && m == 16) {
        typedef T row __attribute__((vector_size(16 * sizeof(T)), aligned(sizeof(T))));
        row a[16], b[16];
        for (int k = 0; k < 16; k++) a[k] = *(const row *)(x + k * along);
        for (int round = 0; round < 4; round++) {
            for (int k = 0; k < 8; k++) b[2 * k] = ZIP(a[k], a[k + 8], 0);
            for (int k = 0; k < 8; k++) b[2 * k + 1] = ZIP(a[k], a[k + 8], 8);
            for (int k = 0; k < 16; k++) a[k] = b[k];
        }
        for (int k = 0; k < 16; k++) *(row *)(y + k * to) = a[k];
        return;
    }
#endif
    for (intptr_t i = 0; i < n; i++)
        for (intptr_t j = 0; j < m; j++) y[i * to + j] = x[i * down + j * along];
}
static void fetch(intptr_t n, intptr_t m, const T *x, intptr_t down, intptr_t along, T *y) {
    if (along == 1) for (intptr_t i = 0; i < n; i++) copy(m, x + i * down, y + i * m);
    else for (intptr_t i = 0; i < n; i += 16) for (intptr_t j = 0; j < m; j += 16)
        block(n - i < 16 ? n - i : 16, m - j < 16 ? m - j : 16, x + i * down + j * along, down,
            along, y + i * m + j, m);
}
static inline const T *dense(intptr_t n, intptr_t m, const T *x, intptr_t down, intptr_t along,
    T *y) {
    if (along == 1 && down == m) return x;
    fetch(n, m, x, down, along, y);
    return y;
}
"""

LOOP = """
void run(intptr_t first, intptr_t step, intptr_t begin, intptr_t end, intptr_t count, T **at,
    const intptr_t *apart, gemm_t gemm, gemv_t gemv) {{
{names}
{spaces}
{before}
    for (intptr_t k = begin; k < end; k++) {{
        const intptr_t t = first + k * step;
{body}
    }}
{after}
}}
"""

# NumPy gives a function of whole arrays their strides in bytes, behind as many steps as arrays.
BLOCK = """
#define SIZE (intptr_t)sizeof(T)
__attribute__((optimize("O1"))) /* or gcc takes 20 s, not 1, for a loop of 50 steps written out */
void loop_{number}(char **given, const intptr_t *dims, const intptr_t *steps, void *data) {{
    const gemm_t gemm = ((void **)data)[0];
    const gemv_t gemv = ((void **)data)[1];
    T *const work = malloc({room} * sizeof(T)), *at[{count}], *copies[{count}] = {{0}};
{spaces}
{arrays}
{names}
{before}
{body}
{after}
    free(work);
    for (int k = 0; k < {count}; k++) free(copies[k]);
    if (fetestexcept(REPORTED)) feclearexcept(REPORTED);
}}
"""


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

        One of matrices may lie as it likes: how far its numbers are apart is known when it runs.
        """
        self.array(name)
        if len(shape) != 2:
            return dense(f"({name} + t * {math.prod(shape)})", shape)
        if name not in self.strided:
            self.strided.append(name)
        return View(f"({name} + t * {name}_t)", shape, (f"{name}_down", f"{name}_along"))

    def space(self, name: str, size: int) -> str:
        """Declare room for `size` numbers, which serves one step after another; gives its name."""
        self._spaces[name] = max(self._spaces.get(name, 0), size)
        return name

    @property
    def count(self) -> int:
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
        return _TEXT.format(
            head=HEAD,
            copies=_COPIES,
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
