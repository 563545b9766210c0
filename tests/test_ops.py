"""What every op must do, derived from its row in tests/ops_table.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import ops, tape
from minigrad.backend import get_backend
from minigrad.op import Op
from minigrad.ops import Elementwise
from minigrad.testing import gradcheck
from tests.ops.c_kernels import COMPILER, Library
from tests.ops.row import EMPTY, Case, Row
from tests.ops.values import LAYOUTS, flat, host, tensors
from tests.ops_table import ELEMENTWISE, ROWS

# There are some hundred rows: few examples of each are many.
FEW = settings(max_examples=max(2, settings.default.max_examples // 5))

every = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
every_smooth = pytest.mark.parametrize(
    "row", [row for row in ROWS if row.smooth], ids=lambda row: row.name
)
every_elementwise = pytest.mark.parametrize(
    "row",
    [row for row in ELEMENTWISE if isinstance(row.function, Elementwise)],
    ids=lambda row: row.name,
)


def assert_same(found: Any, expected: Any, rtol: float = 1e-12) -> None:
    for a, b in zip(host(found), host(expected), strict=True):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


def recorded(y: Any) -> list[mg.Tensor]:
    return [part for part in flat(y) if isinstance(part, mg.Tensor) and part.requires_grad]


# ---- values ----------------------------------------------------------------------------------


@every
@FEW
@given(data=st.data())
def test_value(row: Row, data: st.DataObject) -> None:
    """As NumPy's: from tensors in any memory layout, recorded or not, and from bare arrays."""
    xs, params = data.draw(row.cases())
    plain = row.run(tensors(xs), params)
    assert_same(plain, row.reference(*xs, **params))
    strided = tensors(xs, data.draw(st.sampled_from(LAYOUTS)))
    assert_same(row.run(strided, params), plain)
    bare = row.run([x.data for x in tensors(xs)], params)
    assert not any(isinstance(part, mg.Tensor) for part in flat(bare))
    for y, *others in zip(
        host(plain), host(bare), host(row.run(tensors(xs, grad=True), params)), strict=True
    ):
        assert all(np.array_equal(y, other, equal_nan=y.dtype.kind == "f") for other in others)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.function is not mg.cast], ids=lambda row: row.name
)
@FEW
@given(data=st.data())
def test_float32_stays_float32(row: Row, data: st.DataObject) -> None:
    """In the value, and in the cotangents before anything casts them."""
    xs, params = data.draw(row.cases())
    narrow = [x.astype(np.float32) if x.dtype == np.float64 else x for x in xs]
    y = row.run(tensors(narrow, grad=True), params)
    with np.errstate(all="ignore"):
        expected = host(row.reference(*narrow, **params))
    for found, of_numpy in zip(host(y), expected, strict=True):
        assert found.dtype == (np.float32 if of_numpy.dtype.kind == "f" else of_numpy.dtype)
        np.testing.assert_allclose(found, of_numpy, rtol=2e-5, atol=2e-5)
    seeds = [(part.edge, part.backend.ones(part.shape, part.dtype)) for part in recorded(y)]
    for g in tape.sweep(seeds).values():
        assert g.dtype == np.float32


@every
@FEW
@given(data=st.data())
def test_without_elements(row: Row, data: st.DataObject) -> None:
    """Arguments with axes of extent 0 give what NumPy gives, or raise as it does."""
    xs, params = data.draw(row.cases(EMPTY))
    leaves = tensors(xs, grad=True)
    try:
        expected = row.reference(*xs, **params)
    except ValueError:
        with pytest.raises(ValueError, match=r"empty|no elements|zero"):
            row.run(leaves, params)
        return
    y = row.run(leaves, params)
    assert_same(y, expected)
    outputs = recorded(y)
    if outputs:
        mg.autograd.backward(outputs, [mg.ones_like(part) for part in outputs])
        for x in leaves:
            if x.requires_grad:
                assert x.grad is None or x.grad.shape == x.shape


# ---- gradients -------------------------------------------------------------------------------


@every_smooth
@FEW
@given(data=st.data())
def test_gradient(row: Row, data: st.DataObject) -> None:
    """To second order, for inputs in any memory layout, and when only some outputs are used."""
    xs, params = data.draw(row.cases())
    leaves = tensors(xs, data.draw(st.sampled_from(LAYOUTS)), grad=True)
    outputs = len(recorded(row.run(leaves, params)))
    assume(outputs > 0)
    used = data.draw(st.sets(st.integers(0, outputs - 1), min_size=1))

    def some(*args: Any) -> list[Any]:
        floats = [y for y in flat(row.run(args, params)) if y.dtype.kind == "f"]
        return [floats[k] for k in sorted(used)]

    gradcheck(some, leaves, order=2)


def test_ties_share_the_gradient() -> None:
    """The conventions at kinks, as in PyTorch."""

    def gradients(y: mg.Tensor, *xs: mg.Tensor) -> list[Any]:
        return [g.tolist() for g in mg.autograd.grad(y.sum(), xs)]

    def leaf(*values: float) -> mg.Tensor:
        return mg.tensor(values, requires_grad=True)

    a, b = leaf(1.0, 2.0, 3.0), leaf(1.0, 3.0, 2.0)
    assert gradients(mg.maximum(a, b), a, b) == [[0.5, 0.0, 1.0], [0.5, 1.0, 0.0]]
    assert gradients(mg.minimum(a, b), a, b) == [[0.5, 1.0, 0.0], [0.5, 0.0, 1.0]]
    x = leaf(2.0, 1.0, 2.0, 0.0)
    assert gradients(x.amax(), x) == [[0.5, 0.0, 0.5, 0.0]]
    assert gradients(x.max(), x) == [[0.5, 0.0, 0.5, 0.0]]
    assert gradients(x.max(dim=0).values, x) == [[1.0, 0.0, 0.0, 0.0]]
    assert gradients((-x).amin(), x) == [[-0.5, 0.0, -0.5, 0.0]]
    x = leaf(-1.0, 0.0, 0.5, 1.0, 2.0)
    assert gradients(x.clamp(0.0, 1.0), x) == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    x = leaf(-1.0, 0.0, 1.0)
    assert gradients(x.relu(), x) == [[0.0, 0.0, 1.0]]
    assert gradients(x.abs(), x) == [[-1.0, 0.0, 1.0]]
    x = leaf(0.0, 0.0)
    assert gradients(x.norm(), x) == [[0.0, 0.0]]
    assert gradients(x.std(), x) == [[0.0, 0.0]]
    assert gradients(x**0, x) == [[0.0, 0.0]]
    assert gradients(x**2, x) == [[0.0, 0.0]]


def test_where_nothing_is_left_it_is_zero_and_not_nan() -> None:
    """An empty or fully masked reduction gives 0 with gradient 0."""
    inf = float("inf")
    x = mg.full((2, 3), -inf, requires_grad=True)
    for y in (x.softmax(-1), x.logsumexp(-1)):
        assert mg.autograd.grad(y, x, mg.ones_like(y))[0].tolist() == [[0.0] * 3] * 2
    assert x.softmax(-1).tolist() == [[0.0] * 3] * 2
    empty = mg.zeros(0, 3, requires_grad=True)
    assert empty.mean(0).tolist() == [0.0] * 3
    assert empty.mean().item() == 0.0


def test_norm_takes_p_first_as_in_pytorch() -> None:
    x = mg.tensor([[3.0, -4.0], [0.0, 0.0]], requires_grad=True)
    assert x.norm(1).item() == 7.0
    assert x.norm(float("inf"), 1).tolist() == [4.0, 0.0]
    assert mg.autograd.grad(x.norm(3, 1)[1], x)[0].tolist() == [[0.0, 0.0]] * 2
    with pytest.raises(ValueError, match="p must be positive"):
        x.norm(-1)


def test_the_gradient_of_logsumexp_at_nan_is_nan() -> None:
    x = mg.tensor([float("nan"), 1.0, 2.0], requires_grad=True)
    (g,) = mg.autograd.grad(x.logsumexp(-1), x)
    assert mg.isnan(g).all()


# ---- fused -----------------------------------------------------------------------------------


def fused(function: Any, arguments: int) -> Any:
    """The op as a fused function of its own."""
    parameters = ", ".join("abc"[:arguments])
    return mg.fuse(eval(f"lambda {parameters}: function({parameters})", {"function": function}))


@every_elementwise
@FEW
@given(data=st.data())
def test_fused_is_eager(row: Row, data: st.DataObject) -> None:
    xs, params = data.draw(row.cases())
    function = fused(row.function, len(xs))
    assert_same(function(*tensors(xs)), row.run(tensors(xs), params))
    if row.smooth:
        gradcheck(function, tensors(xs, data.draw(st.sampled_from(LAYOUTS)), grad=True), order=2)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The forward and backward kernels of every elementwise op, as C."""
    if COMPILER is None:
        pytest.skip("there is no C compiler (cc)")
    kernels, booleans = {}, {}
    for row in ELEMENTWISE:
        if isinstance(row.function, Elementwise):
            xs = example(row).xs
            op = fused(row.function, len(xs)).op
            kernels[row.name] = op.kernel()
            truths = {"abc"[k] for k, x in enumerate(xs) if x.dtype == np.bool_}
            booleans[row.name] = truths
            if row.smooth:
                present = [k == 0 for k in range(len(op.full.outputs))]
                back = op.pullback(present, [x.dtype == np.float64 for x in xs])
                kernels[f"{row.name} backward"] = back.kernel()
                booleans[f"{row.name} backward"] = truths
    return Library(kernels, tmp_path_factory.mktemp("kernels"), booleans)


def example(row: Row) -> Case:
    """One case of a row, always the same."""
    found: list[Case] = []

    @settings(max_examples=1, derandomize=True, database=None)
    @given(case=row.cases())
    def keep(case: Case) -> None:
        found.append(case)

    keep()
    return found[0]


@every_elementwise
@FEW
@given(data=st.data())
def test_c_text_is_numpy(row: Row, library: Library, data: st.DataObject) -> None:
    """The statements that a GPU runs compute what the NumPy calls compute."""
    xs, _ = data.draw(row.cases())
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    xs = [np.broadcast_to(x, shape) for x in xs]
    check_kernel(library, row.name, dict(zip("abc", xs, strict=False)))
    if row.smooth:
        back = f"{row.name} backward"
        forward = library.kernels[row.name]
        op = fused(row.function, len(xs)).op
        ys = host(op.saving_forward(get_backend("cpu"), *xs))
        named = dict(zip("abc", xs, strict=False)) | dict(
            zip([lanes.names[0] for lanes in op.kernel(saving=True).outputs], ys, strict=True)
        )
        named["g_" + forward.outputs[0].names[0]] = np.cos(np.arange(ys[0].size)).reshape(shape)
        check_kernel(library, back, named)


def check_kernel(library: Library, name: str, named: dict[str, np.ndarray]) -> None:
    kernel = library.kernels[name]
    lanes = [np.asarray(named[lanes.names[0]]) for lanes in kernel.inputs]
    of_c = library(name, [x.astype(np.float64) for x in lanes])
    of_numpy = get_backend("cpu").compile(kernel)(*lanes)
    for a, b in zip(of_c, of_numpy, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


# ---- nothing is left out ---------------------------------------------------------------------


def public_functions() -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(ops).items()
        if isinstance(value, Op) or inspect.isfunction(value)
    }


def op_objects() -> Iterator[tuple[str, Op]]:
    """Every op that a module of minigrad.ops holds, the private ones too, by name."""
    seen: set[int] = set()
    for info in pkgutil.walk_packages(ops.__path__, f"{ops.__name__}."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if isinstance(value, Op) and id(value) not in seen:
                seen.add(id(value))
                yield f"{info.name}.{name}", value


def test_every_public_function_has_a_row() -> None:
    covered = {id(row.function) for row in ROWS}
    assert [n for n, function in public_functions().items() if id(function) not in covered] == []


def test_every_rule_of_every_op_is_run_by_some_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of private ops that only a second derivative meets."""
    unused: set[str] = set()

    def watched(function: Any, label: str) -> Any:
        def run(*args: Any, **params: Any) -> Any:
            unused.discard(label)
            return function(*args, **params)

        unused.add(label)
        return run

    for name, op in op_objects():
        monkeypatch.setattr(op, "forward", watched(op.forward, name))
        monkeypatch.setattr(op, "saving_forward", op.forward)
        rules = [
            rule if rule.__name__ == "_none" else watched(rule, f"{name}.rules[{k}]")
            for k, rule in enumerate(op.rules)
        ]
        monkeypatch.setattr(op, "rules", tuple(rules))
    for row in ROWS:
        run_once(row)
    assert sorted(unused) == []


def run_once(row: Row) -> None:
    @settings(max_examples=5, derandomize=True, database=None)
    @given(case=row.cases())
    def run(case: Case) -> None:
        for y in recorded(row.run(tensors(case.xs, grad=True), case.params))[:1]:
            y.backward(mg.ones_like(y))
            if row.smooth:
                leaves = tensors(case.xs, grad=True)
                gradcheck(lambda *xs: row.run(xs, case.params), leaves, order=2)

    run()
