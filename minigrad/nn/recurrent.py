"""`Recurrent`: a layer of any cell, over layers, directions and time."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minigrad import ops
from minigrad.nn.cell import Cell, make_cell
from minigrad.nn.masks import Masks, masks_of, on_device, unless_idle
from minigrad.nn.module import Module
from minigrad.nn.regularise import (
    Zoneout,
    dropped,
    dropped_alike,
    probability,
    recurrent_weights,
    with_dropout,
    zoneout_masks,
    zoneout_rates,
    zoneout_shares,
)
from minigrad.nn.scan import Advance, Conditions, scan
from minigrad.nn.state import (
    State,
    checked_state,
    checked_value,
    leaves,
    map_state,
    stacked,
    transposed,
    unstacked,
)
from minigrad.nn.trace import CellTrace, Recorder, Trace
from minigrad.nn.utils.rnn import PackedSequence
from minigrad.random import Generator
from minigrad.tensor import Tensor

# what `repr` leaves out
_DEFAULTS: dict[str, Any] = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "variational_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "weight_dropout": 0.0,
    "zoneout": 0.0,
    "checkpoint": False,
    "nonlinearity": "tanh",
    "device": None,
    "dtype": None,
}


class Recurrent(Module):
    """A recurrent layer of any cell: stacked layers, both directions, lengths, resets, dropout.

    `cell(input_size, hidden_size, **options)` makes one cell; the layer makes one for each layer
    and direction and names their parameters as PyTorch does: `weight_ih_l0`, …, `_l1_reverse`.

    x: (T, B, I), or (B, T, I) with batch_first, or (T, I) unbatched; hx, the state: each part
    (num_layers · directions, B, H), or None for the cell's initial state.
    lengths: (B,) integers in 0…T in any order, or None. Beyond its length a row's output is 0,
    its state stands still, and nothing in the padding (NaN even) changes any value or gradient.
    reset: booleans, laid out as x without its features, or None. Where it is true, the row's
    sequence is cut before that step: in every layer and direction, what follows gives the outputs
    that it gives alone.
    A PackedSequence (nn.utils.rnn) comes with its lengths, time first; y then is one, too.
    Returns the outputs (T, B, directions · H) and the state after each row's last step, backwards
    after its first; with trace=True also a `Trace`: the states and gates of every step.

    In training, with numbers from `generator` (the default one unless given), once per call:

    - dropout: each element that passes from one layer to the next is 0 with this probability, else
      divided by 1 - p (Zaremba et al., 2014); with one layer it does nothing, and warns;
    - variational_dropout: so is each feature of each layer's input, with one mask for all steps of
      a sequence (Gal and Ghahramani, 2016; Keras' `dropout`);
    - recurrent_dropout: each product W h with a recurrent weight becomes W (m ∘ h), m one mask for
      all steps of a sequence (Gal and Ghahramani, 2016; Keras' `recurrent_dropout`);
    - weight_dropout: each element of a recurrent weight is 0 with this probability, else divided
      by 1 - p, for all steps and rows (Merity et al., 2017);
    - zoneout: each unit of the state stays as it was, at each step, with this probability, one
      for all parts of the state or by name, {"c": 0.5, "h": 0.05}. In evaluation it takes the
      expectation of that (Krueger et al., 2017); the others then do nothing.

    checkpoint: memory for time. The tape keeps no steps, only the states between ⌈√T⌉ segments
    (True) or as many as given, and backward runs each segment again (Chen et al., 2016). With
    trace=True, which keeps every step, it has no effect.

    >>> import minigrad as mg
    >>> layer = mg.nn.Recurrent(mg.nn.GRUCell, 4, 3, num_layers=2, bidirectional=True, zoneout=0.1)
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
        variational_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: Zoneout = 0.0,
        checkpoint: bool | int = False,
        generator: Generator | None = None,
        **options: Any,
    ) -> None:
        if num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {num_layers}")
        if checkpoint < 0:
            raise ValueError(f"checkpoint must be a bool or a number of segments, got {checkpoint}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first
        self.dropout = probability("dropout", dropout)
        self.bidirectional = bidirectional
        self.variational_dropout = probability("variational_dropout", variational_dropout)
        self.recurrent_dropout = probability("recurrent_dropout", recurrent_dropout)
        self.weight_dropout = probability("weight_dropout", weight_dropout)
        self.zoneout = zoneout
        self.checkpoint = checkpoint
        self.generator = generator
        self._options = [
            f"{name}={value.__name__ if isinstance(value, type) else value}"
            for name, value in options.items()
            if name not in vars(self) and (name not in _DEFAULTS or value != _DEFAULTS[name])
        ]
        self._cells: list[list[Cell]] = []
        for _ in range(num_layers):
            self._cells.append(
                [
                    make_cell(cell, input_size, hidden_size, options)
                    for _ in range(1 + bidirectional)
                ]
            )
            input_size = sum(c.output_size for c in self._cells[-1])
        if dropout and num_layers == 1:
            warnings.warn(
                f"{type(self).__name__}: dropout={dropout} acts between layers, and num_layers is "
                "1: it does nothing (see variational_dropout, recurrent_dropout, zoneout)",
                stacklevel=2,
            )
        zoneout_rates(self._cells[0][0], zoneout)
        if recurrent_dropout or weight_dropout:
            recurrent_weights(self._cells[0][0])

    # ---- parameters under PyTorch's names ----------------------------------------------------

    def entries(self) -> Iterator[tuple[str, Any]]:
        """The cells' parameters with the layer and direction behind their names."""
        for suffix, cell in self.named_cells():
            for name, p in (*cell.named_parameters(), *cell.named_buffers()):
                yield name + suffix, p
        yield from (entry for entry in super().entries() if not entry[0].startswith("_cells."))

    def __getattr__(self, name: str) -> Any:
        for known, value in self.entries():
            if known == name:
                return value
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a cell's parameter by its name in the layer (`weight_hh_l0`), to tie weights, say."""
        for suffix, cell in self.named_cells():
            own = name.removesuffix(suffix)
            if own != name and own in vars(cell):
                setattr(cell, own, value)
                return
        super().__setattr__(name, value)

    @property
    def cells(self) -> Sequence[Sequence[Cell]]:
        """The cells by layer and direction."""
        return self._cells

    def named_cells(self) -> Iterator[tuple[str, Cell]]:
        """Each cell, and what stands behind its parameters' names: `_l0`, `_l0_reverse` …"""
        for layer, cells in enumerate(self.__dict__.get("_cells", ())):
            for cell, direction in zip(cells, ("", "_reverse"), strict=False):
                yield f"_l{layer}{direction}", cell

    # ---- running -----------------------------------------------------------------------------

    def forward(
        self,
        x: Tensor | PackedSequence,
        hx: State | None = None,
        lengths: Any = None,
        reset: Any = None,
        trace: bool = False,
    ) -> tuple[Any, State] | tuple[Any, State, Trace]:
        if not isinstance(x, PackedSequence):
            y, last, traces = self._forward(x, self.batch_first, hx, lengths, reset, trace)
        elif lengths is not None:
            raise ValueError(f"{type(self).__name__}: a PackedSequence has its own lengths")
        else:
            y, last, traces = self._forward(x.padded, False, hx, x.lengths, reset, trace)
            y = x.with_padded(y)
        return (y, last, traces) if trace else (y, last)

    def _forward(
        self,
        x: Tensor,
        batch_first: bool,
        state: State | None,
        lengths: Any,
        reset: Any,
        trace: bool,
    ) -> tuple[Tensor, State, Trace]:
        """Check what came, and bring it to features first and back again."""
        self._check_input(x, batch_first)
        masks = masks_of(type(self).__name__, lengths, reset, x.shape[:-1], batch_first)
        batched = x.ndim == 3
        if not batched:
            x = x.unsqueeze(1)
        elif batch_first:
            x = x.transpose(0, 1)
        x = x.transpose(1, 2)  # (T, I, B): features first, as in the cells
        if masks.valid is not None:
            x = ops.where(on_device(masks.valid, x), x, 0.0)
        y, finals, traces = self._layers(x, state, batched, masks, trace)
        y, last = y.transpose(1, 2), map_state(transposed, stacked(finals))
        if not batched:
            y, last = y.squeeze(1), map_state(lambda part: part.squeeze(1), last)
        elif batch_first:
            y = y.transpose(0, 1)
        return y, last, traces

    def _layers(
        self, x: Tensor, state: State | None, batched: bool, masks: Masks, trace: bool
    ) -> tuple[Tensor, list[State], Trace]:
        """Run every layer over x (T, I, B): the last outputs, and each cell's last state."""
        initial = [cell.initial_state(x.shape[2], x) for cells in self._cells for cell in cells]
        states = initial if state is None else self._given(state, initial, batched)
        finals: list[State] = []
        traces: list[CellTrace] = []
        for layer, cells in enumerate(self._cells):
            if self.training:
                x = dropped(x, self.dropout if layer else 0.0, self.generator)
                x = dropped_alike(x, self.variational_dropout, self.generator)
            outputs: list[Tensor] = []
            for cell, backwards in zip(cells, (False, True), strict=False):
                k = len(finals)
                y, final, recorder = self._run(
                    cell, x, states[k], initial[k], masks, backwards, trace
                )
                outputs.append(y)
                finals.append(final)
                if recorder is not None:
                    name = f"l{layer}_reverse" if backwards else f"l{layer}"
                    traces.append(recorder.trace(name, final, backwards))
            x = outputs[0] if len(outputs) == 1 else ops.cat(outputs, dim=1)
        return x, finals, tuple(traces)

    def _run(
        self,
        cell: Cell,
        x: Tensor,
        state: State,
        initial: State,
        masks: Masks,
        backwards: bool,
        trace: bool,
    ) -> tuple[Tensor, State, Recorder | None]:
        """Run one cell over x, with all that is switched on: outputs, the last state, a record."""
        steps, _, batch = x.shape
        if cell.training is not self.training:
            cell.train(self.training)
        shares = zoneout_shares(zoneout_rates(cell, self.zoneout), initial)
        kept = None
        if self.training:
            on_weights, on_state = self.weight_dropout, self.recurrent_dropout
            cell = with_dropout(cell, on_weights, on_state, batch, self.generator)
            kept, shares = zoneout_masks(shares, initial, steps, self.generator), None
        restart = unless_idle(masks.restarts(backwards), False, x)
        conditions = Conditions(restart, kept, unless_idle(masks.valid, True, x))
        recorder = Recorder(cell) if trace else None
        advance = Advance((recorder or cell).step, cell.output, initial, shares)
        segments = 1 if trace else self._segments(steps)
        y, last = scan(advance, cell.project, x, conditions, state, backwards, segments, trace)
        y = cell.readout(y, x)
        if masks.valid is not None:
            y = ops.where(on_device(masks.valid, x), y, 0.0)
        return y, last, recorder

    def _segments(self, steps: int) -> int:
        """Into how many segments a sequence is cut for the backward pass."""
        if self.checkpoint is True:
            return math.isqrt(steps - 1) + 1
        return min(int(self.checkpoint), steps) or 1

    def _check_input(self, x: Any, batch_first: bool) -> None:
        checked_value(type(self).__name__, x)
        legend = "(batch, time, input)" if batch_first else "(time, batch, input)"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: expected x {legend}, or (time, input) unbatched, with "
                f"input = {self.input_size}; got {x.shape} (batch_first={self.batch_first})"
            )
        if x.shape[1 if batch_first and x.ndim == 3 else 0] == 0:
            raise ValueError(f"{type(self).__name__}: x {x.shape} has no time steps")

    def _given(self, state: State, initial: list[State], batched: bool) -> list[State]:
        """The given state as one state per layer and direction, (H, B) each."""
        wanted = [(len(initial), *part.shape[::-1]) for part in leaves(initial[0])]
        legend = "(num_layers · directions, batch, features): batch second, also with batch_first"
        if not batched:
            wanted = [(n, features) for n, _, features in wanted]
            legend = "(num_layers · directions, features)"
        state = checked_state(type(self).__name__, state, initial[0], wanted, legend)
        if not batched:
            state = map_state(lambda part: part.unsqueeze(1), state)
        return unstacked(map_state(transposed, state))

    def flatten_parameters(self) -> None:
        """Nothing: PyTorch's code calls it, and here the parameters lie as they are needed."""

    def equations(self) -> str:
        """The equations of a step of each cell, as text; in the layers above, x is what is below.

        See `Cell.equations`.
        """
        return self._cells[0][0].equations()

    def extra_repr(self) -> str:
        return f"{type(self._cells[0][0]).__name__}, {self._arguments()}"

    def _arguments(self) -> str:
        """The sizes, and the options that are not as they are unless given."""
        own = ((name, vars(self)[name]) for name in _DEFAULTS if name in vars(self))
        shown = [f"{name}={value}" for name, value in own if value != _DEFAULTS[name]]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *self._options, *shown])
