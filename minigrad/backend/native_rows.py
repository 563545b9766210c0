"""Row functions as machine code on the CPU: the text of one row, written out in C for all rows."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend.base import Operand, RowKernel
from minigrad.backend.library import built
from minigrad.backend.native import HEAD
from minigrad.backend.ufunc import TYPES, ufunc

# A row function is written twice: for one row whose numbers lie side by side, in whole blocks of
# LANES__, and for LANES__ rows that lie side by side themselves, as the columns of an (H, B) matrix
# do. What lies otherwise, and a last row that is not of whole blocks, is copied to where it does.
# A sum has a part for each lane, and each part is the sum, in double, of sums of SHORT__ numbers:
# added one by one in float32, 10⁵ equal numbers give a sum whose last four digits are wrong.
# libmvec computes exponentials that are no normal numbers one by one, so that a softmax of masked
# rows took 9 times as long: they count as 0.
ROWS_HEAD = """
#include <stdlib.h>
#define SHORT__ 16
#define LANE__(j) _Pragma("GCC ivdep") _Pragma("GCC unroll 1") for (int j = 0; j < LANES__; j++)
#define sum__(a, b) (a) + (b)
#define max__(a, b) ((a) < (b) ? (b) : (a))
#define nothing_sum 0
#define nothing_max -INFINITY
#define FLUSH__(s, of) \
    LANE__(j) { all_##s[j] = of##__(all_##s[j], few_##s[j]); few_##s[j] = nothing_##of; }
#define HALVED__(x, of, w) for (int j = 0; j < (w); j++) x[j] = of##__(x[j], x[j + (w)]);
#define FOLD__(x, of) \
    HALVED__(x, of, 8) HALVED__(x, of, 4) HALVED__(x, of, 2) x[0] = of##__(x[0], x[1]);
#define CONSTANTS__ const T u_n = n; T least__ = _Generic((T)0, float: -87.0f, default: -708.0); \
    __asm__("" : "+m"(least__)); /* if gcc saw that what is below becomes 0, it would let it be */
#define SMALL__ _Generic((T)0, float: 1.7e-38f, default: 3.4e-308)
#undef exp
#define exp(x) ({ const T e = (x), y = OF(exp, e < least__ ? least__ : e); \
    y < SMALL__ ? (T)0 : y; })
#define LOWEST _Generic((T)0, float: -3.4028234663852886e38f, default: -1.7976931348623157e308)
"""

_FUNCTIONS = """
static void row_{name}(intptr_t n, T *const *at) {{
    CONSTANTS__
{row}
}}
static void columns_{name}(intptr_t n, T *const *at, const intptr_t *along, int done) {{
    CONSTANTS__
{columns}
}}
static void rows_{name}(intptr_t m, intptr_t n, T *const *at, const intptr_t *down,
    const intptr_t *along) {{ /* how far the rows are from each other, and the numbers in a row */
    static const bool of_m[] = {{{of_m}}}, of_n[] = {{{of_n}}}, reads[] = {{{reads}}};
    T *p[{count}];
    bool beside = m >= LANES__;
    for (int k = 0; k < {count}; k++) beside &= !of_m[k] || down[k] == 1;
    if (beside) {{
        for (intptr_t c = 0; c < m; c += LANES__) {{ /* the last block goes back a bit */
            const intptr_t r = c + LANES__ < m ? c : m - LANES__;
            for (int k = 0; k < {count}; k++) p[k] = at[k] + r * down[k];
            columns_{name}(n, p, along, c - r);
        }}
        return;
    }}
    const intptr_t room = (n + LANES__ - 1) / LANES__ * LANES__;
    T *const space = malloc({count} * room * sizeof(T));
    for (intptr_t r = 0; r < m; r++) {{
        for (int k = 0; k < {count}; k++) {{
            T *const from = p[k] = at[k] + r * down[k];
            const bool fits = room == n || (down[k] == n && r * n + room <= m * n);
            if (!of_n[k] || (along[k] == 1 && fits)) continue;
            p[k] = space + k * room;
            if (!reads[k] || (r && !down[k] && k < {read})) continue; /* it is there already */
            if (along[k] == 1) for (intptr_t i = 0; i < n; i++) p[k][i] = from[i];
            else for (intptr_t i = 0; i < n; i++) p[k][i] = from[i * along[k]];
            for (intptr_t i = n; i < room; i++) p[k][i] = p[k][n - 1];
        }}
        row_{name}(n, p); /* what it writes behind the row is written again by the next */
        for (int k = {read}; k < {count}; k++) if (p[k] == space + k * room)
            for (intptr_t i = 0; i < n; i++) at[k][r * down[k] + i * along[k]] = p[k][i];
    }}
    free(space);
}}
"""

_LOOP = """
#define T {number}
{functions}
void loop_{number}(char **at, const intptr_t *dims, const intptr_t *steps, void *data) {{
    const intptr_t m = dims[1], n = dims[2];
    intptr_t down[] = {{{down}}}, along[] = {{{along}}};
    for (int k = 0; k < {count}; k++) down[k] /= sizeof(T), along[k] /= sizeof(T);
    for (intptr_t o = 0; o < dims[0]; o++) {{
        T *p[{count}];
        for (int k = 0; k < {count}; k++) p[k] = (T *)(at[k] + o * steps[k]);
{zeros}
        rows_{number}(m, n, p, down, along);
    }}
    if (fetestexcept(REPORTED)) feclearexcept(REPORTED); /* to ask is quick, to clear is not */
}}
#undef T
"""


class _Line(NamedTuple):
    """A statement of the text: `kind name = value`."""

    kind: str  # "each", "sum", "max", "total", or "" for one that is made once a row
    name: str
    value: str

    @property
    def reads(self) -> set[str]:
        return set(re.findall(r"[A-Za-z_]\w*", self.value))


def _parsed(text: str) -> list[_Line]:
    lines: list[_Line] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        found = re.fullmatch(r"(?:(each|sum|max|total) )?(\w+) = (.*)", line)
        if found is None:
            raise ValueError(
                f"expected `name = value`, or each, sum, max or total before it, got {line!r}"
            )
        lines.append(_Line(found[1] or "", found[2], found[3]))
    return lines


def _grouped(lines: Sequence[_Line]) -> list[list[_Line]]:
    """The lines by the loops that they share; what is made once a row stands alone."""
    groups: list[list[_Line]] = []
    for line in lines:
        last = groups[-1] if groups else []
        open_ = line.kind and last and last[0].kind
        if not open_ or line.reads & {one.name for one in last if one.kind in ("sum", "max")}:
            groups.append([])
        groups[-1].append(line)
    return groups


class _Body:
    """The statements of one row; or, as `columns`, of LANES__ rows that lie side by side."""

    def __init__(self, kernel: RowKernel, lines: Sequence[_Line], columns: bool) -> None:
        self.operands = {operand.name: k for k, operand in enumerate(operands_of(kernel))}
        self.shared = {operand.name for operand in operands_of(kernel) if operand.axes == "n"}
        self.wide = {operand.name for operand in operands_of(kernel) if "n" in operand.axes}
        self.columns = columns
        once = {line.name for line in lines if line.kind in ("", "sum", "max")}
        self.once = once | (set(self.operands) - self.wide)
        self.passing = {line.name for line in lines if line.kind == "each"} - self.wide
        self.variables = {line.name for line in lines} | set(self.operands) | {"n"}
        size = "[LANES__]" if columns else ""
        self.text = [f"T u_{name}{size};" for name in sorted(self.once)]
        self.text += [self._once(self._own(x), self._row_s(x)) for x in self._narrow(kernel.inputs)]
        for group in _grouped(lines):
            if group[0].kind:
                self._loop(group)
            else:
                (line,) = group
                self.text.append(self._once(self._own(line.name), self._own(line.value)))
        self.text += [
            self._once(self._row_s(x), self._own(x)) for x in self._narrow(kernel.outputs)
        ]

    def _narrow(self, operands: Sequence[Operand]) -> list[str]:
        return [operand.name for operand in operands if operand.name not in self.wide]

    def _own(self, text: str) -> str:
        """The text with u_ before every variable: a user's name might be C's, or a macro."""

        def own(match: re.Match[str]) -> str:
            name = match[0]
            lane = "[j]" if self.columns and name in self.once else ""
            return f"u_{name}{lane}" if name in self.variables else name

        return re.sub(r"[A-Za-z_]\w*", own, text)

    def _once(self, target: str, value: str) -> str:
        return f"{'LANE__(j) ' if self.columns else ''}{target} = {value};"

    def _row_s(self, name: str) -> str:
        """An operand that holds one number a row."""
        return f"at[{self.operands[name]}][{'j' if self.columns else '0'}]"

    def _place(self, name: str) -> str:
        """An operand that holds a number for each place."""
        k = self.operands[name]
        row = "" if name in self.shared else " + j"
        return f"at[{k}][i * along[{k}]{row}]" if self.columns else f"at[{k}][i + j]"

    def _loop(self, group: Sequence[_Line]) -> None:
        """The statements for each place in the row."""
        made = [(f"u_{line.name}", line.kind) for line in group if line.kind in ("sum", "max")]
        known: set[str] = set()
        inner: list[str] = []
        for line in group:
            lost = line.reads & self.passing - known
            if lost:
                raise ValueError(f"{sorted(lost)} of an earlier loop over the row: give them again")
            loaded = sorted(line.reads & self.wide - known)
            inner += [f"T u_{name} = {self._place(name)};" for name in loaded]
            known.update(loaded)
            inner += self._statements(line, known)
        totals = [line.name for line in group if line.kind == "total" and self.columns]
        step, k = ("1", "i") if self.columns else ("LANES__", "i / LANES__")
        self.text += [
            "{",
            *(f"double all_{s}[LANES__]; T few_{s}[LANES__];" for s, _ in made),
            *(f"LANE__(j) all_{s}[j] = few_{s}[j] = nothing_{of};" for s, of in made),
            f"for (intptr_t i = 0; i < n; i += {step}) {{",
            "    const int here = n - i < LANES__ ? n - i : LANES__;",
            *(f"    T total_{w}[LANES__];" for w in totals),
            *("    LANE__(j) {", *(f"        {line}" for line in inner), "    }"),
            *(f"    FOLD__(total_{w}, sum) {self._place(w)} += total_{w}[0];" for w in totals),
            *(f"    if ({k} % SHORT__ == SHORT__ - 1) FLUSH__({s}, {of})" for s, of in made),
            "}",
            *(f"FLUSH__({s}, {of})" for s, of in made),
        ]
        for s, of in made:
            one = f"FOLD__(all_{s}, {of}) {s} = all_{s}[0];"
            self.text.append(f"LANE__(j) {s}[j] = all_{s}[j];" if self.columns else one)
        self.text.append("}")

    def _statements(self, line: _Line, known: set[str]) -> list[str]:
        """One statement of the text, for one place of the row."""
        (kind, name), value = line[:2], self._own(line.value)
        if kind == "each":
            declared = "" if name in known else "T "
            known.add(name)
            stored = [f"{self._place(name)} = u_{name};"] if name in self.operands else []
            return [f"{declared}u_{name} = {value};", *stored]
        if kind == "total" and self.columns:
            return [f"total_{name}[j] = j < done ? 0 : {value};"]
        if kind == "total":
            return [f"{self._place(name)} += {value};"]
        part = value if self.columns else f"j < here ? {value} : nothing_{kind}"
        return [
            f"const T part_{name} = {part};",
            f"few_u_{name}[j] = {kind}__(few_u_{name}[j], part_{name});",
        ]


def operands_of(kernel: RowKernel) -> tuple[Operand, ...]:
    """The arrays in their order."""
    return (*kernel.inputs, *kernel.outputs)


def row_functions(kernel: RowKernel, name: str) -> str:
    """`rows_name(m, n, at, down, along)` in C: the kernel on m rows of n numbers."""
    lines, operands = _parsed(kernel.text), operands_of(kernel)
    totals = {line.name for line in lines if line.kind == "total"}
    reads = [k < len(kernel.inputs) or x.name in totals for k, x in enumerate(operands)]
    texts = [_Body(kernel, lines, columns).text for columns in (False, True)]
    row, columns = ("\n".join(f"    {line}" for line in text) for text in texts)
    return _FUNCTIONS.format(
        name=name,
        row=row,
        columns=columns,
        of_m=_flags("m" in x.axes for x in operands),
        of_n=_flags("n" in x.axes for x in operands),
        reads=_flags(reads),
        count=len(operands),
        read=len(kernel.inputs),
    )


def _flags(values: Any) -> str:
    return ", ".join(str(int(value)) for value in values)


# ---- C to a function of arrays -------------------------------------------------------------------

# By the axis along which rows lie, for each kind of operand: its shape, where that of the first is
# `shape`; how the rows come to lie along the last axis, as the ufunc wants; and how they go back.
_LAST = {
    "m,n": ("shape", "{}.reshape(-1, shape[-1])", "{}.reshape(shape)"),
    "m,1": ("(*shape[:-1], 1)", "{}.reshape(-1, 1)", "{}.reshape(*shape[:-1], 1)"),
    "m": ("shape[:-1]", "{}.reshape(-1)", "{}.reshape(shape[:-1])"),
    "n": ("shape[-1:]", "{}", "{}"),
}
_SWAPPED = "{}.swapaxes(-1, -2)"
_LAST_BUT_ONE = {
    "m,n": ("shape", _SWAPPED, _SWAPPED),
    "m,1": ("(*shape[:-2], 1, shape[-1])", _SWAPPED, _SWAPPED),
    "m": ("(*shape[:-2], shape[-1])", "{}", "{}"),
    "n": ("shape[-2:-1]", "{}", "{}.reshape(-1, shape[-2]).sum(0)"),
}


def compiled(kernel: RowKernel, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function like `plain` that runs compiled code where all arrays have one such dtype."""
    how = {-1: _LAST, -2: _LAST_BUT_ONE}[kernel.axis]
    xs = {f"x{k}": how[operand.axes] for k, operand in enumerate(kernel.inputs)}
    ys = {f"y{k}": how[operand.axes] for k, operand in enumerate(kernel.outputs)}
    given = ", ".join(xs)
    fits = [f"{x}.dtype is dtype and {x}.shape == {shape}" for x, (shape, _, _) in xs.items()]
    first = ", ".join(there.format(x) for x, (_, there, _) in xs.items())
    into = ["empty_like(x0)" if operand.axes == "m,n" else "None" for operand in kernel.outputs]
    back = [back.format(y) for y, (_, _, back) in ys.items()]
    lines = [
        "shape, dtype = x0.shape, x0.dtype",
        f"if not (dtype.char in 'fd' and x0.size and {' and '.join(fits)}):",
        f"    return plain(xp, {given}, **params)",
        f"{given}, = {first},",
        f"{', '.join(ys)} = call({given}, out=({', '.join(into)},))",  # which lies as x does
        f"return {', '.join(back)}",
    ]
    text = "\n".join([f"def run(xp, {given}, **params):", *(f"    {line}" for line in lines)])
    call = _ufunc(kernel)
    scope: dict[str, Any] = {"plain": plain, "call": call, "empty_like": np.empty_like}
    exec(compile(text, f"<native {kernel.name}>", "exec"), scope)
    return scope["run"]


def _ufunc(kernel: RowKernel) -> Callable[..., Any]:
    count = len(operands_of(kernel))
    down, along, k = ["0"] * count, ["0"] * count, count
    for i, operand in enumerate(operands_of(kernel)):
        for axis in operand.axes.split(","):
            if axis != "1":
                (down if axis == "m" else along)[i] = f"steps[{k}]"
            k += 1
    totals = [
        f"        for (intptr_t i = 0; i < n; i++) p[{i}][i * along[{i}]] = 0;"
        for i, operand in enumerate(operands_of(kernel))
        if operand.axes == "n" and operand in kernel.outputs
    ]
    source = "".join(
        _LOOP.format(
            number=number,
            functions=row_functions(kernel, number),
            down=", ".join(down),
            along=", ".join(along),
            count=count,
            zeros="\n".join(totals),
        )
        for number in TYPES
    )
    library = ctypes.CDLL(str(built(HEAD + ROWS_HEAD + source)))
    axes = [",".join(f"({x.axes})" for x in of) for of in (kernel.inputs, kernel.outputs)]
    signature = "->".join(axes)
    return ufunc(library, kernel.name, len(kernel.inputs), len(kernel.outputs), signature)
