"""LSTM and GRU with layer normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.creation import ones, zeros
from minigrad.fuse import fuse, named
from minigrad.nn import init
from minigrad.nn.cells.gated import GatedCell, GatedLayer, plus
from minigrad.nn.cells.lstm import HC
from minigrad.nn.module import Parameter
from minigrad.nn.state import Shared
from minigrad.ops import cat, layer_norm, matmul, sigmoid, split, standardize, tanh
from minigrad.tensor import Tensor


def _column(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.unsqueeze(1)


class NormedCell(GatedCell):
    """A gated cell whose products are normalised: gains start at 1, biases at 0."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.eps = eps
        rows = len(self.gates) * hidden_size
        self.gain_ih = Parameter(ones(rows, device=device, dtype=dtype))
        self.gain_hh = Parameter(ones(rows, device=device, dtype=dtype))
        for shift in (self.bias_ih, self.bias_hh):
            if shift is not None:
                init.zeros_(shift)

    def norm(self, x: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the features of each column, (…, features, B)."""
        return standardize(x, -2, self.eps)

    def scaled(self, x: Tensor, gain: Tensor, bias: Tensor | None) -> Tensor:
        """The same, times a gain for each feature, plus a bias."""
        return layer_norm(x, gain, bias, self.eps, dim=-2)


@fuse
def normed_lstm_gates(p: Any, q: Any, gain: Any, c: Any) -> Any:
    """The output gate and the next c; p, q and gain are the blocks i, f, g, o."""
    p_i, p_f, p_g, p_o = p.chunk(4)
    q_i, q_f, q_g, q_o = q.chunk(4)
    w_i, w_f, w_g, w_o = gain.chunk(4)
    i, f = named(i=sigmoid(p_i + w_i * q_i), f=sigmoid(p_f + w_f * q_f))
    g, o = named(g=tanh(p_g + w_g * q_g), o=sigmoid(p_o + w_o * q_o))
    return o, f * c + i * g


@fuse
def normed_output(o: Any, m: Any, gain: Any) -> Any:
    """h of the normalised c."""
    return o * tanh(gain * m)


@fuse
def normed_output_shifted(o: Any, m: Any, gain: Any, bias: Any) -> Any:
    """h of the normalised c, with a bias."""
    return o * tanh(gain * m + bias)


class LayerNormLSTMCell(NormedCell):
    """LSTM with layer normalisation (Ba et al., 2016, equations 20 to 22).

        i, f, g, o = σ, σ, tanh, σ of the blocks of LN_ih(W_ih x) + LN_hh(W_hh h)
        c' = f ∘ c + i ∘ g
        h' = o ∘ tanh(LN_c(c'))
        LN(a) = gain ∘ (a - mean) / √(variance + eps) + bias

    Both products are normalised by themselves, each over all of its 4 · hidden_size rows at once,
    and c' on its way to h' only. The biases are those of the normalisations: bias_ih, bias_hh
    and bias_c; gains gain_ih, gain_hh, gain_c.

    >>> import minigrad as mg
    >>> h, c = mg.nn.LayerNormLSTMCell(4, 3)(mg.zeros(2, 4))
    >>> h.shape, c.shape
    ((2, 3), (2, 3))
    """

    state_names = ("h", "c")
    gates = ("i", "f", "g", "o")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype, eps=eps)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.gain_c = Parameter(ones(hidden_size, **place))
        self.bias_c = Parameter(zeros(hidden_size, **place)) if bias else None

    def project(self, x: Tensor) -> Any:
        bias = plus(self.bias_ih, self.bias_hh)
        p = self.scaled(matmul(self.weight_ih, x), self.gain_ih, bias)
        columns = map(_column, (self.gain_hh, self.gain_c, self.bias_c))
        return p, *map(Shared, columns)

    def step(self, p: Any, state: HC) -> HC:
        (p_x, gain_hh, gain_c, bias_c), (h, c) = p, state
        o, c = normed_lstm_gates(p_x, self.norm(matmul(self.weight_hh, h)), gain_hh, c)
        m = self.norm(c)
        if bias_c is None:
            return normed_output(o, m, gain_c), c
        return normed_output_shifted(o, m, gain_c, bias_c), c


def _gru(p: Any, q_r: Any, q_z: Any, q_n: Any, h: Any) -> Any:
    p_r, p_z, p_n = p.chunk(3)
    r, z = named(r=sigmoid(p_r + q_r), z=sigmoid(p_z + q_z))
    n = named(n=tanh(p_n + r * q_n))
    return n + z * (h - n)


@fuse
def normed_gru(p: Any, q_gates: Any, q_n: Any, gain: Any, h: Any) -> Any:
    """The GRU's equations of the normalised products; q_gates are r, z, p and gain r, z, n."""
    q_r, q_z = q_gates.chunk(2)
    w_r, w_z, w_n = gain.chunk(3)
    return _gru(p, w_r * q_r, w_z * q_z, w_n * q_n, h)


@fuse
def normed_gru_shifted(p: Any, q_gates: Any, q_n: Any, gain: Any, bias: Any, h: Any) -> Any:
    """The same with the biases r, z, n."""
    q_r, q_z = q_gates.chunk(2)
    w_r, w_z, w_n = gain.chunk(3)
    b_r, b_z, b_n = bias.chunk(3)
    return _gru(p, w_r * q_r + b_r, w_z * q_z + b_z, w_n * q_n + b_n, h)


class LayerNormGRUCell(NormedCell):
    """GRU with layer normalisation (Ba et al., 2016, supplement), reset after the product.

        r, z = σ of the blocks of LN(W_i,rz x) + LN(W_h,rz h)
        n = tanh(LN(W_in x) + r ∘ LN(W_hn h))
        h' = (1 - z) ∘ n + z ∘ h
        LN(a) = gain ∘ (a - mean) / √(variance + eps) + bias

    The rows of both gates are normalised together, over 2 · hidden_size, those of n by themselves,
    the input's and the state's products apart. gain_ih, gain_hh, bias_ih and bias_hh hold the
    blocks r, z, n. (Ba et al. call z what is 1 - z here and in PyTorch.)

    >>> import minigrad as mg
    >>> mg.nn.LayerNormGRUCell(4, 3)(mg.zeros(2, 4)).shape
    (2, 3)
    """

    gates = ("r", "z", "n")

    def project(self, x: Tensor) -> Any:
        a, gains = self._parts(matmul(self.weight_ih, x), -2), self._parts(self.gain_ih, 0)
        biases = [None, None] if self.bias_ih is None else self._parts(self.bias_ih, 0)
        columns = map(_column, (self.gain_hh, self.bias_hh))
        return cat(list(map(self.scaled, a, gains, biases)), -2), *map(Shared, columns)

    def _parts(self, a: Tensor, dim: int) -> Sequence[Tensor]:
        """The rows of the gates, and those of n."""
        return split(a, (2 * self.hidden_size, self.hidden_size), dim)

    def step(self, p: Any, state: Tensor) -> Tensor:
        (p_x, gain, bias), h = p, state
        q = map(self.norm, self._parts(matmul(self.weight_hh, h), -2))
        if bias is None:
            return normed_gru(p_x, *q, gain, h)
        return normed_gru_shifted(p_x, *q, gain, bias, h)


class LayerNormLSTM(GatedLayer):
    """A layer of `LayerNormLSTMCell`s, with the arguments and results of nn.LSTM."""

    cell = LayerNormLSTMCell


class LayerNormGRU(GatedLayer):
    """A layer of `LayerNormGRUCell`s, with the arguments and results of nn.GRU."""

    cell = LayerNormGRUCell
