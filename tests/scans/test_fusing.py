"""The elementwise lines of a step become kernels, and nothing else does."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.fuse import FusedOp
from minigrad.scans import scan
from minigrad.scans.fusing import fused
from minigrad.scans.groups import MOST
from minigrad.scans.op import VARIANTS, loops_of
from tests.scans.test_steps import B, H, T, c, draw, flat, s, same, w

(xs,) = draw(1, (T, H, B))
(gates_x, big) = draw(2, (T, 4 * H, B), (4 * H, H))


def op_of(step, init, xs):
    """The op that a scan became."""
    return flat(scan(step, init, xs))[0].edge[0].op


def lines_of(step, init, xs):
    """The ops that the loop over a step runs."""
    return [line.op for line in fused(op_of(step, init, xs).step, native=False, numbers=True).lines]


def lstm_in_plain_ops(state, p):
    h, c = state
    i, f, g, o = mg.affine(big, h, p).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * c.tanh()
    return (h, c), h


def test_a_cell_in_plain_ops_is_a_product_and_a_kernel():
    affine, gates = lines_of(lstm_in_plain_ops, (s, c), gates_x)
    assert affine.name == "affine"
    assert isinstance(gates, FusedOp)
    assert [len(group.refs) for group in gates.program.inputs] == [4, 1]
    assert len(gates.program.outputs) == 2
    same(lstm_in_plain_ops, (s, c), gates_x, [big, s, c, gates_x])


def test_steps_that_do_the_same_share_their_kernels():
    def wider(state, p):
        return lstm_in_plain_ops(state, mg.cat([p, p], dim=1))

    one = lines_of(lstm_in_plain_ops, (s, c), gates_x)[-1]
    assert one is lines_of(wider, (mg.zeros(H, 2 * B).double(),) * 2, gates_x)[-1]


def test_no_kernel_reaches_over_a_product():
    def step(h, p):
        r = mg.sigmoid(h + p)
        h = (1 - r) * h + r * mg.tanh(mg.affine(w, r * h, p))
        return h, h

    assert [op.name for op in lines_of(step, s, xs)] == ["elementwise", "affine", "elementwise"]
    same(step, s, xs, [w, s, xs])


def test_kernels_that_only_feed_products_stay_apart():
    """a → product → b and c → product → d, and a, c feed d, b: two kernels could be a circle."""

    def step(h, p):
        a, other = mg.tanh(h), mg.exp(-p * p)
        b = mg.sigmoid(w @ a) * other
        d = mg.sigmoid(w @ other) * a
        return b + d, b

    same(step, s, xs, [w, s, xs])


def test_what_a_step_has_stopped_is_no_part_of_a_kernel():
    def step(h, p):
        with mg.no_grad():
            scale = mg.exp(-h * h)
        h = mg.tanh(scale * h + p)
        return h, h

    same(step, s, xs, [s, xs])


def test_uneven_pieces_and_pieces_that_others_read():
    def step(h, p):
        first, rest = p.split([1, H - 1])
        a, b, third = h.chunk(H)
        h = mg.cat([mg.tanh(a + first), mg.tanh(mg.cat([b, third]) * rest)])
        return h, a * b

    same(step, s, xs, [s, xs])


def test_values_nobody_reads():
    def step(h, p):
        _ = mg.exp(h + p)
        return h + p, p

    same(step, s, xs, [s, xs])


def test_a_gradient_stopped_between_a_value_and_its_pieces():
    def step(h, p):
        with mg.no_grad():
            a, b = p.chunk(2)
        h = mg.tanh(a * h + b)
        return h, h

    (wide,) = draw(3, (T, 2 * H, B))
    same(step, s, wide, [s, wide])


def test_a_kernel_has_its_limits():
    """A compiler would take minutes for one of a thousand lines."""

    def step(h, p):
        for _ in range(MOST):
            h = mg.tanh(h * p)
        return h, h

    assert len(lines_of(step, s, xs)) == 2
    same(step, s, xs, [s, xs])


def test_lines_that_nobody_reads_in_the_end():
    def step(h, p):
        a, b, _ = mg.cat([p, h, p]).chunk(3)
        _ = mg.exp(_) @ big[:B, :1]
        return a + b, a

    assert [op.name for op in lines_of(step, s, xs)] == ["cat", "split", "add"]
    same(step, s, xs, [s, xs])


def faded(k, h, p):
    h = mg.tanh(k * h + p)
    return h, h


def test_numbers_that_are_new_each_time_are_no_part_of_kernels(monkeypatch):
    """For each would be compiled again."""
    monkeypatch.setattr("minigrad.scans.op._variants", {})
    counts = []
    for k in range(VARIANTS + 2):
        op = op_of(functools.partial(faded, 0.3 + k / 100), s, xs)
        counts.append(len(loops_of(op.step, s.backend).step.lines))
    assert counts == VARIANTS * [1] + 2 * [2]


# ---- in machine code -------------------------------------------------------------------------


@pytest.fixture
def native(backend):
    if backend != "native":
        pytest.skip("about machine code: --backend=native")


OPTIONS = {
    "plain": ({}, {}),
    "lengths": ({}, {"lengths": [5, 1, 3]}),
    "reset": ({}, {"reset": np.eye(5, 3) > 0}),
    "zoneout": ({"zoneout": 0.3}, {}),
}


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU, nn.PeepholeLSTM])
@pytest.mark.parametrize("name", OPTIONS)
def test_layers_run_in_machine_code(kind, name, written):
    options, given = OPTIONS[name]
    layer = kind(4, 3, **options)
    layer(mg.randn(5, 3, 4), **given)
    (op,) = written
    assert loops_of(op.step, s.backend).native is not None


@pytest.mark.usefixtures("native")
def test_a_mask_within_a_kernel(written):
    def step(h, p):
        h = mg.where(h > p, mg.tanh(h), p * 0.5)
        return h, h

    same(step, s, xs, [s, xs])
    assert loops_of(written[0].step, s.backend).native is not None


@pytest.mark.usefixtures("native")
def test_states_that_change_places(written):
    """What flows reaches another part of the state at each step: it goes back step by step."""

    def step(state, p):
        a, b = state
        return (mg.tanh(b + p), a * p), p

    xp = s.backend
    same(step, (s, c), xs, [s, c, xs], pick=[0])
    op = written[0]
    loops = loops_of(op.step, xp)
    assert loops.native is not None
    assert [(sum(loop.before), in_c) for (_, in_c), loop in loops._back.items()] == [(1, True)] * 2


u, column, bias = draw(3, (H, H), (H, 1), (H, 1))
frozen = w.detach()

# A step, its state, and which results enter the loss.
IN_MACHINE_CODE = {
    "a product of a product": (lambda h, p: (mg.tanh(u @ (w @ h) + p), h), s, None),
    "a constant of two widths": (
        lambda h, p: ((mg.tanh(h[0] * bias + p), mg.tanh(h[1] * bias)), h[0]),
        (s, column),
        None,
    ),
    "a delay": (lambda h, p: ((mg.tanh(p * c), mg.tanh(h[0] * c)), p), (s, s), [1]),
    "constants as outputs": (lambda h, p: (mg.tanh(h * p), (c, bias)), s, None),
    "a frozen weight": (lambda h, p: (mg.tanh(mg.affine(frozen, h, bias) + p), h), s, None),
}


@pytest.mark.parametrize("name", IN_MACHINE_CODE)
def test_each_constant_gets_what_flows_into_it(name, backend, written):
    step, init, pick = IN_MACHINE_CODE[name]
    same(step, init, xs, [w, u, s, c, xs, column, bias], pick)
    loops = loops_of(written[0].step, s.backend)
    assert all(in_c is (backend == "native") for _, in_c in loops._back)


def test_products_of_another_kind():
    """x Wᵀ of a value or of a weight is not W x, which machine code takes."""

    def step(h, p):
        h = mg.tanh(mg.functional.linear(h, w) + mg.functional.linear(w, h) + p)
        return h, h

    state, rows = draw(4, (H, H), (T, H, H))
    same(step, state, rows, [w, state, rows])


@pytest.mark.parametrize("mask", [np.eye(H, B) > 0, np.ones((1, B), bool)])
def test_a_mask_among_the_outputs(mask):
    mask = mg.tensor(mask)
    same(lambda h, p: (mg.where(mask, h, p), mask), s, xs, [s, xs], pick=[0])
