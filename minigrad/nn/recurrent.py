"""`Recurrent`: a layer of any cell, over layers, directions and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minigrad import ops
from minigrad.nn.cell import Cell
from minigrad.nn.module import Module
from minigrad.nn.scan import length_mask, scan
from minigrad.nn.state import State, check_state, leaves, map_state, stacked, transposed, unstacked
from minigrad.random import bernoulli_mask
from minigrad.tensor import Tensor


class Recurrent(Module):
    """A recurrent layer of any cell: stacked layers, both directions, lengths, dropout between.

    `cell(input_size, hidden_size, **options)` makes one cell; the layer makes one for each layer
    and direction and names their parameters as PyTorch does: `weight_ih_l0`, …, `_l1_reverse`.

    x: (T, B, I), or (B, T, I) with batch_first, or (T, I) unbatched; state: each part
    (num_layers · directions, B, H), or None for the cell's initial state.
    lengths: (B,) integers in 0…T in any order, or None. Beyond its length a row's output is 0,
    its state stands still, and nothing in the padding (NaN even) changes any value or gradient.
    Returns the outputs (T, B, directions · H) and the state after each row's last step.

    >>> import minigrad as mg
    >>> layer = mg.nn.Recurrent(mg.nn.GRUCell, 4, 3, num_layers=2, bidirectional=True)
    >>> y, h = layer(mg.zeros(5, 2, 4), lengths=[5, 3])
    >>> y.shape, h.shape
    ((5, 2, 6), (4, 2, 3))
    """

    def __init__(
        self,
        cell: Callable[..., Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        **options: Any,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout must be a probability, got {dropout}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        self._cells: list[list[Cell]] = []
        for _ in range(num_layers):
            self._cells.append(
                [cell(input_size, hidden_size, **options) for _ in range(1 + bidirectional)]
            )
            input_size = sum(c.output_size for c in self._cells[-1])

    # ---- parameters under PyTorch's names ----------------------------------------------------

    def entries(self) -> Iterator[tuple[str, Any]]:
        """The cells' parameters with the layer and direction behind their names."""
        for layer, cells in enumerate(self.__dict__.get("_cells", ())):
            for cell, direction in zip(cells, ("", "_reverse"), strict=False):
                for name, p in (*cell.named_parameters(), *cell.named_buffers()):
                    yield f"{name}_l{layer}{direction}", p
        yield from (entry for entry in super().entries() if not entry[0].startswith("_cells."))

    def __getattr__(self, name: str) -> Any:
        for known, value in self.entries():
            if known == name:
                return value
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a cell's parameter by its name in the layer (`weight_hh_l0`), to tie weights, say."""
        for layer, cells in enumerate(self.__dict__.get("_cells", ())):
            for cell, direction in zip(cells, ("", "_reverse"), strict=False):
                own = name.removesuffix(f"_l{layer}{direction}")
                if own != name and own in vars(cell):
                    setattr(cell, own, value)
                    return
        super().__setattr__(name, value)

    @property
    def cells(self) -> Sequence[Sequence[Cell]]:
        """The cells by layer and direction."""
        return self._cells

    # ---- running -----------------------------------------------------------------------------

    def forward(
        self, x: Tensor, state: State | None = None, lengths: Any = None
    ) -> tuple[Tensor, State]:
        batched = x.ndim == 3
        self._check_input(x)
        if not batched:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        x = x.transpose(1, 2)  # (T, I, B): features first, as in the cells
        mask = None if lengths is None else length_mask(lengths, x.shape[0], x.shape[2])
        if mask is not None:
            x = ops.where(mask.whole(x), x, 0.0)
        states = self._states(state, x, batched)
        finals: list[State] = []
        for layer, cells in enumerate(self._cells):
            outputs: list[Tensor] = []
            for cell, backwards in zip(cells, (False, True), strict=False):
                cell.train(self.training)
                y, final = scan(cell, x, states[len(finals)], mask, backwards)
                outputs.append(y)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else ops.cat(outputs, dim=1)
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = x * bernoulli_mask(x.shape, 1 - self.dropout, x)
        y = x.transpose(1, 2)
        last = map_state(transposed, stacked(finals))
        if not batched:
            return y.squeeze(1), map_state(lambda part: part.squeeze(1), last)
        return (y.transpose(0, 1) if self.batch_first else y), last

    def _check_input(self, x: Tensor) -> None:
        legend = "(batch, time, input)" if self.batch_first else "(time, batch, input)"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: expected x {legend}, or (time, input) unbatched, with "
                f"input = {self.input_size}; got {x.shape} (batch_first={self.batch_first})"
            )
        if x.shape[1 if self.batch_first and x.ndim == 3 else 0] == 0:
            raise ValueError(f"{type(self).__name__}: x {x.shape} has no time steps")

    def _states(self, state: State | None, x: Tensor, batched: bool) -> list[State]:
        """The given state as one state per layer and direction, (H, B) each; or initial states."""
        cells = [cell for cells in self._cells for cell in cells]
        initial = [cell.initial_state(x.shape[2], x) for cell in cells]
        if state is None:
            return initial
        wanted = [(len(cells), *part.shape[::-1]) for part in leaves(initial[0])]
        legend = "(num_layers · directions, batch, features): batch second, also with batch_first"
        if not batched:
            wanted = [(n, features) for n, _, features in wanted]
            legend = "(num_layers · directions, features)"
        check_state(type(self).__name__, state, wanted, legend)
        if not batched:
            state = map_state(lambda part: part.unsqueeze(1), state)
        return unstacked(map_state(transposed, state))

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        shown += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join(shown)
