"""Cells around cells: shortcuts from a layer's input to its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.fuse import fuse, named
from minigrad.nn import init
from minigrad.nn.cell import Cell
from minigrad.nn.state import State
from minigrad.ops import affine, matmul, sigmoid
from minigrad.tensor import Tensor


def _place(options: dict[str, Any]) -> dict[str, Any]:
    """Where a cell of these options has its parameters."""
    return {name: options.get(name) for name in ("device", "dtype")}


class Wrapper(Cell):
    """A cell that is another one in all but its readout."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        around: Callable[..., Cell],
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.cell = around(input_size, hidden_size, **options)
        self.state_names = self.cell.state_names
        n, place = self.output_size, _place(options)
        self.weight_skip = self.parameter(n, input_size, **place) if n != input_size else None

    @property
    def output_size(self) -> int:
        return self.cell.output_size

    def project(self, x: Tensor) -> Any:
        return self.cell.project(x)

    def step(self, p: Any, state: State) -> State:
        return self.cell.step(p, state)

    def output(self, state: State) -> Tensor:
        return self.cell.output(state)

    def initial_state(self, batch: int, like: Tensor) -> State:
        return self.cell.initial_state(batch, like)

    def skip(self, x: Tensor) -> Tensor:
        """x, made as wide as the output if it is not."""
        return x if self.weight_skip is None else matmul(self.weight_skip, x)


class Residual(Wrapper):
    """A cell with its input added to its output, y = h' + x (Wu et al., 2016).

    around: the cell within, to which all options are passed on. Where input and output differ in
    size, x comes through a matrix: y = h' + W_skip x (He et al., 2016). The state is that of the
    cell.

    >>> import minigrad as mg
    >>> stack = mg.nn.Recurrent(mg.nn.Residual, 8, 8, num_layers=4, around=mg.nn.LSTMCell)
    >>> y, (h, c) = stack(mg.zeros(5, 2, 8))
    >>> y.shape, c.shape
    ((5, 2, 8), (4, 2, 8))
    """

    def readout(self, y: Tensor, x: Tensor) -> Tensor:
        return self.cell.readout(y, x) + self.skip(x)


@fuse
def carry(t: Any, y: Any, x: Any) -> Any:
    """The transform gate between input and output."""
    t = named(t=sigmoid(t))
    return x + t * (y - x)


class Highway(Wrapper):
    """A cell with a gate between its input and its output (Srivastava et al., 2015).

        t = σ(W_t x + b_t)
        y = t ∘ h' + (1 - t) ∘ x

    around: the cell within, to which all options are passed on. bias_t, which the gate has even if
    the cell has none, starts at -1, so that a new layer carries most of x through. Where input and
    output differ in size, x comes through a matrix, W_skip x. The state is that of the cell.

    >>> import minigrad as mg
    >>> stack = mg.nn.Recurrent(mg.nn.Highway, 8, 8, num_layers=4, around=mg.nn.GRUCell)
    >>> stack(mg.zeros(5, 2, 8))[0].shape
    (5, 2, 8)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        around: Callable[..., Cell],
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, around=around, **options)
        place = _place(options)
        self.weight_t = self.parameter(self.output_size, input_size, **place)
        self.bias_t = self.parameter(self.output_size, **place)
        init.constant_(self.bias_t, -1.0)

    def readout(self, y: Tensor, x: Tensor) -> Tensor:
        gate = affine(self.weight_t, x, self.bias_t)
        return carry(gate, self.cell.readout(y, x), self.skip(x))
