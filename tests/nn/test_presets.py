"""Presets: what is drawn for which gate, that nothing else is touched, and what describe says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import presets
from tests.nn_table import PeepholeCell

H = 50


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def gates_of(parameter: mg.Tensor, names: str) -> dict[str, np.ndarray]:
    return dict(zip(names, np.split(host(parameter), len(names)), strict=True))


def bias_of(layer: Any, names: str, suffix: str = "_l0") -> dict[str, np.ndarray]:
    """What counts: the sum of both."""
    biases = [getattr(layer, f"bias_{side}{suffix}") for side in ("ih", "hh")]
    return gates_of(biases[0] + biases[1], names)


def zeroed(layer: Any) -> Any:
    for p in layer.parameters():
        nn.init.constant_(p, 7.0)
    return layer


def assert_orthonormal(columns: np.ndarray) -> None:
    np.testing.assert_allclose(columns.T @ columns, np.eye(columns.shape[1]), atol=1e-5)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_torch_is_what_a_new_layer_has(kind: Any) -> None:
    drawn = presets.torch()(zeroed(kind(30, H, 2, bidirectional=True)))
    for p, q in zip(
        drawn.parameters(), kind(30, H, 2, bidirectional=True).parameters(), strict=True
    ):
        x, y = host(p), host(q)
        for values in (x, y):
            assert np.abs(values).max() <= 1 / math.sqrt(H) * (1 + 1e-6)
            assert values.std() == pytest.approx(1 / math.sqrt(3 * H), rel=0.2)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, "ifgo"), (nn.GRU, "rzn"), (nn.RNN, "h")])
def test_keras(kind: Any, gates: str) -> None:
    """The bounds of keras.initializers.GlorotUniform, for a kernel (I, gates · H)."""
    layer = presets.keras()(zeroed(kind(30, H, 2)))
    for k, fan_in in ((0, 30), (1, H)):
        weight = host(getattr(layer, f"weight_ih_l{k}"))
        bound = math.sqrt(6 / (fan_in + len(gates) * H))
        assert 0.99 * bound < np.abs(weight).max() <= bound * (1 + 1e-6)
        assert_orthonormal(host(getattr(layer, f"weight_hh_l{k}")))
        for gate, bias in bias_of(layer, gates, f"_l{k}").items():
            assert set(bias) == {1.0 if gate == "f" else 0.0}


def test_keras_without_its_forget_bias() -> None:
    layer = presets.keras(unit_forget_bias=False)(zeroed(nn.LSTM(3, 4)))
    assert all(set(bias) == {0.0} for bias in bias_of(layer, "ifgo").values())


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, "ifgo"), (nn.GRU, "rzn"), (nn.RNN, "h")])
def test_orthogonal_is_so_for_each_gate(kind: Any, gates: str) -> None:
    layer = presets.orthogonal(gain=0.5)(zeroed(kind(3, H, bidirectional=True)))
    drawn = []
    for suffix in ("_l0", "_l0_reverse"):
        blocks = gates_of(getattr(layer, f"weight_hh{suffix}"), gates).values()
        for block in blocks:
            assert_orthonormal(block / 0.5)
            drawn.append(block.tobytes())
        assert (getattr(layer, f"weight_ih{suffix}") == 7).all()
    assert len(set(drawn)) == 2 * len(gates)


def test_the_sum_of_both_biases_is_the_forget_bias() -> None:
    layer = presets.forget_bias(1.5)(zeroed(nn.LSTM(3, 4, 2)))
    for k in (0, 1):
        biases = bias_of(layer, "ifgo", f"_l{k}")
        assert {gate: set(b) for gate, b in biases.items()} == {
            "f": {1.5},
            "i": {14.0},
            "g": {14.0},
            "o": {14.0},
        }


def assert_log_uniform(x: np.ndarray, top: float) -> None:
    u = np.exp(x.astype(np.float64))
    assert u.min() >= 1 - 1e-6
    assert u.max() <= top * (1 + 1e-5)
    assert u.mean() == pytest.approx((1 + top) / 2, rel=0.1)
    assert u.std() == pytest.approx((top - 1) / math.sqrt(12), rel=0.1)


def test_chrono() -> None:
    lstm = presets.chrono(100)(zeroed(nn.LSTM(3, 400)))
    biases = bias_of(lstm, "ifgo")
    assert_log_uniform(biases["f"], 99)
    np.testing.assert_array_equal(biases["i"], -biases["f"])
    assert set(biases["g"]) == set(biases["o"]) == {14.0}
    assert_log_uniform(bias_of(presets.chrono(50)(nn.GRU(3, 400)), "rzn")["z"], 49)
    coupled = bias_of(presets.chrono(50)(nn.CoupledLSTM(3, 400)), "igo")
    assert_log_uniform(-coupled["i"], 49)
    mgu = gates_of(presets.chrono(50)(nn.MGU(3, 400)).bias_l0, "fn")
    assert_log_uniform(-mgu["f"], 49)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.CoupledLSTM, nn.MGU])
def test_chrono_makes_the_state_last(kind: Any) -> None:
    """A unit with b = log u keeps u / (1 + u) of its state a step, if nothing comes in."""

    def left(preset: presets.Preset, steps: int) -> float:
        layer = preset(kind(2, 300))
        for name, p in layer.named_parameters():
            if name.startswith("weight"):
                nn.init.zeros_(p)
        parts = len(layer.cells[0][0].state_names)
        start = [mg.ones(1, 1, 300) for _ in range(parts)]
        _, last = layer(mg.zeros(steps, 1, 2), tuple(start) if parts > 1 else start[0])
        return float(host(last[-1] if parts > 1 else last).mean())

    u = np.linspace(1, 99, 1000)
    expected = float(((u / (1 + u)) ** 20).mean())  # 0.63
    assert left(presets.keras() | presets.chrono(100), 20) == pytest.approx(expected, rel=0.1)
    assert left(presets.keras(unit_forget_bias=False), 20) == pytest.approx(0.5**20, rel=1e-3)


def test_the_later_rule_wins() -> None:
    layer = (presets.keras() | presets.bias(f=3.0, o=-1.0))(zeroed(nn.LSTM(3, 4)))
    biases = bias_of(layer, "ifgo")
    assert {gate: set(b) for gate, b in biases.items()} == {
        "i": {0.0},
        "f": {3.0},
        "g": {0.0},
        "o": {-1.0},
    }
    assert_orthonormal(host(layer.weight_hh_l0))


class Gated(PeepholeCell):
    """A user's cell, which has one bias."""

    gates = ("i", "f", "g", "o")


def test_a_cell_of_your_own() -> None:
    layer = presets.keras()(zeroed(nn.Recurrent(Gated, 3, 8, bidirectional=True)))
    assert_orthonormal(host(layer.weight_hh_l0_reverse))
    assert set(gates_of(layer.bias_ih_l0, "ifgo")["f"]) == {1.0}
    assert (layer.p_i_l0 == 7).all()  # no rule speaks of it
    drawn = presets.chrono(100, keep="f")(layer)
    assert float(gates_of(drawn.bias_ih_l0, "ifgo")["i"].sum()) == 0.0


class Net(nn.Module):
    def __init__(self) -> None:
        self.words = nn.Embedding(5, 4)
        self.rnn = nn.Recurrent(nn.Residual, 4, 4, around=nn.LSTMCell)
        self.last = nn.LSTMCell(4, 3)


def test_a_model_with_cells_in_cells() -> None:
    net = Net()
    before = host(net.words.weight).copy()
    preset = presets.forget_bias(2.0)
    assert preset(net) is net
    np.testing.assert_array_equal(host(net.words.weight), before)
    assert preset.describe(net).splitlines() == [
        "bias(f=2)",
        "rnn.cell.bias_ih_l0  f  2",
        "rnn.cell.bias_hh_l0  f  0",
        "last.bias_ih         f  2",
        "last.bias_hh         f  0",
    ]
    cell = net.rnn.cells[0][0].cell
    assert set(gates_of(cell.bias_ih + cell.bias_hh, "ifgo")["f"]) == {2.0}
    assert set(gates_of(net.last.bias_ih + net.last.bias_hh, "ifgo")["f"]) == {2.0}


def test_describe_has_the_rule_in_force_for_each_gate() -> None:
    preset = presets.torch() | presets.orthogonal(2.0) | presets.bias(z=1.0)
    assert preset.describe(nn.GRU(4, 16)).splitlines() == [
        "torch | orthogonal(2) | bias(z=1)",
        "weight_ih_l0  r z n  U(±0.25)",
        "weight_hh_l0  r z n  orthogonal each, gain 2",
        "bias_ih_l0    r n    U(±0.25)",
        "              z      1",
        "bias_hh_l0    r n    U(±0.25)",
        "              z      0",
    ]


def test_numbers_come_from_the_generator() -> None:
    preset = presets.torch() | presets.orthogonal() | presets.chrono(10)

    def drawn(seed: int) -> list[bytes]:
        layer = preset(nn.LSTM(3, 4), generator=mg.Generator(seed))
        return [host(p).tobytes() for p in layer.parameters()]

    assert drawn(3) == drawn(3)
    assert all(a != b for a, b in zip(drawn(3)[:3], drawn(4)[:3], strict=True))


def test_dtype_is_kept_and_older_graphs_go_stale() -> None:
    layer = nn.LSTM(3, 4).double()
    y, _ = layer(mg.randn(2, 1, 3, dtype=mg.float64))
    presets.orthogonal()(layer)
    assert all(p.dtype == np.float64 for p in layer.parameters())
    with pytest.raises(RuntimeError, match="stale graph"):
        y.sum().backward()


@pytest.mark.parametrize(
    ("preset", "module", "error", "words"),
    [
        (presets.keras(), nn.Linear(2, 3), TypeError, "keras: expected a recurrent layer"),
        (presets.forget_bias(), nn.GRU(2, 3), ValueError, r"GRUCell has no gates \('f',\)"),
        (presets.forget_bias(), nn.LSTM(2, 3, bias=False), ValueError, "in bias_ih"),
        (presets.chrono(9), nn.RNN(2, 3), ValueError, r"RNNCell \('h',\) keep the state"),
        (presets.chrono(9, keep="r", write="q"), nn.GRU(2, 3), ValueError, "'q'"),
        (presets.torch(), nn.Recurrent(nn.Cell, 2, 3), ValueError, "no rule for Cell"),
        (
            presets.keras() | presets.bias(f=1.0, x=1.0),
            nn.LSTM(2, 3),
            ValueError,
            "its gates are .'i', 'f', 'g', 'o'.",
        ),
        (
            presets.Preset("p", lambda _: [presets.Rule("w", (), presets.constant(0.0))]),
            nn.LSTM(2, 3),
            ValueError,
            "has no w; .* parameters weight_ih, weight_hh, bias_ih, bias_hh",
        ),
    ],
)
def test_errors_leave_everything(preset: Any, module: Any, error: Any, words: str) -> None:
    before = [host(p).copy() for p in module.parameters()]
    with pytest.raises(error, match=words):
        preset(module)
    with pytest.raises(error, match=words):
        preset.describe(module)
    for p, x in zip(module.parameters(), before, strict=True):
        np.testing.assert_array_equal(host(p), x)


def test_chrono_needs_more_than_two_steps() -> None:
    with pytest.raises(ValueError, match="t_max must be more than 2 steps, got 2"):
        presets.chrono(2)
