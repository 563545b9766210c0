"""One row per recurrent cell: how to make it, and its equations in plain NumPy, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import leaves

Weights = dict[str, np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _affine(w: Weights, side: str, x: np.ndarray) -> np.ndarray:
    return w[f"weight_{side}"] @ x + w.get(f"bias_{side}", 0.0)


def rnn(w: Weights, x: np.ndarray, state: tuple, squash: Callable = np.tanh) -> tuple:
    return (squash(_affine(w, "ih", x) + _affine(w, "hh", state[0])),)


def lstm(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = state
    i, f, g, o = np.split(_affine(w, "ih", x) + _affine(w, "hh", h), 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    (h,) = state
    (a_r, a_z, a_n), (b_r, b_z, b_n) = (
        np.split(_affine(w, "ih", x), 3),
        np.split(_affine(w, "hh", h), 3),
    )
    r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
    n = np.tanh(a_n + r * b_n)
    return ((1 - z) * n + z * h,)


def gru_before(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    (h,) = state
    a_r, a_z, a_n = np.split(_affine(w, "ih", x), 3)
    u_r, u_z, u_n = np.split(w["weight_hh"], 3)
    b_r, b_z, b_n = np.split(w.get("bias_hh", np.zeros(3 * len(h))), 3)
    r, z = sigmoid(a_r + u_r @ h + b_r), sigmoid(a_z + u_z @ h + b_z)
    n = np.tanh(a_n + u_n @ (r * h) + b_n)
    return ((1 - z) * n + z * h,)


def projected_lstm(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = lstm(w, x, state)
    return w["weight_hr"] @ h, c


def peephole_lstm(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = state
    i, f, g, o = np.split(_affine(w, "ih", x) + _affine(w, "hh", h), 4)
    w_i, w_f, w_o = np.split(w["weight_ch"], 3)
    after = sigmoid(f + w_f * c) * c + sigmoid(i + w_i * c) * np.tanh(g)
    return sigmoid(o + w_o * after) * np.tanh(after), after


def coupled_lstm(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = state
    i, g, o = np.split(_affine(w, "ih", x) + _affine(w, "hh", h), 3)
    c = (1 - sigmoid(i)) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def mgu(w: Weights, x: np.ndarray, state: tuple, variant: str = "MGU") -> tuple:
    (h,) = state
    n = len(h)
    bias = w.get("bias", np.zeros(2 * n))
    u_f, b_f, w_n, u_n, b_n = (
        w["weight_hh"][:n],
        bias[:n],
        *(p[-n:] for p in (w["weight_ih"], w["weight_hh"], bias)),
    )
    gate = {
        "MGU": lambda: w["weight_ih"][:n] @ x + u_f @ h + b_f,
        "MGU1": lambda: u_f @ h + b_f,
        "MGU2": lambda: u_f @ h,
        "MGU3": lambda: b_f,
    }
    f = sigmoid(gate[variant]())
    return ((1 - f) * h + f * np.tanh(w_n @ x + u_n @ (f * h) + b_n),)


def _norm(a: np.ndarray) -> np.ndarray:
    return (a - a.mean()) / np.sqrt(a.var() + 1e-5)


def layer_norm_lstm(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = state
    a = _norm(w["weight_ih"] @ x) * w["gain_ih"] + w.get("bias_ih", 0.0)
    b = _norm(w["weight_hh"] @ h) * w["gain_hh"] + w.get("bias_hh", 0.0)
    i, f, g, o = np.split(a + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(_norm(c) * w["gain_c"] + w.get("bias_c", 0.0)), c


def layer_norm_gru(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    (h,) = state
    n = len(h)

    def normed(side: str, v: np.ndarray) -> list[np.ndarray]:
        a = w[f"weight_{side}"] @ v
        a = np.concatenate([_norm(a[: 2 * n]), _norm(a[2 * n :])])
        return np.split(a * w[f"gain_{side}"] + w.get(f"bias_{side}", 0.0), 3)

    (a_r, a_z, a_n), (b_r, b_z, b_n) = normed("ih", x), normed("hh", h)
    z = sigmoid(a_z + b_z)
    candidate = np.tanh(a_n + sigmoid(a_r + b_r) * b_n)
    return ((1 - z) * candidate + z * h,)


def within(w: Weights, x: np.ndarray, state: tuple, step: Callable[..., tuple]) -> tuple:
    """The step of the cell within a wrapper."""
    return step({name.removeprefix("cell."): v for name, v in w.items()}, x, state)


def _skip(w: Weights, x: np.ndarray) -> np.ndarray:
    return w["weight_skip"] @ x if "weight_skip" in w else x


def residual(w: Weights, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return y + _skip(w, x)


def highway(w: Weights, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    t = sigmoid(w["weight_t"] @ x + w["bias_t"])
    return t * y + (1 - t) * _skip(w, x)


def peephole(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = state
    i, f, g, o = np.split(_affine(w, "ih", x) + w["weight_hh"] @ h, 4)
    i, f = sigmoid(i + w["p_i"][:, 0] * c), sigmoid(f + w["p_f"][:, 0] * c)
    c = f * c + i * np.tanh(g)
    return sigmoid(o + w["p_o"][:, 0] * c) * np.tanh(c), c


def grid_column(w: Weights, x: np.ndarray, state: tuple, depth: int) -> tuple:
    """Kalchbrenner et al., 2015: at each point, an LSTM for time and one for depth."""
    _, h_time, m_time = state
    size = len(h_time) // depth
    h, m = np.split(_affine(w, "ih", x), 2)
    weights = w["weight_hh"].reshape(-1, 4, 2, size, 2 * size)
    biases = w.get("bias_hh", np.zeros(weights.size // (2 * size))).reshape(-1, 4, 2, size)
    left: list = []
    for k, (h_t, m_t) in enumerate(
        zip(np.split(h_time, depth), np.split(m_time, depth), strict=True)
    ):
        at = k % len(weights)
        a = weights[at] @ np.concatenate([h_t, h]) + biases[at]  # (gate, dimension, size)
        ms = [
            sigmoid(f) * before + sigmoid(i) * np.tanh(g)
            for i, f, g, before in zip(*a[:3], (m_t, m), strict=True)
        ]
        (h_t, m_t), (h, m) = ((np.tanh(sigmoid(o) * c), c) for o, c in zip(a[3], ms, strict=True))
        left.append((h_t, m_t))
    return h, *map(np.concatenate, zip(*left, strict=True))


@mg.fuse
def peephole_gates(gates: Any, c: Any, p_i: Any, p_f: Any, p_o: Any) -> Any:
    i, f, g, o = gates.chunk(4)
    i, f = mg.sigmoid(i + p_i * c), mg.sigmoid(f + p_f * c)
    c = f * c + i * mg.tanh(g)
    return mg.sigmoid(o + p_o * c) * mg.tanh(c), c


class PeepholeCell(nn.Cell):
    """A user's cell, written with the public pieces only."""

    state_names = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = self.parameter(4 * hidden_size, input_size)
        self.weight_hh = self.parameter(4 * hidden_size, hidden_size)
        self.bias_ih = self.parameter(4 * hidden_size) if bias else None
        self.p_i, self.p_f, self.p_o = (self.parameter(hidden_size, 1) for _ in range(3))

    def project(self, x: mg.Tensor) -> mg.Tensor:
        if self.bias_ih is None:
            return mg.matmul(self.weight_ih, x)
        return mg.affine(self.weight_ih, x, self.bias_ih)

    def step(self, p: mg.Tensor, state: tuple) -> tuple:
        h, c = state
        return peephole_gates(mg.affine(self.weight_hh, h, p), c, self.p_i, self.p_f, self.p_o)


@dataclass(frozen=True)
class Row:
    name: str
    cell: Callable[..., nn.Cell]
    step: Callable[[Weights, np.ndarray, tuple], tuple]
    parts: int = 1  # of the state
    nodes: int = 2  # that one step records: the products, and fused functions
    readout: Callable[[Weights, np.ndarray, np.ndarray], np.ndarray] = lambda _w, y, _x: y
    smooth: bool = True
    needs_bias: bool = False


# What the driver's options are tested with, each with every one.
ROWS = [
    Row("rnn", nn.RNNCell, rnn),
    Row(
        "rnn-relu",
        partial(nn.RNNCell, nonlinearity="relu"),
        partial(rnn, squash=lambda x: np.maximum(x, 0)),
        smooth=False,
    ),
    Row("lstm", nn.LSTMCell, lstm, 2),
    Row("gru", nn.GRUCell, gru),
    Row("gru-before", partial(nn.GRUCell, reset="before"), gru_before, nodes=4),
    Row("peephole", PeepholeCell, peephole, 2),
]


def _mgu(variant: str, nodes: int = 4, needs_bias: bool = False) -> Row:
    return Row(
        variant.lower(),
        partial(nn.MGUCell, variant=variant),
        partial(mgu, variant=variant),
        nodes=nodes,
        needs_bias=needs_bias,
    )


# Further cells; their options are tested in fewer combinations.
VARIANTS = [
    Row(
        "rnn-sigmoid",
        partial(nn.RNNCell, nonlinearity="sigmoid"),
        partial(rnn, squash=sigmoid),
    ),
    Row("lstm-projected", partial(nn.LSTMCell, proj_size=1), projected_lstm, 2, nodes=3),
    Row("peephole-lstm", nn.PeepholeLSTMCell, peephole_lstm, 2),
    Row("coupled-lstm", nn.CoupledLSTMCell, coupled_lstm, 2),
    _mgu("MGU"),
    _mgu("MGU1"),
    _mgu("MGU2"),
    _mgu("MGU3", nodes=3, needs_bias=True),
    *(
        Row(
            f"grid-lstm{'-tied' * tied}",
            partial(nn.GridLSTMCell, depth=2, tied=tied),
            partial(grid_column, depth=2),
            3,
            nodes=16,
        )
        for tied in (False, True)
    ),
    Row("layer-norm-lstm", nn.LayerNormLSTMCell, layer_norm_lstm, 2, nodes=5),
    Row("layer-norm-gru", nn.LayerNormGRUCell, layer_norm_gru, nodes=5),
    Row(
        "residual-lstm",
        partial(nn.Residual, around=nn.LSTMCell),
        partial(within, step=lstm),
        2,
        readout=residual,
    ),
    Row(
        "highway-gru",
        partial(nn.Highway, around=nn.GRUCell),
        partial(within, step=gru),
        readout=highway,
    ),
]


def reference(
    row: Row, layer: nn.Recurrent, x: np.ndarray, lengths: list[int], state: list[np.ndarray] | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs (T, B, D·H) and final states of a layer, one row and one step at a time."""
    steps, batch, _ = x.shape
    directions = 1 + layer.bidirectional
    sizes = state_sizes(layer)
    finals = [np.zeros((layer.num_layers * directions, batch, size)) for size in sizes]
    weights = {k: v.numpy() for k, v in layer.state_dict().items()}
    for k in range(layer.num_layers):
        y = np.zeros((steps, batch, directions * sizes[0]))
        for d, suffix in enumerate([f"_l{k}", f"_l{k}_reverse"][:directions]):
            mine = {n.removesuffix(suffix): v for n, v in weights.items() if n.endswith(suffix)}
            for b in range(batch):
                at = k * directions + d
                s = tuple(
                    np.zeros(size) if state is None else state[i][at, b]
                    for i, size in enumerate(sizes)
                )
                order = range(lengths[b])
                for t in reversed(order) if d else order:
                    s = row.step(mine, x[t, b], s)
                    y[t, b, d * sizes[0] : (d + 1) * sizes[0]] = row.readout(mine, s[0], x[t, b])
                for i, part in enumerate(s):
                    finals[i][at, b] = part
        x = y
    return x, finals


def state_sizes(layer: nn.Recurrent) -> list[int]:
    """The features of each part of the state; the first is also the output's."""
    initial = layer.cells[0][0].initial_state(1, mg.zeros(1))
    return [part.shape[0] for part in leaves(initial)]
