"""Native kernels give the plain path's numbers, wherever an element stands, or leave it to that."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import array_types, library, native
from minigrad.backend.numpy_ import NumpyBackend
from minigrad.fuse import Fused, FusedOp

CPU = array_types[np.ndarray]
TOLERANCE: dict[Any, dict[str, float]] = {
    np.float32: {"rtol": 2e-5, "atol": 2e-6},
    np.float64: {"rtol": 1e-12, "atol": 1e-13},
}


def _compiler() -> str | None:
    try:
        return library.compiler()
    except RuntimeError:
        return None


pytestmark = [
    pytest.mark.skipif(_compiler() is None, reason="needs a C compiler"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

FUNCTIONS = {
    f"{one.function.__module__.removeprefix('minigrad.')}.{one.function.__name__}": one
    for one in gc.get_objects()
    if isinstance(one, Fused) and one.function.__module__.startswith("minigrad.")
}


@pytest.fixture
def on() -> Iterator[None]:
    """Native kernels, for this test."""
    before = CPU.native
    mg.use_native()
    yield
    mg.use_native(before)


def both(op: FusedOp, saving: bool) -> list[Any]:
    """An op's function of arrays, compiled and plain."""
    backends = [NumpyBackend(), NumpyBackend()]
    backends[0].native = True
    return [xp.compile(op.kernel(saving)) for xp in backends]


def is_native(run: Any) -> bool:
    return run.__code__.co_filename.startswith("<native")


def inputs(op: FusedOp, shape: tuple[int, int], dtype: Any) -> list[np.ndarray]:
    """Arrays whose lanes all have the shape, the first as long as it is where it has chunks."""
    rng = np.random.default_rng(0)
    drawn: list[np.ndarray] = []
    for lanes in op.kernel().inputs:
        assert lanes.dim in (None, 0)
        rows = shape[0] * len(lanes.names)
        drawn.append(rng.uniform(-2, 2, (rows, shape[1])).astype(dtype))
    return drawn


def columns(xs: list[np.ndarray], part: slice) -> list[np.ndarray]:
    return [x[:, part] for x in xs]


def ops_of(function: Fused) -> list[tuple[FusedOp, bool]]:
    """The forward op, saving, and the backward op."""
    op = function.op
    hidden = len(op.full.outputs) - len(op.program.outputs)
    present = [True] * len(op.program.outputs) + [False] * hidden
    return [(op, True), (op.pullback(present, [True] * len(op.program.inputs)), False)]


def test_every_function_is_found() -> None:
    assert len(FUNCTIONS) > 30
    assert "nn.cells.lstm.lstm_gates" in FUNCTIONS


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_fused_function(name: str) -> None:
    for op, saving in ops_of(FUNCTIONS[name]):
        compiled, plain = both(op, saving)
        assert is_native(compiled)
        for dtype, tolerance in TOLERANCE.items():
            xs = inputs(op, (5, 23), dtype)
            ours = compiled(*xs)
            for y, z in zip(ours, plain(*xs), strict=True):
                assert (y.shape, y.dtype) == (z.shape, z.dtype)
                np.testing.assert_allclose(y, z, **tolerance)
            # an element alone, elsewhere, in a smaller batch, in another layout: to the bit
            for part in (slice(7, 8), slice(3, 20), slice(22, None, -1), slice(0, 23, 4)):
                found = compiled(*columns(xs, part))
                for y, z in zip(found, columns(list(ours), part), strict=True):
                    np.testing.assert_array_equal(y, z)
            copies = compiled(*map(np.asfortranarray, xs))
            for y, z in zip(copies, ours, strict=True):
                np.testing.assert_array_equal(y, z)


SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 88.0, -104.0, 1e-30, 0.1, -7.5]
ONE = "tanh sigmoid exp log log1p expm1 sqrt sin cos atan erf abs sign floor round relu square"
TWO = "add sub mul div pow remainder floor_divide logaddexp maximum minimum"


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_nan_and_infinity(dtype: Any) -> None:
    pairs = np.meshgrid(np.array(SPECIAL, dtype), np.array(SPECIAL, dtype))
    x, y = (np.ascontiguousarray(a.ravel()) for a in pairs)

    def ones(a: Any) -> Any:
        return tuple(getattr(mg.ops, name)(a) * 1.0 for name in ONE.split())

    def twos(a: Any, b: Any) -> Any:
        return tuple(getattr(mg.ops, name)(a, b) for name in TWO.split())

    def chosen(a: Any, b: Any) -> Any:
        picked = mg.where(a > b, -math.inf, mg.where(mg.isnan(b), math.nan, a))
        return picked, mg.where(a, b, math.inf)

    for function, xs in ((ones, (x,)), (twos, (x, y)), (chosen, (x, y))):
        compiled, plain = both(mg.fuse(function).op, saving=False)
        assert is_native(compiled)
        for found, wanted in zip(compiled(*xs), plain(*xs), strict=True):
            np.testing.assert_allclose(found, wanted, **TOLERANCE[dtype])


NAMES = "LANES OF T i n true linux unix logf exp log restrict loop plain xp few u_a int8_t M_PI "
NAMES += "shape dtype r0 x0 whole0 y0 in0 out0"


@pytest.mark.parametrize("name", NAMES.split())
def test_names_that_the_texts_use_themselves(name: str) -> None:
    scope: dict[str, Any] = {"mg": mg}
    text = f"def f({name}, other):\n    v = mg.named({name}_=mg.log({name} * 2))\n"
    exec(f"{text}    return v + mg.exp(other), {name} + v * v", scope)
    x = np.linspace(0.5, 2, 40)
    compiled, plain = both(mg.fuse(scope["f"]).op, saving=True)
    assert is_native(compiled)
    for y, z in zip(compiled(x, x), plain(x, x), strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-12)


@mg.fuse
def mixture(gates: Any, c: Any, w: Any) -> Any:
    a, b = gates.chunk(2, 1)
    return mg.tanh(a) * c + b * w, mg.sigmoid(c) * w


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize(
    ("shape", "weight"),
    [((3, 4), (3, 4)), ((3, 4), (3, 1)), ((0, 4), (0, 4)), ((3, 0), (1, 1)), ((2, 3, 4), (3, 1))],
)
def test_chunks_and_broadcasting(shape: tuple[int, ...], weight: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    gates = rng.standard_normal((shape[0], 2 * shape[1], *shape[2:]))
    xs = [
        mg.tensor(x, requires_grad=True, device="cpu")
        for x in (gates, rng.standard_normal(shape), rng.standard_normal(weight))
    ]
    found: list[list[Any]] = []
    for native_on in (True, False):
        mg.use_native(native_on)
        ys = mixture(*xs)
        total = ys[0].sum() + ys[1].square().sum()
        first = mg.autograd.grad(total, xs, create_graph=True)
        second = mg.autograd.grad(sum(g.square().sum() for g in first), xs)
        found.append([y.detach().numpy() for y in (*ys, *first, *second)])
    for y, z in zip(*found, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-11, atol=1e-12)


@mg.fuse
def masked(x: Any, mask: Any) -> Any:
    return mg.where(mask & (x > 0), x, 0.5 * x), x > 0


@mg.fuse
def swish(x: Any, y: Any) -> Any:
    return x * mg.sigmoid(y)


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize(
    "make",
    [
        lambda x: swish(x, x.astype(np.float32)),
        lambda x: swish(x, 2.0),
        lambda x: swish(x.astype(np.float16), x.astype(np.float16)),
        lambda x: swish(x.astype(np.int64), x.astype(np.int64)),
        lambda x: swish(x[0, 0], x[0, 1]),
        lambda x: swish(np.asarray(x[0, 0]), np.asarray(x[0, 1])),
        lambda x: swish(x[::2, 1::3], x[1::2, ::3]),
        lambda x: swish(x.astype(x.dtype.newbyteorder()), x.astype(x.dtype.newbyteorder())),
        lambda x: swish(np.broadcast_to(x[:1], x.shape), x),
        lambda x: masked(x, x < 1),
        lambda x: mixture(np.concatenate([x, x], 1), x, x.T.copy().T),
    ],
)
def test_what_does_not_fit_runs_as_before(make: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, 6))
    found = []
    for native_on in (True, False):
        mg.use_native(native_on)
        ys = make(x)
        found.append(ys if isinstance(ys, tuple) else (ys,))
    for y, z in zip(*found, strict=True):
        assert (np.asarray(y).shape, y.dtype) == (np.asarray(z).shape, z.dtype)
        np.testing.assert_allclose(y, z, rtol=1e-6)


def test_more_lanes_than_a_ufunc_takes() -> None:
    names = ", ".join(f"a{k}" for k in range(native.MOST_LANES))
    scope: dict[str, Any] = {"mg": mg}
    exec(f"def f({names}):\n    return mg.tanh({names.replace(', ', ' + ')})", scope)
    compiled, _ = both(mg.fuse(scope["f"]).op, saving=False)
    assert not is_native(compiled)
    (y,) = compiled(*[np.full(3, 0.01)] * native.MOST_LANES)
    np.testing.assert_allclose(y, np.tanh(0.32))


def test_switching_on_and_off() -> None:
    op, x = swish.op, np.linspace(-1, 1, 20)
    before = CPU.native
    try:
        mg.use_native()
        assert is_native(op.compiled(CPU, saving=False))
        mg.use_native(False)
        assert not is_native(op.compiled(CPU, saving=False))
    finally:
        mg.use_native(before)
    np.testing.assert_allclose(swish(x, x), x / (1 + np.exp(-x)), rtol=1e-12)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    before = CPU.native
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(RuntimeError, match="no `no-such-compiler`: install one"):
        mg.use_native()
    assert CPU.native == before


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="C compiler failed"):
        both(swish.op, saving=False)
    assert not any((tmp_path / "minigrad" / "native").iterdir())


def test_builders_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found: list[Any] = []
    x = np.linspace(-1, 1, 20)

    def build() -> None:
        found.append(both(swish.op, saving=False)[0](x, x)[0])

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all((y == found[0]).all() for y in found)
    assert [p.suffix for p in (tmp_path / "minigrad" / "native").iterdir()] == [".so"]


@pytest.mark.parametrize("how", ["no folder", "not writable"])
def test_a_home_that_is_read_only(
    how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    if how == "no folder":
        home.touch()  # where nobody can make a folder
    else:
        monkeypatch.setattr(os, "access", lambda path, _: home not in Path(path).parents)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    compiled, _ = both(swish.op, saving=False)
    x = np.linspace(-1, 1, 20)
    np.testing.assert_allclose(compiled(x, x)[0], x / (1 + np.exp(-x)), rtol=1e-12)
    assert not list(tmp_path.rglob("*.so"))


def test_the_variable_switches_it_on() -> None:
    code = "import minigrad as mg; print(mg.ones(1).backend.native)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MINIGRAD_NATIVE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"
