"""One row per recurrent cell: how to make it, and its equations in plain NumPy, row by row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

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


def peephole(w: Weights, x: np.ndarray, state: tuple) -> tuple:
    h, c = state
    i, f, g, o = np.split(_affine(w, "ih", x) + w["weight_hh"] @ h, 4)
    i, f = sigmoid(i + w["p_i"][:, 0] * c), sigmoid(f + w["p_f"][:, 0] * c)
    c = f * c + i * np.tanh(g)
    return sigmoid(o + w["p_o"][:, 0] * c) * np.tanh(c), c


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


ROWS = [
    Row("rnn", nn.RNNCell, rnn),
    Row(
        "rnn-relu",
        partial(nn.RNNCell, nonlinearity="relu"),
        partial(rnn, squash=lambda x: np.maximum(x, 0)),
    ),
    Row("lstm", nn.LSTMCell, lstm, 2),
    Row("gru", nn.GRUCell, gru),
    Row("peephole", PeepholeCell, peephole, 2),
]


def reference(
    row: Row, layer: nn.Recurrent, x: np.ndarray, lengths: list[int], state: list[np.ndarray] | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs (T, B, D·H) and final states of a layer, one row and one step at a time."""
    steps, batch, _ = x.shape
    directions = 1 + layer.bidirectional
    hidden = layer.hidden_size
    finals = [np.zeros((layer.num_layers * directions, batch, hidden)) for _ in range(row.parts)]
    weights = {k: v.numpy() for k, v in layer.state_dict().items()}
    for k in range(layer.num_layers):
        y = np.zeros((steps, batch, directions * hidden))
        for d, suffix in enumerate([f"_l{k}", f"_l{k}_reverse"][:directions]):
            mine = {n.removesuffix(suffix): v for n, v in weights.items() if n.endswith(suffix)}
            for b in range(batch):
                at = k * directions + d
                s = tuple(
                    np.zeros(hidden) if state is None else state[i][at, b] for i in range(row.parts)
                )
                order = range(lengths[b])
                for t in reversed(order) if d else order:
                    s = row.step(mine, x[t, b], s)
                    y[t, b, d * hidden : (d + 1) * hidden] = s[0]
                for i in range(row.parts):
                    finals[i][at, b] = s[i]
        x = y
    return x, finals
