"""The simple recurrent network: Elman's cell, with one of three nonlinearities."""

from __future__ import annotations

from typing import Any

from minigrad.nn.cells.gated import GatedCell, GatedLayer
from minigrad.ops import affine, relu, sigmoid, tanh
from minigrad.tensor import Tensor

_NONLINEARITIES = {"tanh": tanh, "relu": relu, "sigmoid": sigmoid}


class RNNCell(GatedCell):
    """Elman's cell (1990).

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)

    nonlinearity: "tanh", "relu" or "sigmoid".

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
        if nonlinearity not in _NONLINEARITIES:
            known = ", ".join(map(repr, _NONLINEARITIES))
            raise ValueError(f"nonlinearity must be one of {known}; got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def step(self, p: Tensor, state: Tensor) -> Tensor:
        return _NONLINEARITIES[self.nonlinearity](affine(self.weight_hh, state, p))


class RNN(GatedLayer):
    """A layer of `RNNCell`s; arguments and results as in PyTorch's nn.RNN, and `lengths=`.

    >>> import minigrad as mg
    >>> y, h = mg.nn.RNN(4, 3)(mg.zeros(5, 2, 4))
    >>> y.shape, h.shape
    ((5, 2, 3), (1, 2, 3))
    """

    cell = RNNCell

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
        **options: Any,
    ) -> None:
        shape = (bias, batch_first, dropout, bidirectional)
        options["nonlinearity"] = self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, *shape, **options)
