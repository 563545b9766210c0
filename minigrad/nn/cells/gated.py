"""What the cells have in common: PyTorch's four parameters, and a layer with its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.nn.cell import Cell
from minigrad.nn.recurrent import Recurrent
from minigrad.ops import affine, matmul
from minigrad.tensor import Tensor


def product(weight: Tensor, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """W x, and + b where there is one."""
    return matmul(weight, x) if bias is None else affine(weight, x, bias)


def plus(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    """a + b of two biases that a cell has both or neither."""
    return None if a is None or b is None else a + b


class GatedCell(Cell):
    """A cell with PyTorch's four parameters, with hidden_size rows for each of `gates`."""

    gates = ("h",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.bias = bias
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        rows = len(self.gates) * hidden_size
        self.weight_ih = self.parameter(rows, input_size, **place)
        self.weight_hh = self.parameter(rows, self.output_size, **place)
        self.bias_ih = self.parameter(rows, **place) if bias else None
        self.bias_hh = self.parameter(rows, **place) if bias else None

    def project(self, x: Tensor) -> Any:
        """p = W_ih x + b_ih + b_hh: both biases, for cells that only ever add them up."""
        return product(self.weight_ih, x, plus(self.bias_ih, self.bias_hh))


class GatedLayer(Recurrent):
    """A layer of the class's `cell`, with the arguments of PyTorch's nn.LSTM and nn.GRU.

    Further options by keyword: those of `Recurrent`, and those of the cell.
    """

    cell: Callable[..., Cell]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Any,
    ) -> None:
        self.bias = bias
        self.proj_size: int = options.get("proj_size", 0)
        super().__init__(
            type(self).cell,
            input_size,
            hidden_size,
            num_layers,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            bias=bias,
            **options,
        )

    def extra_repr(self) -> str:
        return self._arguments()  # the layer is called as its cell is
