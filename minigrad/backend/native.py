"""Fused functions as machine code on the CPU: their C text, compiled to NumPy ufuncs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from minigrad.backend.base import Array, Backend, Kernel, Lanes, gives_booleans
from minigrad.backend.library import built
from minigrad.backend.ufunc import TYPES, ufunc

Run = Callable[..., tuple[Array, ...]]

WIDE = 256  # numbers in a row, from which arrays that broadcast are faster so than by NumPy's calls
MOST_LANES = 32  # that a ufunc takes, in every version of NumPy

# Every element goes through the vector loop, the last few in a buffer: what an element becomes
# must not depend on its place. So does a number that is the same along a row, written out once.
# glibc has the vector forms of these functions in libmvec.
HEAD = """
#include <fenv.h>
#include <stdint.h>
#include <stdbool.h>
#include <math.h>
#ifdef VECTOR_MATH
#define VECTOR(name) __attribute__((simd("notinbranch"))) double name(double); \\
    __attribute__((simd("notinbranch"))) float name##f(float);
VECTOR(tanh) VECTOR(exp) VECTOR(log) VECTOR(expm1) VECTOR(log1p) VECTOR(sin) VECTOR(cos)
VECTOR(tan) VECTOR(atan) VECTOR(sinh) VECTOR(cosh) VECTOR(erf)
#endif
#define OF(name, x) _Generic((x), float: name##f, default: name)(x)
#define OF2(name, x, y) _Generic((x) + (y), float: name##f, default: name)((x), (y))
#define exp(x) OF(exp, x)
#define log(x) OF(log, x)
#define expm1(x) OF(expm1, x)
#define log1p(x) OF(log1p, x)
#define sqrt(x) OF(sqrt, x)
#define tanh(x) OF(tanh, x)
#define sin(x) OF(sin, x)
#define cos(x) OF(cos, x)
#define tan(x) OF(tan, x)
#define atan(x) OF(atan, x)
#define sinh(x) OF(sinh, x)
#define cosh(x) OF(cosh, x)
#define erf(x) OF(erf, x)
#define fabs(x) OF(fabs, x)
#define floor(x) OF(floor, x)
#define ceil(x) OF(ceil, x)
#define rint(x) OF(rint, x)
#define pow(x, y) OF2(pow, x, y)
#define fmax(x, y) OF2(fmax, x, y)
#define fmin(x, y) OF2(fmin, x, y)
#define fmod(x, y) OF2(fmod, x, y)
#define LANES__ 16
#define REPORTED (FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)
"""

_BLOCK = """
static inline __attribute__((always_inline)) void block_{name}({parameters}) {{
    #pragma GCC unroll 1 /* or it is taken apart before it could be made vectors */
    for (int i__ = 0; i__ < LANES__; i__++) {{
{loads}{results}
{statements}
{stores}    }}
}}
"""

_LOOP = """
#define T {number}
{block}
void loop_{number}(char **at__, const intptr_t *n__, const intptr_t *step__, void *data__) {{
    if (*n__ < 1) return;
    T few__[{count}][LANES__], *from__[{count}];
    intptr_t by__[{count}], i__ = 0;
    bool dense__ = true;
    for (int k = 0; k < {count}; k++) {{
        by__[k] = step__[k] != 0;
        from__[k] = step__[k] ? (T *)at__[k] : few__[k];
        if (!step__[k]) for (int j = 0; j < LANES__; j++) few__[k][j] = *(T *)at__[k];
        dense__ &= step__[k] == sizeof(T) || (!step__[k] && k < {read});
    }}
    if (dense__) for (; i__ + LANES__ <= *n__; i__ += LANES__) block_{number}({dense});
    for (; i__ < *n__; i__ += LANES__) {{
        intptr_t m = *n__ - i__ < LANES__ ? *n__ - i__ : LANES__;
        for (int k = 0; k < {read}; k++) for (int j = 0; j < LANES__; j++)
            few__[k][j] = *(T *)(at__[k] + (i__ + (j < m ? j : m - 1)) * step__[k]);
        block_{number}({few});
        for (int k = {read}; k < {count}; k++) for (int j = 0; j < m; j++)
            *(T *)(at__[k] + (i__ + j) * step__[k]) = few__[k][j];
    }}
    if (fetestexcept(REPORTED)) feclearexcept(REPORTED); /* to ask is quick, to clear is not */
}}
#undef T
"""

_RUN = """
{block}
static void run_{name}(intptr_t n__, T *const *at__) {{
    intptr_t i__ = 0;
    for (; i__ + LANES__ <= n__; i__ += LANES__) block_{name}({dense});
    if (i__ == n__) return;
    T few__[{count}][LANES__];
    for (int k = 0; k < {read}; k++) for (int j = 0; j < LANES__; j++)
        few__[k][j] = at__[k][i__ + j < n__ ? i__ + j : n__ - 1];
    block_{name}({few});
    for (int k = {read}; k < {count}; k++) for (int j = 0; i__ + j < n__; j++)
        at__[k][i__ + j] = few__[k][j];
}}
"""


def compiled(kernel: Kernel, plain: Run, xp: Backend) -> Run:
    """A function like `plain` that runs compiled code where all arrays have one such dtype.

    Booleans, as results or bit by bit, are left to `plain`: a loop has one number type.
    """
    read, written = len(_names(kernel.inputs)), len(_names(kernel.outputs))
    booleans = any(gives_booleans(kernel, lanes) for lanes in kernel.outputs)
    if booleans or re.search(" [&|^] ", kernel.c) or read + written > MOST_LANES:
        return plain
    loop = ufunc(ctypes.CDLL(str(built(_source(kernel)))), kernel.name, read, written)
    scope: dict[str, Any] = {"xp": xp, "plain": plain, "loop": loop, "spread": _unbuffered(loop)}
    inputs, outputs = _numbered("x", kernel.inputs), _numbered("r", kernel.outputs)
    text = _caller(replace(kernel, inputs=inputs, outputs=outputs), _names(inputs))
    exec(compile(text, f"<native {kernel.name}>", "exec"), scope)
    return scope["run"]


def _unbuffered(loop: Callable[..., Any]) -> Callable[..., Any]:
    """The ufunc for arrays that broadcast: NumPy would copy their rows into its buffer first."""

    def spread(*xs: Array, **out: Any) -> Any:
        size = np.setbufsize(16)
        try:
            return loop(*xs, **out)
        finally:
            np.setbufsize(size)

    return spread


def _names(groups: tuple[Lanes, ...]) -> list[str]:
    return [name for lanes in groups for name in lanes.names]


def _numbered(prefix: str, groups: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
    """Lanes under names of our own: a user's might be one that the text uses."""
    names = (f"{prefix}{k}" for k in range(len(_names(groups))))
    return tuple([Lanes(tuple([next(names) for _ in of.names]), of.dim) for of in groups])


def _whole(lanes: Lanes, k: int) -> str:
    """What the caller's text names an array by: its lane's name, or another if it has chunks."""
    return lanes.names[0] if lanes.dim is None else f"whole{k}__"


def _caller(kernel: Kernel, read: list[str]) -> str:
    """The text of a function of the arrays that calls the ufunc on their lanes."""
    arrays = [_whole(lanes, k) for k, lanes in enumerate(kernel.inputs)]
    first, *others = read
    given = ", ".join(arrays)
    fits = " and ".join(["dtype__.char in 'fd'", *(f"{x}.dtype is dtype__" for x in others)])
    alike = " and ".join(f"{x}.shape == shape__" for x in others) or "True"
    pieces = [lanes.names[0] for lanes in kernel.inputs if lanes.dim is not None]
    whole = " and ".join(["shape__", *(f"{x}.shape == shape__" for x in pieces)])
    wide = " or ".join(f"{x}.shape[-1:] >= ({WIDE},)" for x in read)
    lines = [
        *_taken_apart(kernel.inputs, arrays),
        f"shape__, dtype__, call = {first}.shape, {first}.dtype, loop",
        f"if not ({alike}):",
        f"    if not ({wide}): return plain({given})",
        f"    shape__, call = xp.common_shape({', '.join(read)}), spread",
        f"if not ({fits} and {whole}):",
        f"    return plain({given})",
    ]
    results = [_whole(lanes, 100 + k) for k, lanes in enumerate(kernel.outputs)]
    chunked = [
        (r, lanes)
        for r, lanes in zip(results, kernel.outputs, strict=True)
        if lanes.dim is not None
    ]
    lines += [
        f"{r} = xp.empty_chunks({len(lanes.names)}, {lanes.dim}, shape__, dtype__)"
        for r, lanes in chunked
    ]
    lines += _taken_apart(kernel.outputs, results)
    outs = [f"y{k}__" for k in range(len(_names(kernel.outputs)))]
    into = [
        name if lanes.dim is not None else "None"
        for lanes in kernel.outputs
        for name in lanes.names
    ]
    out = f", out=({', '.join(into)},)" if chunked else ""
    lines.append(f"{', '.join(outs)} = call({', '.join(read)}{out})")
    made = dict(zip(_names(kernel.outputs), outs, strict=True))
    gives = [
        r if lanes.dim is not None else made[r]
        for r, lanes in zip(results, kernel.outputs, strict=True)
    ]
    lines.append(f"return ({', '.join(gives)},)")
    return "\n".join([f"def run({given}):", *(f"    {line}" for line in lines)])


def _taken_apart(groups: tuple[Lanes, ...], arrays: list[str]) -> list[str]:
    return [
        f"{', '.join(lanes.names)}, = xp.chunks({array}, {len(lanes.names)}, {lanes.dim})"
        for lanes, array in zip(groups, arrays, strict=True)
        if lanes.dim is not None
    ]


# ---- C to a ufunc --------------------------------------------------------------------------------


def _source(kernel: Kernel) -> str:
    """A ufunc's loops."""
    dense = "from__[{k}] + i__ * by__[{k}]"
    return HEAD + "".join(
        _LOOP.format(number=number, **_parts(kernel, number, dense)) for number in TYPES
    )


def dense_run(kernel: Kernel, name: str) -> str:
    """`run_name(n, at)` in C: the kernel on n elements of dense arrays, inputs before outputs."""
    return _RUN.format(name=name, **_parts(kernel, name, "at__[{k}] + i__"))


def _with_own_names(kernel: Kernel) -> str:
    """The statements with u_ before every variable: a user's name might be C's, or a macro."""
    variables = {*_names(kernel.inputs), *_names(kernel.outputs)}
    variables.update(re.findall(r"^(?:T|bool) (\w+) = ", kernel.c, re.MULTILINE))
    return re.sub(r"\w+", lambda m: f"u_{m[0]}" if m[0] in variables else m[0], kernel.c)


def _parts(kernel: Kernel, name: str, dense: str) -> dict[str, Any]:
    read, written = _names(kernel.inputs), _names(kernel.outputs)
    count = len(read) + len(written)
    parameters = [f"const T *restrict in{k}__" for k in range(len(read))]
    parameters += [f"T *restrict out{k}__" for k in range(len(written))]
    block = _BLOCK.format(
        name=name,
        parameters=", ".join(parameters),
        loads="".join(f"        const T u_{x} = in{k}__[i__];\n" for k, x in enumerate(read)),
        results=f"        T {', '.join(f'u_{y}' for y in written)};",
        statements=_with_own_names(kernel),
        stores="".join(f"        out{k}__[i__] = u_{y};\n" for k, y in enumerate(written)),
    )
    return {
        "block": block,
        "count": count,
        "read": len(read),
        "dense": ", ".join(dense.format(k=k) for k in range(count)),
        "few": ", ".join(f"few__[{k}]" for k in range(count)),
    }
