"""The kernels for CuPy, without a GPU: their text, compiled as C++, gives what NumPy gives."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import Backend, get_backend
from minigrad.backend.base import Kernel, Lanes
from minigrad.backend.cupy_ import CupyBackend, elementwise_text

C = {"bool": "bool", "int64": "long", "float32": "float", "float64": "double"}
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")

# y is in chunks, and one of them constant; h broadcasts; `big` is a comparison; `mask` a boolean
KERNEL = Kernel(
    name="gates",
    inputs=(Lanes(("z_0", "z_1"), 0), Lanes(("c",)), Lanes(("mask",))),
    outputs=(Lanes(("y_0", "y_1", "y_2"), 0), Lanes(("h",)), Lanes(("big",))),
    python="""
def gates(xp):
    def run(z, c, mask):
        z_0, z_1 = xp.chunks(z, 2, 0)
        t = xp.tanh(z_0) * c
        u = xp.where(mask, z_1 + 0.5, -xp.multiply(c, c))
        y = xp.join_chunks((t, u, 0.0), 0, xp.common_shape(z_0, c, mask))
        return y, xp.erf(z_1) + c * xp.isinf(c), (z_0 > c) & mask
    return run
""",
    c="""
T v0 = tanh(z_0);
T v1 = v0 * c;
T v2 = (mask ? z_1 + (T)0.5 : -(c * c));
T v3 = erf(z_1) + c * isinf(c);
bool v4 = z_0 > c;
bool v5 = v4 & mask;
y_0 = v1;
y_1 = v2;
y_2 = (T)0.0;
h = v3;
big = v5;
""".strip(),
)


class HostKernel:
    """`cupy.ElementwiseKernel` as far as it is used, made by the C++ compiler."""

    made: ClassVar[list[HostKernel]] = []
    folder: Path

    def __init__(self, inputs: str, outputs: str, body: str, name: str, preamble: str) -> None:
        parameters = [p.split() for p in f"{inputs}, {outputs}".split(", ")]
        self.dtypes = [np.dtype(dtype) for dtype, _ in parameters]
        self.count = inputs.count(",") + 1
        lines = ["#include <math.h>", preamble, f'extern "C" void {name}(long n, void **lanes) {{']
        lines.append("for (long i = 0; i < n; ++i) {")
        for k, (dtype, lane) in enumerate(parameters):
            const = "const " if k < self.count else ""
            lines.append(f"{const}{C[dtype]} &{lane} = (({C[dtype]} *)lanes[{k}])[i];")
        lines += [body, "}}"]
        source = self.folder / f"{name}_{len(self.made)}.cpp"
        source.write_text("\n".join(lines), encoding="utf-8")
        library = source.with_suffix(".so")
        command = [
            str(COMPILER),
            "-O1",
            "-Wall",
            "-Werror",
            "-Wno-unused-variable",
            "-shared",
            "-fPIC",
            "-o",
        ]
        subprocess.run([*command, str(library), str(source)], check=True)
        self.run = getattr(ctypes.CDLL(str(library)), name)
        self.made.append(self)

    def __call__(self, *lanes: np.ndarray[Any, Any]) -> None:
        assert [lane.dtype for lane in lanes] == self.dtypes
        shape = np.broadcast_shapes(*[lane.shape for lane in lanes[: self.count]])
        assert {lane.shape for lane in lanes[self.count :]} == {shape}
        flat = [np.ascontiguousarray(np.broadcast_to(lane, shape)) for lane in lanes]
        pointers = (ctypes.c_void_p * len(flat))(*[x.ctypes.data for x in flat])
        self.run(ctypes.c_long(flat[-1].size), pointers)
        for lane, computed in zip(lanes[self.count :], flat[self.count :], strict=True):
            lane[...] = computed


class FakeCupy:
    """NumPy with an ElementwiseKernel: what `CupyBackend.compile` needs of CuPy."""

    ElementwiseKernel = HostKernel

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """The CuPy backend on host arrays."""
    monkeypatch.setattr(HostKernel, "folder", tmp_path, raising=False)
    monkeypatch.setattr(HostKernel, "made", [])
    monkeypatch.setattr(CupyBackend, "erf", get_backend("cpu").erf)
    backend = CupyBackend.__new__(CupyBackend)
    Backend.__init__(backend, FakeCupy())
    return backend


def arguments(
    z: tuple[int, ...], c: tuple[int, ...], mask: tuple[int, ...], dtypes: tuple[Any, Any]
) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    host = [rng.standard_normal(z).astype(dtypes[0]), rng.standard_normal(c).astype(dtypes[1])]
    return [*host, rng.random(mask) < 0.5]


SINGLE, DOUBLE, MIXED = (np.float32,) * 2, (np.float64,) * 2, (np.float32, np.float64)


@needs_compiler
@pytest.mark.parametrize(
    ("z", "c", "mask", "dtypes"),
    [
        ((6, 4), (3, 4), (3, 4), SINGLE),
        ((6, 4), (3, 4), (3, 4), DOUBLE),
        ((6, 4), (3, 1), (4,), MIXED),
        ((10, 1), (5, 4), (1, 1), SINGLE),
        ((6,), (3,), (), DOUBLE),
        ((0, 4), (0, 4), (4,), SINGLE),
        ((6, 0), (3, 1), (), DOUBLE),
        ((4, 2, 3), (2, 1, 3), (2, 3), MIXED),
    ],
)
def test_values_are_numpys(gpu: Backend, z: Any, c: Any, mask: Any, dtypes: Any) -> None:
    xs = arguments(z, c, mask, dtypes)
    ys = gpu.compile(KERNEL)(*xs)
    expected = get_backend("cpu").compile(KERNEL)(*xs)
    assert len(HostKernel.made) == 1
    lane = np.broadcast_shapes((z[0] // 2, *z[1:]), c, mask)
    assert [y.shape for y in ys] == [(3 * lane[0], *lane[1:]), lane, lane]
    for y, e in zip(ys, expected, strict=True):
        assert y.dtype == e.dtype
        np.testing.assert_allclose(y, np.broadcast_to(e, y.shape), rtol=3e-6, atol=1e-6)


@needs_compiler
def test_strided_inputs_and_a_last_axis(gpu: Backend) -> None:
    kernel = Kernel(
        "swap",
        (Lanes(("x_0", "x_1"), -1), Lanes(("y",))),
        (Lanes(("d_0", "d_1"), -1), Lanes(("y",))),
        "def swap(xp): pass",
        "T v0 = x_0 * y;\nd_0 = x_1;\nd_1 = v0;\ny = v0;",
    )
    x, y = np.arange(24.0).reshape(6, 4).T, np.arange(3.0) + 1
    swapped, product = gpu.compile(kernel)(x, y)
    np.testing.assert_array_equal(swapped, np.hstack([x[:, 3:], x[:, :3] * y]))
    np.testing.assert_array_equal(product, x[:, :3] * y)


def gates(z: Any, bias: Any, c: Any) -> Any:
    i, f, g, o = z.chunk(4)
    c = mg.sigmoid(f) * c + mg.relu(i + bias) * mg.tanh(g)
    return mg.sigmoid(o) * mg.erf(c), c


def scaled(x: Any, b: Any) -> Any:
    return x * mg.tanh(b), mg.exp(x) / (1.0 + b * b)


def derivatives(f: Any, shapes: list[tuple[int, ...]]) -> list[np.ndarray[Any, Any]]:
    """Outputs, gradients and gradients of gradients."""
    mg.manual_seed(0)
    xs = [mg.randn(s, dtype=mg.float64, device="cpu", requires_grad=True) for s in shapes]
    ys = f(*xs)
    gs = mg.autograd.grad(sum((y * y).sum() for y in ys), xs, create_graph=True)
    hs = mg.autograd.grad(sum((g * g).sum() for g in gs), xs)
    return [t.detach().numpy() for t in (*ys, *gs, *hs)]


@needs_compiler
@pytest.mark.parametrize(
    ("function", "shapes"),
    [
        (gates, [(8, 5), (2, 1), (2, 5)]),
        (gates, [(8, 5), (2, 5), (5,)]),
        (scaled, [(2, 1), (3,)]),
    ],
)
def test_all_that_fuse_derives(
    gpu: Backend, monkeypatch: pytest.MonkeyPatch, function: Any, shapes: Any
) -> None:
    expected = derivatives(function, shapes)
    monkeypatch.setattr(get_backend("cpu"), "compile", gpu.compile)
    computed = derivatives(mg.fuse(function), shapes)
    assert len(HostKernel.made) >= 3
    for y, e in zip(computed, expected, strict=True):
        np.testing.assert_allclose(y, e, rtol=1e-10)


@needs_compiler
def test_one_kernel_for_each_combination_of_dtypes(gpu: Backend) -> None:
    run = gpu.compile(KERNEL)
    for dtypes in [(np.float32, np.float32), (np.float64, np.float64), (np.float32, np.float32)]:
        run(*arguments((6, 4), (3, 4), (4,), dtypes))
        run(*arguments((2,), (1,), (), dtypes))
    assert len(HostKernel.made) == 2


@needs_compiler
def test_integers_go_the_general_way(gpu: Backend) -> None:
    kernel = Kernel(
        "half",
        (Lanes(("x",)),),
        (Lanes(("y",)),),
        "def half(xp):\n    return lambda x: (xp.divide(x, 2),)\n",
        "y = x / (T)2.0;",
    )
    (y,) = gpu.compile(kernel)(np.array([1, 2, 3]))
    assert HostKernel.made == []
    np.testing.assert_array_equal(y, [0.5, 1.0, 1.5])
    (y,) = gpu.compile(kernel)(np.array([1, 2, 3], np.float32))
    assert len(HostKernel.made) == 1
    np.testing.assert_array_equal(y, np.array([0.5, 1.0, 1.5], np.float32))


def text(*dtypes: str) -> Any:
    return elementwise_text(KERNEL, [np.dtype(d) for d in dtypes])


def test_the_text_names_every_lane_with_its_dtype() -> None:
    made = text("float32", "float64", "bool")
    assert made.inputs == "float32 in_z_0, float32 in_z_1, float64 in_c, bool in_mask"
    assert made.outputs == (
        "float64 out_y_0, float64 out_y_1, float64 out_y_2, float64 out_h, bool out_big"
    )
    assert made.name == "minigrad_gates"
    lines = made.body.split("\n")
    assert lines[:5] == [
        "typedef double T;",
        "T z_0 = in_z_0;",
        "T z_1 = in_z_1;",
        "T c = in_c;",
        "bool mask = in_mask;",
    ]
    assert lines[-1] == "out_big = big;"


def test_half_precision_is_computed_in_single() -> None:
    made = text("float16", "float16", "bool")
    assert made.inputs.startswith("float16 in_z_0")
    assert made.outputs.startswith("float16 out_y_0")
    assert made.body.startswith("typedef float T;")


@pytest.mark.parametrize("name", ["<lambda>", "σ", "two words", "plain"])
def test_the_kernels_name_is_an_identifier(name: str) -> None:
    kernel = Kernel(name, KERNEL.inputs, KERNEL.outputs, "", KERNEL.c)
    made = elementwise_text(kernel, [np.dtype(np.float32)] * 3)
    assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", made.name)
