"""Cells as a user writes them, batch first, over any peer's functions.

`F` offers linear(x, weight, bias=None), sigmoid, tanh, chunk(x, n) along the last axis, and
layer_norm(x, gain, shift=None); `w` holds the weights by name.
"""

from __future__ import annotations

from typing import Any

State = tuple[Any, ...]


def peephole(F: Any, w: Any, x: Any, state: State) -> State:
    """LSTM whose gates see the cell (Gers and Schmidhuber, 2000)."""
    h, c = state
    gates = F.linear(x, w["weight_ih"], w["bias"]) + F.linear(h, w["weight_hh"])
    i, f, g, o = F.chunk(gates, 4)
    i = F.sigmoid(i + w["p_i"] * c)
    f = F.sigmoid(f + w["p_f"] * c)
    c = f * c + i * F.tanh(g)
    return F.sigmoid(o + w["p_o"] * c) * F.tanh(c), c


def cifg(F: Any, w: Any, x: Any, state: State) -> State:
    """LSTM with coupled input and forget gates (Greff et al., 2015)."""
    h, c = state
    gates = F.linear(x, w["weight_ih"], w["bias"]) + F.linear(h, w["weight_hh"])
    f, g, o = F.chunk(gates, 3)
    f = F.sigmoid(f)
    c = f * c + (1 - f) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(c), c


def mgu(F: Any, w: Any, x: Any, state: State) -> State:
    """Minimal gated unit (Zhou et al., 2016)."""
    (h,) = state
    p_f, p_n = F.chunk(F.linear(x, w["weight_ih"], w["bias"]), 2)
    f = F.sigmoid(p_f + F.linear(h, w["weight_f"]))
    n = F.tanh(p_n + F.linear(f * h, w["weight_n"]))
    return ((1 - f) * h + f * n,)


def layer_norm_lstm(F: Any, w: Any, x: Any, state: State) -> State:
    """LSTM with layer normalisation (Ba, Kiros and Hinton, 2016)."""
    h, c = state
    p = F.layer_norm(F.linear(x, w["weight_ih"]), w["gain_x"])
    q = F.layer_norm(F.linear(h, w["weight_hh"]), w["gain_h"])
    i, f, g, o = F.chunk(p + q + w["bias"], 4)
    c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
    h = F.sigmoid(o) * F.tanh(F.layer_norm(c, w["gain_c"], w["shift_c"]))
    return h, c


# ---- the known cells, for peers that have no layers --------------------------------------------
# p is the input's product for this step: x W_ihᵀ + b_ih


def rnn(F: Any, w: Any, p: Any, state: State) -> State:
    return (F.tanh(p + F.linear(state[0], w["weight_hh"], w["bias_hh"])),)


def lstm(F: Any, w: Any, p: Any, state: State) -> State:
    h, c = state
    i, f, g, o = F.chunk(p + F.linear(h, w["weight_hh"], w["bias_hh"]), 4)
    c = F.sigmoid(f) * c + F.sigmoid(i) * F.tanh(g)
    return F.sigmoid(o) * F.tanh(c), c


def gru(F: Any, w: Any, p: Any, state: State) -> State:
    (h,) = state
    p_r, p_z, p_n = F.chunk(p, 3)
    q_r, q_z, q_n = F.chunk(F.linear(h, w["weight_hh"], w["bias_hh"]), 3)
    z = F.sigmoid(p_z + q_z)
    n = F.tanh(p_n + F.sigmoid(p_r + q_r) * q_n)
    return ((1 - z) * n + z * h,)


LAYERS = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
CELLS = {"peephole": peephole, "CIFG": cifg, "MGU": mgu, "layer-norm LSTM": layer_norm_lstm}


def state_parts(kind: str) -> int:
    """How many arrays (B, H) the state of a cell has."""
    return 1 if kind in ("RNN", "GRU", "MGU") else 2
