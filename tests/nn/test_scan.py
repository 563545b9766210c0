"""The scan over time: pure steps, streams, segments that are computed again, long sequences."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.scan import Advance, Conditions
from minigrad.nn.state import parts
from minigrad.testing import gradcheck
from tests.nn_table import ROWS, Row

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
NOISE: dict[str, Any] = {
    "dropout": 0.3,
    "variational_dropout": 0.2,
    "recurrent_dropout": 0.3,
    "weight_dropout": 0.2,
    "zoneout": 0.2,
}


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def results(layer: nn.Recurrent, x: mg.Tensor, **given: Any) -> tuple[list[Any], list[Any]]:
    """Outputs and states; gradients of a loss on all of them."""
    mg.manual_seed(4)
    y, last = layer(x, **given)
    loss = y.square().sum() + sum(part.sin().sum() for part in parts(last))
    gradients = mg.autograd.grad(loss, [x, *layer.parameters()])
    return [host(part) for part in (y, *parts(last))], [host(g) for g in gradients]


def twins(row: Row, **options: Any) -> tuple[nn.Recurrent, nn.Recurrent]:
    plain = nn.Recurrent(row.cell, 3, 4, 2, bidirectional=True, **options).double()
    again = nn.Recurrent(row.cell, 3, 4, 2, bidirectional=True, checkpoint=True, **options).double()
    again.load_state_dict(plain.state_dict())
    return plain, again


@rows
@pytest.mark.parametrize("segments", [True, 1, 2, 5, 99])
def test_checkpoints_change_no_value_and_no_gradient(row: Row, segments: bool | int) -> None:
    """The outputs to the bit; gradients of weights are the same sums in another order."""
    plain, again = twins(row, **NOISE)
    again.checkpoint = segments
    x = mg.randn(7, 3, 3, dtype=mg.float64, requires_grad=True)
    given = {
        "lengths": [7, 0, 4],
        "reset": np.random.default_rng(0).random((7, 3)) < 0.3,
        "hx": mg.detach(plain(mg.randn(2, 3, 3, dtype=mg.float64))[1]),
    }
    values, gradients = results(plain, x, **given)
    same_values, same_gradients = results(again, x, **given)
    for a, b in zip(values, same_values, strict=True):
        assert (a == b).all()
    for a, b in zip(gradients, same_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


class Noisy(nn.GRUCell):
    """A cell that draws random numbers within its step."""

    def step(self, p: mg.Tensor, state: mg.Tensor) -> mg.Tensor:
        return super().step(p, nn.functional.dropout(state, 0.3))


def test_a_cells_own_random_numbers_are_replayed() -> None:
    plain, again = twins(Row("noisy", Noisy, None))
    x = mg.randn(9, 3, 3, dtype=mg.float64, requires_grad=True)
    values, gradients = results(plain, x)
    same_values, same_gradients = results(again, x)
    for a, b in zip(values + gradients, same_values + same_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_second_order_through_checkpoints() -> None:
    layer = nn.Recurrent(nn.LSTMCell, 2, 2, checkpoint=2, zoneout=0.2).double()
    x = mg.randn(4, 2, 2, dtype=mg.float64, requires_grad=True)

    def run(x: mg.Tensor) -> Any:
        mg.manual_seed(0)
        y, (_, c) = layer(x)
        return y, c

    gradcheck(run, [x], order=2)


def bytes_kept(steps: int, checkpoint: bool | int) -> int:
    """What the tape holds after a forward pass, the outputs themselves not counted."""
    layer = nn.Recurrent(nn.LSTMCell, 2, 64, checkpoint=checkpoint)
    x = mg.randn(steps, 8, 2)
    layer(x)  # the loops are written and compiled once
    gc.collect()
    tracemalloc.start()
    try:
        y, _ = layer(x)
        return tracemalloc.get_traced_memory()[0] - y.data.nbytes
    finally:
        tracemalloc.stop()


def bytes_at_the_peak(steps: int, checkpoint: bool | int) -> int:
    """The most that is held at any time of a backward pass."""
    layer = nn.Recurrent(nn.LSTMCell, 2, 64, checkpoint=checkpoint)
    loss = layer(mg.randn(steps, 8, 2))[0].sum()
    gc.collect()
    tracemalloc.start()
    try:
        loss.backward()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_root_of_the_steps(backend: str) -> None:
    if backend != "numpy":
        pytest.skip("only NumPy tells tracemalloc of its memory: --backend=numpy")
    short, long = (bytes_kept(steps, True) for steps in (36, 576))
    whole = bytes_kept(576, False)
    assert 14 < whole / bytes_kept(36, False) < 18  # for 16 times the steps
    assert long < 8 * short  # 4 times the segments, and a little for each step
    assert long < whole / 10
    assert bytes_at_the_peak(576, True) < 4 * bytes_at_the_peak(36, True) < whole / 4


def test_segments() -> None:
    layer = nn.LSTM(2, 3)

    def runs(checkpoint: bool | int, steps: int = 10) -> int:
        layer.checkpoint = checkpoint
        calls: list[int] = []
        cell = layer.cells[0][0]
        project = type(cell).project
        vars(cell)["project"] = lambda x: calls.append(x.shape[0]) or project(cell, x)
        layer(mg.randn(steps, 1, 2))
        del vars(cell)["project"]
        assert sum(calls) == steps
        return max(calls)

    assert [runs(k) for k in (False, True, 1, 2, 3, 10, 99)] == [10, 3, 10, 5, 4, 1, 1]
    assert runs(True, 1) == 1
    assert runs(True, 100) == 10


@rows
@pytest.mark.parametrize("size", [1, 4])
def test_a_stream_equals_the_whole_to_the_bit(row: Row, size: int) -> None:
    """Every step computes the same products of the same shapes, in pieces or not."""
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2)
    x = mg.randn(10, 2, 3)
    reset = np.random.default_rng(1).random((10, 2)) < 0.3
    whole, last = layer(x, reset=reset)
    state, outputs = None, []
    for start in range(0, 10, size):
        piece = slice(start, start + size)
        y, state = layer(x[piece], state, reset=reset[piece])
        outputs.append(y)
    assert (mg.cat(outputs) == whole).all()
    for a, b in zip(parts(state), parts(last), strict=True):
        assert (a == b).all()


def test_a_hundred_thousand_steps() -> None:
    """Forward and backward, beside the recursion dL/dh_t = w (1 - h²) dL/dh_{t+1} + 1."""
    layer: Any = nn.RNN(1, 1, bias=False).double()
    x = mg.randn(100_000, 1, 1, dtype=mg.float64)
    y, _ = layer(x)
    y.sum().backward()
    h, w = host(y)[:, 0, 0], float(layer.weight_hh_l0.item())
    g = gw = 0.0
    for now, before in zip(h[::-1].tolist(), [*h[-2::-1].tolist(), 0.0], strict=True):
        slope = (1 + g) * (1 - now * now)
        gw += slope * before
        g = w * slope
    assert float(layer.weight_hh_l0.grad.item()) == pytest.approx(gw, rel=1e-9)


def test_advance_is_a_pure_function() -> None:
    cell = nn.LSTMCell(3, 4)
    x, state = mg.randn(3, 2), (mg.randn(4, 2), mg.randn(4, 2))
    advance = Advance(cell.step, cell.output, cell.initial_state(2, x))
    rows = mg.tensor([[True, False]])
    units = mg.randn(4, 2) < 0
    special = Conditions(restart=rows, kept=(None, units), valid=rows)
    for conditions in (Conditions(), special):
        inputs = (cell.project(x), conditions)
        (h, c), y = advance(state, inputs)
        (again, d), z = advance(state, inputs)
        assert (h == again).all()
        assert (c == d).all()
        assert (y == z).all()
    assert (h[:, 1] == state[0][:, 1]).all()  # row 1 is not valid, and stands still
    fresh, _ = cell.step(cell.project(x), cell.initial_state(2, x))
    assert (h[:, 0] == fresh[:, 0]).all()  # row 0 restarts
    assert (c[:, 0] == mg.where(units, 0.0, cell.step(inputs[0], advance.initial)[1])[:, 0]).all()
