"""Long short-term memory and its variants: peepholes, coupled gates."""

from __future__ import annotations

from typing import Any

from minigrad.creation import zeros
from minigrad.fuse import fuse, named
from minigrad.nn.cells.gated import GatedCell, GatedLayer
from minigrad.nn.state import Shared
from minigrad.ops import affine, matmul, sigmoid, tanh
from minigrad.tensor import Tensor

HC = tuple[Tensor, Tensor]


@fuse
def lstm_gates(gates: Any, c: Any) -> Any:
    """The LSTM's equations after the matrix product; gates are the blocks i, f, g, o."""
    i, f, g, o = gates.chunk(4)
    i, f, g, o = named(i=sigmoid(i), f=sigmoid(f), g=tanh(g), o=sigmoid(o))
    c = f * c + i * g
    return o * tanh(c), c


class LSTMCell(GatedCell):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

        i, f, g, o = σ, σ, tanh, σ of the blocks of W_ih x + b_ih + W_hh h + b_hh
        c' = f ∘ c + i ∘ g
        h' = o ∘ tanh(c')

    proj_size: h' has this size, W_hr (o ∘ tanh(c')), if it is not 0 (Sak et al., 2014); c keeps
    hidden_size. Raises ValueError unless 0 ≤ proj_size < hidden_size.

    >>> import minigrad as mg
    >>> h, c = mg.nn.LSTMCell(4, 3, proj_size=2)(mg.zeros(5, 4))
    >>> h.shape, c.shape
    ((5, 2), (5, 3))
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
        proj_size: int = 0,
    ) -> None:
        if proj_size and not 0 < proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be 0 (none) or smaller than hidden_size {hidden_size}, "
                f"got {proj_size}"
            )
        self.proj_size = proj_size
        super().__init__(input_size, hidden_size, bias, device, dtype)
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight_hr = self.parameter(proj_size, hidden_size, **place) if proj_size else None

    @property
    def output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def initial_state(self, batch: int, like: Tensor) -> HC:
        """Zeros: h (output_size, B) and c (hidden_size, B)."""
        place: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
        return zeros(self.output_size, batch, **place), zeros(self.hidden_size, batch, **place)

    def step(self, p: Tensor, state: HC) -> HC:
        h, c = state
        h, c = lstm_gates(affine(self.weight_hh, h, p), c)
        return (h if self.weight_hr is None else matmul(self.weight_hr, h)), c


@fuse
def peephole_gates(gates: Any, c: Any, w: Any) -> Any:
    """The equations with peepholes: gates are the blocks i, f, g, o, and w the blocks i, f, o."""
    i, f, g, o = gates.chunk(4)
    w_i, w_f, w_o = w.chunk(3)
    i, f, g = named(i=sigmoid(i + w_i * c), f=sigmoid(f + w_f * c), g=tanh(g))
    c = f * c + i * g
    o = named(o=sigmoid(o + w_o * c))
    return o * tanh(c), c


class PeepholeLSTMCell(GatedCell):
    """LSTM whose gates see the cell state (Gers and Schmidhuber, 2000, as in Graves, 2013).

        i, f = σ(…_i + w_ci ∘ c), σ(…_f + w_cf ∘ c),   where … = W_ih x + b_ih + W_hh h + b_hh
        c' = f ∘ c + i ∘ tanh(…_g)
        h' = σ(…_o + w_co ∘ c') ∘ tanh(c')

    weight_ch (3 · hidden_size,) has the peepholes of i, f and o: they connect a unit with itself.

    >>> import minigrad as mg
    >>> h, c = mg.nn.PeepholeLSTMCell(4, 3)(mg.zeros(2, 4))
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
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.weight_ch = self.parameter(3 * hidden_size, device=device, dtype=dtype)

    def project(self, x: Tensor) -> tuple[Tensor, Shared]:
        return super().project(x), Shared(self.weight_ch.unsqueeze(1))

    def step(self, p: tuple[Tensor, Tensor], state: HC) -> HC:
        (p_x, peepholes), (h, c) = p, state
        return peephole_gates(affine(self.weight_hh, h, p_x), c, peepholes)


@fuse
def coupled_gates(gates: Any, c: Any) -> Any:
    """The equations with one gate for input and forgetting; gates are the blocks i, g, o."""
    i, g, o = gates.chunk(3)
    i, g, o = named(i=sigmoid(i), g=tanh(g), o=sigmoid(o))
    f = named(f=1 - i)
    c = f * c + i * g
    return o * tanh(c), c


class CoupledLSTMCell(GatedCell):
    """LSTM with coupled input and forget gates, CIFG (Greff et al., 2017): f = 1 - i.

        i, g, o = σ, tanh, σ of the blocks of W_ih x + b_ih + W_hh h + b_hh
        c' = (1 - i) ∘ c + i ∘ g
        h' = o ∘ tanh(c')

    >>> import minigrad as mg
    >>> h, c = mg.nn.CoupledLSTMCell(4, 3)(mg.zeros(2, 4))
    >>> h.shape, c.shape
    ((2, 3), (2, 3))
    """

    state_names = ("h", "c")
    gates = ("i", "g", "o")

    def step(self, p: Tensor, state: HC) -> HC:
        h, c = state
        return coupled_gates(affine(self.weight_hh, h, p), c)


class LSTM(GatedLayer):
    """A layer of `LSTMCell`s; arguments and results as in PyTorch's nn.LSTM, and `lengths=`.

    >>> import minigrad as mg
    >>> y, (h, c) = mg.nn.LSTM(4, 3, num_layers=2, proj_size=2)(mg.zeros(5, 6, 4))
    >>> y.shape, h.shape, c.shape
    ((5, 6, 2), (2, 6, 2), (2, 6, 3))
    """

    cell = LSTMCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        **options: Any,
    ) -> None:
        shape = (bias, batch_first, dropout, bidirectional)
        options["proj_size"] = proj_size
        super().__init__(input_size, hidden_size, num_layers, *shape, **options)


class PeepholeLSTM(GatedLayer):
    """A layer of `PeepholeLSTMCell`s, with the arguments and results of nn.LSTM."""

    cell = PeepholeLSTMCell


class CoupledLSTM(GatedLayer):
    """A layer of `CoupledLSTMCell`s, with the arguments and results of nn.LSTM."""

    cell = CoupledLSTMCell
