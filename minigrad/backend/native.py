"""Fused functions as machine code on the CPU: their C text, compiled to NumPy ufuncs."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.backend.base import Array, Backend, Kernel, Lanes, is_boolean

Run = Callable[..., tuple[Array, ...]]

MOST_LANES = 32  # that a ufunc takes, in every version of NumPy
FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-w",
)
_TYPES = {"float": ("f", 11), "double": ("d", 12)}  # by C's name: NumPy's character and number

# Every element goes through the same vector loop (of which the compiler may not make two), the last
# few in a buffer: what an element becomes must not depend on its place. glibc has the vector forms
# of these functions in libmvec.
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
#define LANES 16
"""

_BLOCKS = """
static __attribute__((noinline, noipa)) void blocks_{name}(intptr_t n, {parameters}) {{
    for (intptr_t k = 0; k < n; k += LANES)
    #pragma GCC ivdep
    #pragma GCC unroll 1
    for (int i = 0; i < LANES; i++) {{
{loads}{results}
{statements}
{stores}    }}
}}
"""

_LOOP = """
#define T {number}
{blocks}
void loop_{number}(char **at, const intptr_t *n, const intptr_t *step, void *data) {{
    bool dense = true;
    for (int k = 0; k < {count}; k++) dense &= step[k] == sizeof(T);
    intptr_t i = dense ? *n / LANES * LANES : 0;
    if (i) blocks_{number}(i, {dense});
    T few[{count}][LANES];
    for (; i < *n; i += LANES) {{
        intptr_t m = *n - i < LANES ? *n - i : LANES;
        for (int k = 0; k < {read}; k++) for (int j = 0; j < LANES; j++)
            few[k][j] = *(T *)(at[k] + (i + (j < m ? j : m - 1)) * step[k]);
        blocks_{number}(LANES, {few});
        for (int k = {read}; k < {count}; k++) for (int j = 0; j < m; j++)
            *(T *)(at[k] + (i + j) * step[k]) = few[k][j];
    }}
    feclearexcept(FE_ALL_EXCEPT);
}}
#undef T
"""

_RUN = """
{blocks}
static void run_{name}(intptr_t n, T *const *at) {{
    intptr_t i = n / LANES * LANES;
    if (i) blocks_{name}(i, {dense});
    if (i == n) return;
    T few[{count}][LANES];
    for (int k = 0; k < {read}; k++) for (int j = 0; j < LANES; j++)
        few[k][j] = at[k][i + j < n ? i + j : n - 1];
    blocks_{name}(LANES, {few});
    for (int k = {read}; k < {count}; k++) for (int j = 0; i + j < n; j++) at[k][i + j] = few[k][j];
}}
"""


def compiler() -> str:
    """The C compiler: `cc`, or what the variable CC names; raises RuntimeError without one."""
    wanted = os.environ.get("CC") or "cc"
    found = shutil.which(wanted)
    if found is None:
        raise RuntimeError(
            f"native kernels need a C compiler, and there is no `{wanted}`: install one (gcc or "
            "clang), name it in the variable CC, or go on without native kernels"
        )
    return found


def compiled(kernel: Kernel, plain: Run, xp: Backend) -> Run:
    """A function like `plain` that runs compiled code where all arrays are alike, else `plain`.

    Booleans, as results or bit by bit, are left to `plain`: the compiled code knows numbers.
    """
    read, written = len(_names(kernel.inputs)), len(_names(kernel.outputs))
    booleans = re.search(" [&|^] ", kernel.c) or any(
        is_boolean(kernel, of) for of in kernel.outputs
    )
    if booleans or read + written > MOST_LANES:
        return plain
    scope: dict[str, Any] = {"xp": xp, "plain": plain, "loop": _ufunc(kernel, read, written)}
    text = _caller(_numbered("x", kernel.inputs), _numbered("r", kernel.outputs))
    exec(compile(text, f"<native {kernel.name}>", "exec"), scope)
    return scope["run"]


def _names(groups: tuple[Lanes, ...]) -> list[str]:
    return [name for lanes in groups for name in lanes.names]


def _numbered(prefix: str, groups: tuple[Lanes, ...]) -> tuple[Lanes, ...]:
    """Lanes under names of our own: a user's might be one that the text uses."""
    names = (f"{prefix}{k}" for k in range(len(_names(groups))))
    return tuple([Lanes(tuple([next(names) for _ in of.names]), of.dim) for of in groups])


def _whole(lanes: Lanes, k: int) -> str:
    """What the caller's text names an array by: its lane's name, or another if it has chunks."""
    return lanes.names[0] if lanes.dim is None else f"whole{k}"


def _caller(inputs: tuple[Lanes, ...], outputs: tuple[Lanes, ...]) -> str:
    """The text of a function of the arrays that calls the ufunc on their lanes."""
    arrays = [_whole(lanes, k) for k, lanes in enumerate(inputs)]
    read = _names(inputs)
    first, *others = read
    alike = [f"{x}.shape == shape and {x}.dtype is dtype" for x in others]
    given = ", ".join(arrays)
    fits = " and ".join(["shape", "dtype.char in 'fd'", *alike])
    lines = [
        *_taken_apart(inputs, arrays),
        f"shape, dtype = {first}.shape, {first}.dtype",
        f"if not ({fits}):",
        f"    return plain({given})",
    ]
    results = [_whole(lanes, 100 + k) for k, lanes in enumerate(outputs)]
    chunked = [
        (r, lanes) for r, lanes in zip(results, outputs, strict=True) if lanes.dim is not None
    ]
    lines += [
        f"{r} = xp.empty_chunks({len(lanes.names)}, {lanes.dim}, shape, dtype)"
        for r, lanes in chunked
    ]
    lines += _taken_apart(outputs, results)
    outs = [f"y{k}" for k in range(len(_names(outputs)))]
    into = [name if lanes.dim is not None else "None" for lanes in outputs for name in lanes.names]
    out = f", out=({', '.join(into)},)" if chunked else ""
    lines.append(f"{', '.join(outs)} = loop({', '.join(read)}{out})")
    made = dict(zip(_names(outputs), outs, strict=True))
    gives = [
        r if lanes.dim is not None else made[r] for r, lanes in zip(results, outputs, strict=True)
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

_kept: list[Any] = []  # NumPy does not copy what describes a ufunc


def _ufunc(kernel: Kernel, read: int, written: int) -> Callable[..., Any]:
    """The kernel as a ufunc with a loop for each number type."""
    library = ctypes.CDLL(str(built(_source(kernel))))
    loops = [ctypes.cast(library[f"loop_{number}"], ctypes.c_void_p).value for number in _TYPES]
    functions = (ctypes.c_void_p * len(loops))(*loops)
    data = (ctypes.c_void_p * len(loops))()
    numbers = [code for _, code in _TYPES.values() for _ in range(read + written)]
    types = (ctypes.c_char * len(numbers))(*numbers)
    name = ctypes.c_char_p(kernel.name.encode())
    _kept.append((library, functions, data, types, name))
    make = ctypes.PYFUNCTYPE(
        ctypes.py_object,
        *[ctypes.c_void_p] * 3,
        *[ctypes.c_int] * 4,
        *[ctypes.c_char_p] * 2,
        ctypes.c_int,
    )(_from_functions())
    addresses = [ctypes.addressof(part) for part in (functions, data, types)]
    return make(*addresses, len(loops), read, written, -1, name, b"", 0)


def _from_functions() -> int:
    """The address of PyUFunc_FromFuncAndData, entry 1 of the table of NumPy's C interface."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    inner: Any = np
    table = pointer(inner._core._multiarray_umath._UFUNC_API, None)
    address = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))[1]
    assert address is not None
    return address


def _source(kernel: Kernel) -> str:
    """A ufunc's loops."""
    return HEAD + "".join(
        _LOOP.format(number=number, **_parts(kernel, number, "(T *)at[{k}]")) for number in _TYPES
    )


def dense_run(kernel: Kernel, name: str) -> str:
    """`run_name(n, at)` in C: the kernel on n elements of dense arrays, inputs before outputs."""
    return _RUN.format(name=name, **_parts(kernel, name, "at[{k}]"))


def _parts(kernel: Kernel, name: str, dense: str) -> dict[str, Any]:
    read, written = _names(kernel.inputs), _names(kernel.outputs)
    count = len(read) + len(written)
    parameters = [f"const T *restrict in{k}" for k in range(len(read))]
    parameters += [f"T *restrict out{k}" for k in range(len(written))]
    blocks = _BLOCKS.format(
        name=name,
        parameters=", ".join(parameters),
        loads="".join(f"        const T u_{x} = in{k}[k + i];\n" for k, x in enumerate(read)),
        results=f"        T {', '.join(f'u_{y}' for y in written)};",
        statements=_with_own_names(kernel),
        stores="".join(f"        out{k}[k + i] = u_{y};\n" for k, y in enumerate(written)),
    )
    return {
        "blocks": blocks,
        "count": count,
        "read": len(read),
        "dense": ", ".join(dense.format(k=k) for k in range(count)),
        "few": ", ".join(f"few[{k}]" for k in range(count)),
    }


def _with_own_names(kernel: Kernel) -> str:
    """The statements with u_ before every variable: a user's name might be C's, or a macro."""
    variables = {*_names(kernel.inputs), *_names(kernel.outputs)}
    variables.update(re.findall(r"^(?:T|bool) (\w+) = ", kernel.c, re.MULTILINE))
    return re.sub(r"\w+", lambda m: f"u_{m[0]}" if m[0] in variables else m[0], kernel.c)


def built(source: str) -> Path:
    """The shared library of a source, from the cache if it was built before on such a machine."""
    features = [name for name, has in _cpu_features().items() if has]
    key = "\n".join([source, *FLAGS, *features, compiler(), np.__version__])
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    library = _cache() / name
    if not library.exists():
        if not os.access(library.parent, os.W_OK):
            library = _of_this_run() / name
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            text, made = Path(folder, "kernel.c"), Path(folder, "kernel.so")
            text.write_text(source, encoding="utf-8")
            _compile([compiler(), *FLAGS, "-o", str(made), str(text)])
            made.replace(library)  # whole or not at all, whoever else builds it meanwhile
    return library


def _compile(command: list[str]) -> None:
    """Run the compiler, with vector functions if the C library has them."""
    vector = ["-mprefer-vector-width=512", "-DVECTOR_MATH"]
    vector += ["-Wl,--no-undefined", "-lmvec", "-lm"]
    if subprocess.run([*command, *vector], capture_output=True, check=False).returncode:
        done = subprocess.run([*command, "-lm"], capture_output=True, check=False, text=True)
        if done.returncode:
            raise RuntimeError(f"the C compiler failed on a fused function:\n{done.stderr}")


def _cpu_features() -> dict[str, bool]:
    inner: Any = np
    return inner._core._multiarray_umath.__cpu_features__


def _cache() -> Path:
    """Where libraries are kept, for this user only."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(root, "minigrad", "native")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a home that is read-only, or none
        return _of_this_run()
    return folder


@functools.cache
def _of_this_run() -> Path:
    """A folder that goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="minigrad-", ignore_cleanup_errors=True)
    _kept.append(folder)
    return Path(folder.name)
