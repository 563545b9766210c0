"""The gradient at every step: beside `.grad`, finite differences and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.inspect import CellFlow, GradFlow, grad_flow
from tests.nn_checks import nodes_behind
from tests.nn_table import ROWS, VARIANTS, Row

CELLS = [*ROWS, *VARIANTS]
rows = pytest.mark.parametrize("row", CELLS, ids=lambda row: row.name)
READOUT = ("weight_skip", "weight_t", "bias_t")  # what `Cell.readout` uses is past the steps


def double(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64)


def parts_of(state: Any) -> list[mg.Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Options of a layer and of a call."""
    steps, batch = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    lengths = st.lists(st.integers(0, steps), min_size=batch, max_size=batch)
    resets = st.lists(
        st.lists(st.booleans(), min_size=batch, max_size=batch), min_size=steps, max_size=steps
    )
    chance = st.sampled_from([0.0, 0.4])
    num_layers = draw(st.integers(1, 2))
    return {
        "steps": steps,
        "batch": batch,
        "layer": {
            "num_layers": num_layers,
            "bidirectional": draw(st.booleans()),
            "dropout": draw(chance) if num_layers > 1 else 0.0,
            "variational_dropout": draw(chance),
            "zoneout": draw(chance),
        },
        "on_weights": {"weight_dropout": draw(chance), "recurrent_dropout": draw(chance)},
        "lengths": draw(st.none() | lengths.filter(any)),
        "reset": draw(st.none() | resets),
        "training": draw(st.booleans()),
        "into_loss": draw(st.sampled_from(["y", "last", "all"])),
        "seed": draw(st.integers(0, 99)),
    }


def run(row: Row, case: dict[str, Any]) -> tuple[nn.Recurrent, mg.Tensor, Any]:
    mg.manual_seed(case["seed"])
    options = case["layer"] | case["on_weights"]
    layer = nn.Recurrent(row.cell, 3, 2, **options).double().train(case["training"])
    x = double(case["steps"], case["batch"], 3)
    y, last, trace = layer(x, lengths=case["lengths"], reset=case["reset"], trace=True)
    loss = mg.zeros(1, dtype=mg.float64).sum()
    if case["into_loss"] != "last":
        loss = loss + (y * double(*y.shape)).sum()
    if case["into_loss"] != "y":
        for part in parts_of(last):
            loss = loss + part.sin().sum()
    return layer, loss, trace


@rows
@given(case=cases())
def test_shares_add_up_to_the_gradient(row: Row, case: dict[str, Any]) -> None:
    layer, loss, trace = run(row, case)
    params = dict(layer.named_parameters())
    flow = grad_flow(loss, trace, params, jacobians=False)
    assert all(p.grad is None for p in params.values())
    loss.backward()  # the graph is whole
    for name, p in params.items():
        if not name.startswith(READOUT):
            found = sum((cell.shares[name].sum(0) for cell in flow if name in cell.shares), 0.0)
            total = mg.zeros_like(p) if p.grad is None else p.grad
            assert mg.allclose(found + mg.zeros_like(p), total, rtol=1e-12, atol=1e-14), name


def test_each_weight_has_its_shares_where_it_is_used() -> None:
    layer = nn.GRU(3, 2, num_layers=2, bidirectional=True)
    y, _, trace = layer(mg.randn(4, 2, 3), trace=True)
    flow = grad_flow(y.sum(), trace, dict(layer.named_parameters()), jacobians=False)
    kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert [cell.name for cell in flow] == ["l0", "l0_reverse", "l1", "l1_reverse"]
    for cell in flow:
        assert set(cell.shares) == {f"{kind}_{cell.name}" for kind in kinds}
        for name, shares in cell.shares.items():
            assert shares.shape == (4, *getattr(layer, name).shape)
            assert not shares.requires_grad


def test_tied_weights_have_shares_in_every_cell_that_uses_them() -> None:
    layer: Any = nn.RNN(3, 3, num_layers=2).double()
    layer.weight_hh_l1 = layer.weight_hh_l0
    layer.weight_ih_l1 = layer.weight_ih_l0
    y, _, trace = layer(double(4, 2, 3), trace=True)
    loss = y.sin().sum()
    below, above = grad_flow(loss, trace, dict(layer.named_parameters()))
    loss.backward()
    for name in ("weight_hh_l0", "weight_ih_l0"):
        assert (above.shares[name] != 0).any()
        total = below.shares[name].sum(0) + above.shares[name].sum(0)
        assert mg.allclose(total, getattr(layer, name).grad, rtol=1e-12, atol=1e-14)


class Biased(nn.Cell):
    """A cell with a part of the state that is never changed, and a learnt one to start with."""

    state_names = ("h", "k")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = self.parameter(hidden_size, input_size)
        self.weight_hk = self.parameter(hidden_size, hidden_size)
        self.start = self.parameter(hidden_size, 1)

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return mg.matmul(self.weight_ih, x)

    def step(self, p: mg.Tensor, state: tuple) -> tuple:
        h, k = state
        return mg.tanh(mg.affine(self.weight_hk, h, p) + k), k

    def initial_state(self, batch: int, like: mg.Tensor) -> tuple:
        start = self.start.expand(self.hidden_size, batch)
        return 3.0 * start, 2.0 * start


def test_a_part_of_the_state_that_stands_still_is_no_step_s_work() -> None:
    layer: Any = nn.Recurrent(Biased, 3, 2).double()
    y, _, trace = layer(double(4, 3, 3), trace=True)
    loss = y.square().sum()
    (flow,) = grad_flow(loss, trace, dict(layer.named_parameters()))
    loss.backward()
    for name in ("weight_ih_l0", "weight_hk_l0"):
        grad = getattr(layer, name).grad
        assert mg.allclose(flow.shares[name].sum(0), grad, rtol=1e-12, atol=1e-14)
    assert "start_l0" not in flow.shares  # the initial state is before all steps
    assert (layer.start_l0.grad != 0).all()
    assert (flow.gradients["k"] == flow.gradients["k"][0]).all()


def test_what_lies_below_the_layer_has_shares_too() -> None:
    table = nn.Embedding(5, 3).double()
    layer = nn.LSTM(3, 2).double()
    ids = mg.tensor([[0], [1], [2]])
    y, _, trace = layer(table(ids), trace=True)
    (flow,) = grad_flow(y[-1].sum(), trace, {"table": table.weight}, jacobians=False)
    used = (flow.shares["table"] != 0).any(2).tolist()
    assert used == [[t == i for i in range(5)] for t in range(3)]


# ---- norms ---------------------------------------------------------------------------------------


def reached(row: Row, layer: nn.Recurrent, x: np.ndarray, state: tuple, t: int) -> np.ndarray:
    """The last hidden state of one sequence from its state after step t, in plain NumPy."""
    weights = {k.removesuffix("_l0"): v.cpu().numpy() for k, v in layer.state_dict().items()}
    for x_t in x[t + 1 :]:
        state = row.step(weights, x_t, state)
    return state[0]


@rows
def test_norms_are_those_of_finite_differences(row: Row) -> None:
    """Of one part of the state alone: the first, which no other of the same step depends on."""
    steps, lengths = 4, [4, 2, 0]
    layer = nn.Recurrent(row.cell, 3, 2).double()
    x = double(steps, 3, 3)
    _, last, trace = layer(x, lengths=lengths, trace=True)
    weigh = double(*parts_of(last)[0].shape)
    (flow,) = grad_flow((parts_of(last)[0] * weigh).sum(), trace)
    h = trace[0].cell.state_names[0]
    assert flow.gradients[h].shape == flow.jacobians[h].shape == (steps, 3)
    host_x, host_weigh = x.cpu().numpy(), weigh.cpu().numpy()
    for b, length in enumerate(lengths):
        for t in range(length):
            state = tuple(p.detach().cpu().numpy()[:, b] for p in parts_of(trace[0].after[t]))
            columns = []
            for i in range(len(state[0])):
                nudge = np.eye(len(state[0]))[i] * 1e-6
                up, down = (
                    reached(row, layer, host_x[:length, b], (state[0] + d, *state[1:]), t)
                    for d in (nudge, -nudge)
                )
                columns.append((up - down) / 2e-6)
            jacobian = np.array(columns).T
            assert flow.jacobians[h][t, b] == pytest.approx(np.linalg.norm(jacobian), rel=1e-6)
            gradient = host_weigh[0, b] @ jacobian
            assert flow.gradients[h][t, b] == pytest.approx(np.linalg.norm(gradient), rel=1e-6)
        for norms in (flow.gradients, flow.jacobians):
            assert all((part[length:, b] == 0).all() for part in norms.values())


def test_the_cell_state_counts_the_way_through_the_hidden_state() -> None:
    layer = nn.LSTM(3, 2).double()
    x = double(5, 1, 3)
    y, _, trace = layer(x, trace=True)
    (flow,) = grad_flow(y[-1].sum(), trace)
    (row,) = [row for row in ROWS if row.name == "lstm"]
    for t in range(5):
        o, c = (trace[0][name].detach().cpu().numpy()[t, 0] for name in ("o", "c"))
        columns = []
        for i in range(2):
            ends = [
                reached(row, layer, x.cpu().numpy()[:, 0], (o * np.tanh(c + d), c + d), t)
                for d in (np.eye(2)[i] * 1e-6, np.eye(2)[i] * -1e-6)
            ]
            columns.append((ends[0] - ends[1]) / 2e-6)
        jacobian = np.array(columns).T
        assert flow.jacobians["c"][t, 0] == pytest.approx(np.linalg.norm(jacobian), rel=1e-6)
        gradient = np.linalg.norm(jacobian.sum(0))
        assert flow.gradients["c"][t, 0] == pytest.approx(gradient, rel=1e-6)


def test_backwards_the_last_state_is_at_the_first_step() -> None:
    layer = nn.RNN(3, 2, bidirectional=True).double()
    y, _, trace = layer(double(5, 3, 3), lengths=[5, 2, 0], trace=True)
    there, back = grad_flow(y.sum(), trace)
    whole = np.sqrt(2)
    np.testing.assert_allclose(there.jacobians["h"][[4, 1], [0, 1]], whole)
    np.testing.assert_allclose(back.jacobians["h"][0], [whole, whole, 0])
    assert (np.diff(there.jacobians["h"][:, 0]) > 0).all()
    assert (np.diff(back.jacobians["h"][:, 0]) < 0).all()


def test_a_loss_that_leaves_out_a_direction_gives_it_nothing() -> None:
    layer = nn.RNN(3, 2, bidirectional=True)
    y, _, trace = layer(mg.randn(4, 1, 3), trace=True)
    there, back = grad_flow(y[:, :, :2].sum(), trace, dict(layer.named_parameters()))
    assert (there.gradients["h"] > 0).all()
    assert (back.gradients["h"] == 0).all()
    assert all((shares == 0).all() for shares in back.shares.values())
    assert (back.jacobians["h"] > 0).all()


def test_a_gradient_too_small_to_be_squared_in_float32_is_not_0() -> None:
    layer: Any = nn.RNN(1, 1, bias=False)
    layer.weight_hh_l0.copy_(mg.full((1, 1), 1e-4))
    y, _, trace = layer(mg.zeros(8, 1, 1), trace=True)
    (flow,) = grad_flow(y[-1].sum(), trace)
    np.testing.assert_allclose(flow.gradients["h"][:, 0], 1e-4 ** np.arange(7.0, -1, -1), rtol=1e-5)
    np.testing.assert_allclose(flow.jacobians["h"], flow.gradients["h"], rtol=1e-5)


# ---- the result ----------------------------------------------------------------------------------


def small_flow(steps: int = 30) -> GradFlow:
    layer = nn.LSTM(3, 4, bidirectional=True)
    y, _, trace = layer(mg.randn(steps, 2, 3), trace=True)
    return grad_flow(y.square().sum(), trace, dict(layer.named_parameters()))


def test_fractions_add_up_to_1() -> None:
    for cell in small_flow():
        for name, shares in cell.shares.items():
            fractions = cell.fractions(name)
            assert fractions.sum() == pytest.approx(1, rel=1e-5)
            shares = shares.cpu().numpy().reshape(30, -1)
            whole = shares.sum(0)
            np.testing.assert_allclose(
                fractions, [share @ whole / (whole @ whole) for share in shares], atol=1e-6
            )
            np.testing.assert_allclose(
                cell.share_norms(name), np.linalg.norm(shares, axis=1), rtol=1e-5
            )


def test_fractions_of_no_gradient_are_0() -> None:
    cell = CellFlow("l0", {"h": np.zeros((3, 1))}, {}, {"w": mg.zeros(3, 2, 2)})
    assert cell.fractions("w").tolist() == [0, 0, 0]
    assert "0.0%" in repr(cell)


def test_the_table_shows_the_first_and_the_last_step() -> None:
    flow = small_flow()
    there, back = repr(flow).split("\n\n")
    assert back == flow[1].describe()
    title, head, *lines = there.splitlines()
    assert title == "l0: 30 steps, 2 rows"
    columns = ["t", "‖dL/dh_t‖", "‖dL/dc_t‖", "‖∂h_T/∂h_t‖", "‖∂h_T/∂c_t‖"]
    assert head.split() == [*columns, "weight_ih", "weight_hh"]
    assert len(lines) == 12
    assert [lines[0].split()[0], lines[-1].split()[0]] == ["0", "29"]
    last = lines[-1].split()
    assert float(last[1]) == pytest.approx(flow[0].gradients["h"][29].mean(), rel=1e-2)
    assert float(last[3]) == pytest.approx(2, rel=1e-2)  # √H
    assert last[6] == f"{flow[0].fractions('weight_hh_l0')[29]:.1%}"
    assert len({len(line) for line in [head, *lines]}) == 1
    assert len(flow[0].describe(rows=100).splitlines()) == 32


def test_errors_say_what_was_expected() -> None:
    layer = nn.LSTM(3, 2)
    x = mg.randn(4, 2, 3)
    y, _, trace = layer(x, trace=True)
    with pytest.raises(RuntimeError, match="does not depend on any state"):
        grad_flow(mg.ones(1, requires_grad=True).exp().sum(), trace)
    with pytest.raises(RuntimeError, match="does not depend on any state"):
        grad_flow(mg.ones(1).sum(), trace)
    with pytest.raises(RuntimeError, match=r"only a scalar"):
        grad_flow(y, trace)
    with mg.no_grad():
        _, _, unrecorded = layer(x, trace=True)
    with pytest.raises(ValueError, match="no_grad"):
        grad_flow(y.sum(), unrecorded)
    with pytest.raises(ValueError, match="nothing in this one"):
        grad_flow(y.sum(), [])
    with pytest.raises(TypeError, match=r"the whole trace.*got a CellTrace"):
        grad_flow(y.sum(), trace[0])
    y.sum().backward()
    with pytest.raises(RuntimeError, match="retain_graph"):
        grad_flow(y.sum(), trace)


def test_a_weight_that_was_written_since_is_noticed() -> None:
    layer: Any = nn.RNN(3, 2)
    y, _, trace = layer(mg.randn(4, 2, 3), trace=True)
    layer.weight_hh_l0.copy_(mg.zeros(2, 2))
    with pytest.raises(RuntimeError, match="written"):
        grad_flow(y.sum(), trace)
    y, _, trace = layer(mg.randn(1, 2, 3), trace=True)  # one step: its own product alone sees it
    layer.weight_hh_l0.copy_(mg.ones(2, 2))
    with pytest.raises(RuntimeError, match="written"):
        grad_flow(y.sum(), trace, dict(layer.named_parameters()), jacobians=False)


def test_a_share_costs_the_same_in_a_longer_sequence() -> None:
    """A traced step projects its own input, so a step's share passes through no other's."""
    layer = nn.GRU(3, 2)
    behind = [nodes_behind(layer(mg.randn(n, 2, 3), trace=True)[2][0].projected[0]) for n in (4, 9)]
    assert behind[0] == behind[1]


def test_weights_come_with_their_names() -> None:
    layer = nn.GRU(3, 2)
    y, _, trace = layer(mg.randn(4, 2, 3), trace=True)
    with pytest.raises(TypeError, match="named_parameters"):
        grad_flow(y.sum(), trace, list(layer.parameters()))
