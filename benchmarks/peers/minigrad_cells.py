"""The same cells as in equations.py, written for minigrad's cell protocol with @fuse."""

from __future__ import annotations

from typing import Any

import minigrad as mg
from minigrad import nn

Pair = tuple[mg.Tensor, mg.Tensor]


class GatedCell(nn.Cell):
    """A cell with `gates` blocks of hidden_size rows and one bias."""

    gates: int

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        rows = self.gates * hidden_size
        self.weight_ih = self.parameter(rows, input_size)
        self.bias = self.parameter(rows)

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return mg.affine(self.weight_ih, x, self.bias)


@mg.fuse
def peephole_gates(gates: Any, c: Any, p_i: Any, p_f: Any, p_o: Any) -> Any:
    i, f, g, o = gates.chunk(4)
    c = mg.sigmoid(f + p_f * c) * c + mg.sigmoid(i + p_i * c) * mg.tanh(g)
    return mg.sigmoid(o + p_o * c) * mg.tanh(c), c


class PeepholeLSTMCell(GatedCell):
    """LSTM whose gates see the cell (Gers and Schmidhuber, 2000)."""

    state_names = ("h", "c")
    gates = 4

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = self.parameter(4 * hidden_size, hidden_size)
        self.p_i, self.p_f, self.p_o = (self.parameter(hidden_size, 1) for _ in range(3))

    def step(self, p: mg.Tensor, state: Pair) -> Pair:
        h, c = state
        return peephole_gates(mg.affine(self.weight_hh, h, p), c, self.p_i, self.p_f, self.p_o)


@mg.fuse
def cifg_gates(gates: Any, c: Any) -> Any:
    f, g, o = gates.chunk(3)
    f = mg.sigmoid(f)
    c = f * c + (1 - f) * mg.tanh(g)
    return mg.sigmoid(o) * mg.tanh(c), c


class CIFGCell(GatedCell):
    """LSTM with coupled input and forget gates (Greff et al., 2015)."""

    state_names = ("h", "c")
    gates = 3

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = self.parameter(3 * hidden_size, hidden_size)

    def step(self, p: mg.Tensor, state: Pair) -> Pair:
        h, c = state
        return cifg_gates(mg.affine(self.weight_hh, h, p), c)


@mg.fuse
def mgu_gate(p: Any, q: Any, h: Any) -> Any:
    f = mg.sigmoid(p + q)
    return f, f * h


@mg.fuse
def mgu_update(f: Any, n: Any, h: Any) -> Any:
    return (1 - f) * h + f * mg.tanh(n)


class MGUCell(GatedCell):
    """Minimal gated unit (Zhou et al., 2016)."""

    gates = 2

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_f, self.weight_n = (self.parameter(hidden_size, hidden_size) for _ in range(2))

    def project(self, x: mg.Tensor) -> Any:
        return super().project(x).chunk(2, dim=-2)

    def step(self, p: Any, state: mg.Tensor) -> mg.Tensor:
        p_f, p_n = p
        f, fh = mgu_gate(p_f, mg.matmul(self.weight_f, state), state)
        return mgu_update(f, mg.affine(self.weight_n, fh, p_n), state)


@mg.fuse
def normed_gates(p: Any, q: Any, gain: Any, c: Any) -> Any:
    (i, f, g, o), (q_i, q_f, q_g, q_o) = p.chunk(4), q.chunk(4)
    g_i, g_f, g_g, g_o = gain.chunk(4)
    i, f = mg.sigmoid(i + g_i * q_i), mg.sigmoid(f + g_f * q_f)
    return f * c + i * mg.tanh(g + g_g * q_g), mg.sigmoid(o + g_o * q_o)


@mg.fuse
def normed_output(o: Any, c: Any, gain: Any, shift: Any) -> Any:
    return o * mg.tanh(gain * c + shift)


class LayerNormLSTMCell(GatedCell):
    """LSTM with layer normalisation (Ba, Kiros and Hinton, 2016)."""

    state_names = ("h", "c")
    gates = 4

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = self.parameter(4 * hidden_size, hidden_size)
        self.gain_x, self.gain_h = (self.parameter(4 * hidden_size, 1) for _ in range(2))
        self.gain_c, self.shift_c = (self.parameter(hidden_size, 1) for _ in range(2))

    def project(self, x: mg.Tensor) -> mg.Tensor:
        product, gain = mg.matmul(self.weight_ih, x), self.gain_x.squeeze(1)
        return mg.layer_norm(product, gain, self.bias, dim=-2)

    def step(self, p: mg.Tensor, state: Pair) -> Pair:
        h, c = state
        q = mg.standardize(mg.matmul(self.weight_hh, h), dim=0)
        c, o = normed_gates(p, q, self.gain_h, c)
        return normed_output(o, mg.standardize(c, dim=0), self.gain_c, self.shift_c), c


CELLS = {
    "peephole": PeepholeLSTMCell,
    "CIFG": CIFGCell,
    "MGU": MGUCell,
    "layer-norm LSTM": LayerNormLSTMCell,
}
