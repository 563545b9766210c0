"""A compiled function equals the function, in values and gradients of both orders."""

from __future__ import annotations

import copy
import re
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.testing import gradcheck
from tests import nn_table
from tests.ops.row import Row
from tests.ops.values import LAYOUTS, flat, host, tensors
from tests.ops_table import ROWS

FEW = settings(max_examples=max(2, settings.default.max_examples // 10))

# They read values on the way: indices, or which of several is the largest.
LOOKING = {"getitem", "gather", "index_select", "sort", "topk", "max", "min"}

COTANGENT = re.compile(r"\bg\d+\b")
Pair = namedtuple("Pair", "first second")


def weight(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


def assert_equal(found: Any, expected: Any) -> None:
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert (a.dtype, a.requires_grad) == (b.dtype, b.requires_grad)
        (x,), (y,) = host(a), host(b)
        np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-12)


def gradients(loss: mg.Tensor, *leaves: mg.Tensor) -> list[Any]:
    return [g.tolist() for g in mg.autograd.grad(loss, leaves)]


# ---- equal to what was not compiled --------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in ROWS if row.smooth], ids=lambda row: row.name)
@FEW
@given(data=st.data())
def test_every_op(row: Row, data: st.DataObject) -> None:
    """Written down for one layout in memory, and run for another."""
    xs, params = data.draw(row.cases())
    layouts = data.draw(st.permutations(LAYOUTS))[:2]
    first, leaves = (tensors(xs, layout, grad=True) for layout in layouts)
    compiled = mg.compile(partial(run, row, params))
    try:
        compiled(*first)
    except RuntimeError:
        assert row.function.__name__ in LOOKING
        return
    found = compiled(*leaves)
    assert_equal(found, row.run(leaves, params))
    assume(any(y.requires_grad for y in flat(found)))
    gradcheck(lambda *args: floats(compiled(*args)), leaves, order=2)


def run(row: Row, params: dict[str, Any], *xs: Any) -> Any:
    return row.run(xs, params)


def floats(ys: Any) -> list[Any]:
    return [y for y in flat(ys) if y.dtype.kind == "f"]


@pytest.mark.parametrize("row", nn_table.ROWS + nn_table.VARIANTS, ids=lambda row: row.name)
def test_every_cell_as_a_step(row: nn_table.Row) -> None:
    cell = row.cell(2, 3).double()
    step = mg.compile(cell)
    x, state = mg.randn(2, 2, dtype=mg.float64), None
    with mg.no_grad():
        expected = found = cell(x)
        for _ in range(3):
            expected, found = cell(x, expected), step(x, found)
        assert_equal(found, expected)
    state = tuple(weight(*part.shape) for part in flat(found))

    def steps(x: mg.Tensor, *state: mg.Tensor) -> list[mg.Tensor]:
        state = state[0] if len(state) == 1 else state
        for _ in range(2):
            state = step(x, state)
        return list(flat(state))

    assert gradcheck(steps, (x.requires_grad_(), *state), order=2 if row.smooth else 1)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_layers_and_what_follows_them(layer: Any) -> None:
    model = layer(2, 3, num_layers=2, bidirectional=True).double()
    head, x = nn.Linear(6, 4).double(), weight(4, 2, 2)
    target = mg.randint(0, 4, (4, 2))

    def loss(x: mg.Tensor, target: mg.Tensor) -> mg.Tensor:
        y, _ = model(x)
        return F.cross_entropy(head(y).flatten(0, 1), target.flatten())

    leaves = (x, *model.parameters(), *head.parameters())
    expected, found = loss(x, target), mg.compile(loss)(x, target)
    assert_equal(found, expected)
    for a, b in zip(gradients(found, *leaves), gradients(expected, *leaves), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_ignored_targets_that_only_a_later_call_brings() -> None:
    loss, x = mg.compile(F.cross_entropy), weight(3, 4)
    for target in ([0, 1, 3], [0, -100, 3], [-100, -100, -100]):
        t = mg.tensor(target)
        assert_equal(loss(x, t), F.cross_entropy(x, t))
    with pytest.raises(IndexError, match="from 0 to 4"):
        loss(x, mg.tensor([0, 1, 4]))


def test_a_loop_with_transposes_at_every_step() -> None:
    w, u, b = weight(3, 3), weight(2, 3), weight(3)

    def loop(x: mg.Tensor) -> mg.Tensor:
        h = mg.zeros(2, 3, dtype=mg.float64)
        for x_t in x:
            h = mg.tanh(x_t @ u + h @ w.T + b)
        return h

    x, compiled = weight(5, 2, 2), mg.compile(loop)
    assert_equal(compiled(x), loop(x))
    leaves = (x, w, u, b)
    for a, c in zip(
        gradients(compiled(x).sum(), *leaves), gradients(loop(x).sum(), *leaves), strict=True
    ):
        np.testing.assert_allclose(a, c, rtol=1e-12)
    assert compiled.source.count("def ") == 2


def test_a_chain_longer_than_python_s_stack() -> None:
    w = mg.eye(2)

    def chain(x: mg.Tensor) -> mg.Tensor:
        first, y = mg.exp(x), x
        for _ in range(1200):
            y = y @ w
        return first * 2.0 + y  # one kernel with the first line, which waits for all products

    x = mg.ones(3, 2, requires_grad=True)
    found = gradients(mg.compile(chain)(x).sum(), x)
    np.testing.assert_allclose(found, gradients(chain(x).sum(), x), rtol=1e-6)


def test_products_of_steps_that_wait_for_each_other() -> None:
    """As one product: of Wᵀ, too, through which they are carried."""
    w = weight(3, 3)
    step = mg.compile(lambda h: mg.tanh(h @ w.T))
    h = mg.ones(1, 3, dtype=mg.float64)
    for _ in range(4):
        h = step(h)
    settled: list[int] = []
    matmul = mg.ops.contract.matmul_op
    whole, matmul._settle = matmul._settle, lambda into, waiting: (
        settled.append(len(waiting)) or whole(into, waiting)
    )  # fmt: skip
    try:
        h.sum().backward()
    finally:
        matmul._settle = whole
    assert settled == [4]


def test_structures_of_arguments_and_results() -> None:
    @mg.compile
    def function(pair: Any, *, scale: float, parts: Any) -> Any:
        a, (b, none) = pair
        assert none is None
        return {"sum": a + b, "rest": [a * scale, Pair(parts["c"], "text")], "n": a.shape[0]}

    a, b, c = mg.ones(2), mg.full(2, 2.0), mg.full(3, 5.0)
    for scale in (2.0, 3.0):
        found = function((a, (b, None)), scale=scale, parts={"c": c})
        assert found["sum"].tolist() == [3.0, 3.0]
        assert found["rest"][0].tolist() == [scale, scale]
        assert isinstance(found["rest"][1], Pair)
        assert found["rest"][1].first.tolist() == [5.0] * 3
        assert found["rest"][1].second == "text"
        assert found["n"] == 2


def test_numbers_are_told_apart_by_what_they_are() -> None:
    @mg.compile
    def function(x: mg.Tensor, k: Any) -> mg.Tensor:
        return x * k if isinstance(k, float) else x / k

    x = mg.tensor([2.0])
    assert [function(x, k).item() for k in (1.0, 1, True, 4, 4.0)] == [2.0, 2.0, 2.0, 0.5, 8.0]
    sign = mg.compile(lambda x, zero: x / zero)
    with np.errstate(divide="ignore"):
        assert [sign(x, zero).item() for zero in (0.0, -0.0)] == [np.inf, -np.inf]


def test_compiled_within_compiled_and_within_a_scan() -> None:
    w = weight(3, 3)
    inner = mg.compile(lambda h: mg.tanh(h @ w))
    outer = mg.compile(lambda h: inner(h) + h)
    h = weight(2, 3)
    assert_equal(outer(h), mg.tanh(h @ w) + h)
    inner(h)  # its own code does not disturb the outer's
    assert_equal(outer(h), mg.tanh(h @ w) + h)
    xs = mg.randn(4, 2, 3, dtype=mg.float64)
    last, _ = mg.scan(lambda h, x: (outer(h) + x, x), h, xs)
    for x in xs:
        h = outer(h) + x
    assert_equal(last, h)


def test_results_that_are_arguments_do_not_change_with_them() -> None:
    w = nn.Parameter(mg.ones(2, 3))
    function = mg.compile(lambda x: (w, w.T[0], x, x.reshape(3)))
    x = mg.zeros(1, 3)
    ys = function(x)
    before = [y.tolist() for y in ys]
    w.copy_(mg.zeros(2, 3))
    x.copy_(mg.ones(1, 3))
    assert [y.tolist() for y in ys] == before


def test_a_parameter_that_is_written_between_forward_and_backward_is_noticed() -> None:
    layer = nn.Linear(2, 2)
    y = mg.compile(layer)(mg.ones(1, 2))
    layer.weight.copy_(mg.zeros(2, 2))
    with pytest.raises(RuntimeError, match="stale graph"):
        y.sum().backward()


def test_only_what_is_asked_for_is_computed() -> None:
    layer = nn.Linear(2, 2)
    compiled, x = mg.compile(layer), mg.ones(3, 2, requires_grad=True)
    (op,) = [compiled(x).edge[0].op]
    (g,) = mg.autograd.grad(compiled(x).sum(), x)
    assert_equal(g, mg.ones(3, 2) @ layer.weight.detach())
    (needs,) = [needs for _, needs in op._back]
    assert needs == (True, False, False)


def test_cotangents_are_let_go_when_nothing_reads_them() -> None:
    """Also those that a rule gives besides the ones asked for: here, that of x."""
    x, w, b = mg.ones(3, 4), mg.ones(4, requires_grad=True), mg.ones(4, requires_grad=True)
    compiled = mg.compile(lambda x, w, b: mg.tanh(F.layer_norm(x * 2.0, (4,), w * 2.0, b)))
    y = compiled(x, w, b)
    *lines, last = y.edge[0].op._pulled((True,), (False, True, True)).source.splitlines()
    made = {name for line in lines for name in COTANGENT.findall(line.partition(" = ")[0])}
    let_go = {name for line in lines if "del " in line for name in COTANGENT.findall(line)}
    assert made - let_go == {*COTANGENT.findall(last)}


def test_its_code_can_be_read_and_a_copy_has_its_own() -> None:
    step = mg.compile(nn.RNNCell(2, 2))
    step(mg.ones(1, 2))
    assert "def forward(_xp, x0, c" in step.source
    assert "def backward(gs, ys, xs):" in step.source
    assert repr(step) == "<compiled RNNCell>"
    twin = copy.deepcopy(step)
    assert twin.source == ""
    assert twin.__wrapped__ is not step.__wrapped__
    assert_equal(twin(mg.ones(1, 2)), step(mg.ones(1, 2)))
