"""trace=True: the graph's own tensors, states and gates of every step, in the order of time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import leaves, parts
from tests.nn_table import ROWS, VARIANTS, Row

rows = pytest.mark.parametrize("row", [*ROWS, *VARIANTS], ids=lambda row: row.name)


@rows
def test_a_trace_holds_every_step_of_every_cell(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 2, 2, bidirectional=True).double()
    x = mg.randn(5, 3, 3, dtype=mg.float64)
    y, last, trace = layer(x, trace=True)
    plain, same = layer(x)
    assert mg.allclose(y, plain, rtol=1e-13, atol=1e-15)  # fused functions run op by op
    for a, b in zip(parts(last), parts(same), strict=True):
        assert mg.allclose(a, b, rtol=1e-13, atol=1e-15)
    assert len(trace) == 4
    for k, one in enumerate(trace):
        backwards = k % 2 == 1
        assert one.cell is layer.cells[k // 2][k % 2]
        assert len(one.projected) == len(one.before) == len(one.after) == 5
        order = range(5)[::-1] if backwards else range(5)
        initial = one.cell.initial_state(3, x)
        for part, start in zip(leaves(one.before[order[0]]), leaves(initial), strict=True):
            assert (part == start).all()
        for t, following in itertools.pairwise(order):
            assert all(
                a is b
                for a, b in zip(leaves(one.after[t]), leaves(one.before[following]), strict=True)
            )
        for t in order:
            again = one.cell.step(one.projected[t], one.before[t])
            for a, b in zip(leaves(again), leaves(one.after[t]), strict=True):
                assert mg.allclose(a, b, rtol=1e-13, atol=1e-15)
        for part, name in zip(parts(last), one.cell.state_names, strict=True):
            assert one[name].shape == (5, 3, part.shape[2])
            assert (one[name][order[-1]] == part[k]).all()
            assert one.values[name][0] is parts(one.after[0])[one.cell.state_names.index(name)]


def test_gates_by_name() -> None:
    layer = nn.LSTM(3, 2).double()
    x = mg.randn(5, 3, 3, dtype=mg.float64)
    _, _, (trace,) = layer(x, trace=True)
    assert set(trace.values) == {"i", "f", "g", "o", "h", "c"}
    i, f, g, o, h, c = (trace[name].detach().cpu().numpy() for name in "ifgohc")
    before = np.concatenate([np.zeros((1, 3, 2)), c[:-1]])
    np.testing.assert_allclose(c, f * before + i * g, rtol=0, atol=1e-14)
    np.testing.assert_allclose(h, o * np.tanh(c), rtol=0, atol=1e-14)
    assert repr(trace).count("LSTMCell(3, 2), 5 steps") == 1
    with pytest.raises(KeyError, match="no 'z' in the trace of a LSTMCell"):
        trace["z"]


def test_gradients_flow_to_what_was_traced() -> None:
    layer = nn.LSTM(3, 2, checkpoint=True).double()
    y, _, (trace,) = layer(mg.randn(5, 1, 3, dtype=mg.float64), trace=True)
    h, c = trace.after[1]
    gate = trace.values["f"][2]
    gh, gc, gf = mg.autograd.grad(y[4].sum(), [h, c, gate])
    assert all((g != 0).all() for g in (gh, gc, gf))
    assert gh.shape == gc.shape == gf.shape == gate.shape


def test_a_trace_with_every_option() -> None:
    noise: dict[str, Any] = {"zoneout": 0.3, "weight_dropout": 0.3, "recurrent_dropout": 0.3}
    layer = nn.GRU(3, 2, 2, bidirectional=True, dropout=0.3, **noise).double()
    x = mg.randn(6, 3, 3, dtype=mg.float64)
    given: dict[str, Any] = {"lengths": [6, 2, 0], "reset": np.arange(18).reshape(6, 3) % 5 == 2}
    mg.manual_seed(1)
    y, last = layer(x, **given)
    mg.manual_seed(1)
    z, same, trace = layer(x, **given, trace=True)
    assert mg.allclose(y, z, rtol=1e-13, atol=1e-15)
    assert mg.allclose(last, same, rtol=1e-13, atol=1e-15)
    for one in trace:
        assert one.cell.weight_hh is not layer.cells[0][0].weight_hh
        for t in range(6):
            assert mg.allclose(one.cell.step(one.projected[t], one.before[t]), one.after[t])
    assert given["reset"][:, 0].tolist() == [False] * 4 + [True, False]
    assert (trace[0].before[4][:, 0] == 0).all()
    assert (trace[1].before[3][:, 0] == 0).all()  # backwards, it enters the segment a step before
    assert not (trace[0].before[5][:, 0] == 0).all()


def test_a_batch_of_one_has_its_axis() -> None:
    _, _, (trace,) = nn.GRU(3, 2)(mg.randn(4, 3), trace=True)
    assert trace["h"].shape == (4, 1, 2)
