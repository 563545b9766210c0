"""The cells and their layers: RNN, LSTM and GRU, each written as its equations."""

from __future__ import annotations

from typing import Any

from minigrad.fuse import fuse, named
from minigrad.nn.recurrent import Cell, Recurrent
from minigrad.ops import affine, matmul, relu, sigmoid, tanh
from minigrad.tensor import Tensor


class GatedCell(Cell):
    """A cell with PyTorch's four parameters, for `gates` blocks of hidden_size rows each."""

    gates: int = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        rows = self.gates * hidden_size
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight_ih = self.parameter(rows, input_size, **place)
        self.weight_hh = self.parameter(rows, hidden_size, **place)
        self.bias_ih = self.parameter(rows, **place) if bias else None
        self.bias_hh = self.parameter(rows, **place) if bias else None

    def project(self, x: Tensor) -> Tensor:
        """p = W_ih x + b_ih + b_hh: both biases, for cells that only ever add them up."""
        if self.bias_ih is None or self.bias_hh is None:
            return matmul(self.weight_ih, x)
        return affine(self.weight_ih, x, self.bias_ih + self.bias_hh)


class RNNCell(GatedCell):
    """Elman's cell (1990): h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu instead of tanh.

    >>> import minigrad as mg
    >>> mg.nn.RNNCell(4, 3)(mg.zeros(2, 4)).shape
    (2, 3)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def step(self, p: Tensor, state: Tensor) -> Tensor:
        y = affine(self.weight_hh, state, p)
        return tanh(y) if self.nonlinearity == "tanh" else relu(y)


@fuse
def lstm_gates(gates: Any, c: Any) -> Any:
    """The LSTM's equations after the matrix product; gates are the blocks i, f, g, o."""
    i, f, g, o = gates.chunk(4)
    i, f, g, o = named(i=sigmoid(i), f=sigmoid(f), g=tanh(g), o=sigmoid(o))
    c = f * c + i * g
    return o * tanh(c), c


class LSTMCell(GatedCell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    i, f, g, o = the blocks of W_ih x + b_ih + W_hh h + b_hh
    c' = σ(f) ∘ c + σ(i) ∘ tanh(g)
    h' = σ(o) ∘ tanh(c')

    >>> import minigrad as mg
    >>> h, c = mg.nn.LSTMCell(4, 3)(mg.zeros(2, 4))
    >>> h.shape, c.shape
    ((2, 3), (2, 3))
    """

    state_names = ("h", "c")
    gates = 4

    def step(self, p: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = state
        return lstm_gates(affine(self.weight_hh, h, p), c)


@fuse
def gru_gates(p: Any, q: Any, h: Any) -> Any:
    """The GRU's equations, reset after the product; p and q are the blocks r, z, n."""
    p_r, p_z, p_n = p.chunk(3)
    q_r, q_z, q_n = q.chunk(3)
    r, z = named(r=sigmoid(p_r + q_r), z=sigmoid(p_z + q_z))
    n = named(n=tanh(p_n + r * q_n))
    return n + z * (h - n)


class GRUCell(GatedCell):
    """Gated recurrent unit (Cho et al., 2014), with the reset gate after the product (PyTorch).

    r = σ(W_ir x + b_ir + W_hr h + b_hr)
    z = σ(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r ∘ (W_hn h + b_hn))
    h' = (1 - z) ∘ n + z ∘ h

    >>> import minigrad as mg
    >>> mg.nn.GRUCell(4, 3)(mg.zeros(2, 4)).shape
    (2, 3)
    """

    gates = 3

    def project(self, x: Tensor) -> Tensor:
        """p = W_ih x + b_ih: the other bias stays within the reset gate's reach."""
        return (
            matmul(self.weight_ih, x)
            if self.bias_ih is None
            else affine(self.weight_ih, x, self.bias_ih)
        )

    def step(self, p: Tensor, state: Tensor) -> Tensor:
        h = state
        q = (
            matmul(self.weight_hh, h)
            if self.bias_hh is None
            else affine(self.weight_hh, h, self.bias_hh)
        )
        return gru_gates(p, q, h)


class RNN(Recurrent):
    """A layer of `RNNCell`s; arguments and results as in PyTorch's nn.RNN, and `lengths=`.

    >>> import minigrad as mg
    >>> y, h = mg.nn.RNN(4, 3)(mg.zeros(5, 2, 4))
    >>> y.shape, h.shape
    ((5, 2, 3), (1, 2, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            RNNCell,
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            bias=bias,
            nonlinearity=nonlinearity,
            device=device,
            dtype=dtype,
        )


class _GatedLayer(Recurrent):
    """A layer with the arguments of PyTorch's nn.LSTM and nn.GRU."""

    cell: type[GatedCell]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            self.cell,
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            bias=bias,
            device=device,
            dtype=dtype,
        )


class LSTM(_GatedLayer):
    """A layer of `LSTMCell`s; arguments and results as in PyTorch's nn.LSTM, and `lengths=`.

    >>> import minigrad as mg
    >>> y, (h, c) = mg.nn.LSTM(4, 3, num_layers=2)(mg.zeros(5, 2, 4))
    >>> y.shape, h.shape, c.shape
    ((5, 2, 3), (2, 2, 3), (2, 2, 3))
    """

    cell = LSTMCell


class GRU(_GatedLayer):
    """A layer of `GRUCell`s; arguments and results as in PyTorch's nn.GRU, and `lengths=`.

    >>> import minigrad as mg
    >>> y, h = mg.nn.GRU(4, 3, bidirectional=True)(mg.zeros(5, 2, 4))
    >>> y.shape, h.shape
    ((5, 2, 6), (2, 2, 3))
    """

    cell = GRUCell
