"""The cell protocol, and the one driver that scans any cell over layers, directions and time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import numpy as np

from minigrad import ops
from minigrad.creation import zeros
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter
from minigrad.random import bernoulli_mask
from minigrad.tensor import Tensor

State = Any  # a Tensor, or a tuple of Tensors, each (n, B): features first


def map_state(fn: Callable[[Any], Any] | Callable[[Any, Any], Any], *states: State) -> State:
    """Apply `fn` to the tensors of one or more states of the same structure."""
    if not isinstance(states[0], tuple):
        run: Any = fn
        return run(*states)
    parts: Any = zip(*states, strict=True)
    return tuple([map_state(fn, *part) for part in parts])


def unstacked(state: State) -> list[State]:
    """A state of tensors (n, …) as n states."""
    if not isinstance(state, tuple):
        return list(state.unbind(0))
    parts = map(unstacked, cast("tuple[State, ...]", state))
    return list(zip(*parts, strict=True))


def stacked(states: Sequence[State]) -> State:
    """States of the same structure as one, of tensors with a new first axis."""
    if not isinstance(states[0], tuple):
        return ops.stack(states)
    return tuple([stacked(parts) for parts in zip(*states, strict=True)])


def leaves(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    if not isinstance(state, tuple):
        return [state]
    return [leaf for part in cast("tuple[State, ...]", state) for leaf in leaves(part)]


class Cell(Module):
    """A recurrent cell: `project` does what does not depend on the state, `step` the rest.

    Inside a cell features come first, as in textbooks: an input is (I, B), a state (H, B), so the
    equation h = tanh(W x + U h + b) reads `tanh(affine(U, h, p))` with p = `affine(W, x, b)`.
    A subclass defines

        project(x): (…, input_size, B) → p, for one step or for a whole sequence (T, I, B) at once
        step(p, state): p of one step and the state → the next state

    and names its state in `state_names`; a state of one name is a Tensor, of several a tuple.
    `output(state)` is what the layer above sees, by default the first of them. A cell can then be
    called like PyTorch's (`cell(x, state)`, batch first), and `Recurrent` makes a layer of it.
    """

    state_names: ClassVar[tuple[str, ...]] = ("h",)

    def __init__(self, input_size: int, hidden_size: int) -> None:
        if input_size < 1 or hidden_size < 1:
            raise ValueError(
                f"input_size and hidden_size must be positive, got {input_size} and {hidden_size}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size

    def parameter(self, *shape: int, device: str | None = None, dtype: Any = None) -> Parameter:
        """A new parameter ~ U(±1/√hidden_size), as in PyTorch's recurrent layers."""
        bound = 1 / math.sqrt(self.hidden_size)
        p = Parameter(zeros(*shape, device=device, dtype=dtype))
        init.uniform_(p, -bound, bound)
        return p

    @property
    def output_size(self) -> int:
        """The number of features of the output."""
        return self.hidden_size

    def project(self, x: Tensor) -> Any:
        """What the step needs of the input: (…, input_size, B) to a tensor or a tuple of them."""
        raise NotImplementedError(f"{type(self).__name__} defines no project(self, x)")

    def step(self, p: Any, state: State) -> State:
        """The equations: the projected input of one step and the state to the next state."""
        raise NotImplementedError(f"{type(self).__name__} defines no step(self, p, state)")

    def output(self, state: State) -> Tensor:
        """What the layer gives out at this step: (output_size, B)."""
        return cast("tuple[Tensor, ...]", state)[0] if isinstance(state, tuple) else state

    def initial_state(self, batch: int, like: Tensor) -> State:
        """The state before the first step: zeros (hidden_size, B) for each name."""
        parts = [
            zeros(self.hidden_size, batch, dtype=like.dtype, device=like.device)
            for _ in self.state_names
        ]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def forward(self, x: Tensor, state: State | None = None) -> State:
        """One step, batch first: x (B, I) or (I,), state (B, H) or (H,) each → the next state."""
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: expected x (batch, {self.input_size}) or "
                f"({self.input_size},), got {x.shape}"
            )
        batched = x.ndim == 2
        columns = x.T if batched else x.unsqueeze(1)
        before = self.initial_state(columns.shape[1], x)
        if state is not None:
            wanted = [part.shape[::-1] if batched else part.shape[:1] for part in leaves(before)]
            _check_state(type(self).__name__, state, wanted, "(batch, features)")
            before = map_state(_transposed if batched else _widened, state)
        after = self.step(self.project(columns), before)
        return map_state(_transposed if batched else _narrowed, after)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


def _transposed(part: Tensor) -> Tensor:
    return part.transpose(-1, -2)


def _widened(part: Tensor) -> Tensor:
    """With an axis for the batch: (features,) as (features, 1)."""
    return part.unsqueeze(-1)


def _narrowed(part: Tensor) -> Tensor:
    """Without the axis of the batch."""
    return part.squeeze(-1)


def _check_state(name: str, state: State, wanted: list[tuple[int, ...]], legend: str) -> None:
    """Raise unless the state's tensors have the wanted shapes, in order."""
    got = [tuple(part.shape) for part in leaves(state)]
    if got != wanted:
        raise ValueError(
            f"{name}: expected a state of {len(wanted)} tensor(s) of shapes {wanted}, {legend}; "
            f"got {len(got)} of shapes {got}"
        )


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
        mask = None if lengths is None else _length_mask(lengths, x.shape[0], x.shape[2])
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
        last = map_state(_transposed, stacked(finals))
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
        _check_state(type(self).__name__, state, wanted, legend)
        if not batched:
            state = map_state(lambda part: part.unsqueeze(1), state)
        return unstacked(map_state(_transposed, state))

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        shown += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join(shown)


class _Mask:
    """Which rows are within their length, at each step."""

    def __init__(self, lengths: np.ndarray[Any, Any], steps: int) -> None:
        self.valid = np.arange(steps)[:, None] < lengths  # (T, B)
        self.shortest = int(lengths.min(initial=steps))

    def whole(self, like: Tensor) -> Tensor:
        """The mask (T, 1, B) on the device of `like`."""
        return Tensor(like.backend.from_host(self.valid[:, None, :]))

    def at(self, t: int, like: Tensor) -> Tensor | None:
        """The mask (1, B) at step t; None where every row is within its length."""
        if t < self.shortest:
            return None
        return Tensor(like.backend.from_host(self.valid[t : t + 1]))


def _length_mask(lengths: Any, steps: int, batch: int) -> _Mask:
    host = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths)
    if host.shape != (batch,) or host.dtype.kind not in "iu":
        raise ValueError(
            f"lengths: expected {batch} integers, one a row, got {host.dtype} of shape {host.shape}"
        )
    if batch and (host.min() < 0 or host.max() > steps):
        raise ValueError(f"lengths must lie in 0…{steps} (the time steps of x), got {lengths}")
    return _Mask(host, steps)


def scan(
    cell: Cell, x: Tensor, state: State, mask: _Mask | None = None, backwards: bool = False
) -> tuple[Tensor, State]:
    """Run a cell over the steps of x (T, I, B): the outputs (T, H, B) and the last state."""
    projected = unstacked(cell.project(x))
    steps = range(len(projected))
    outputs: list[Tensor] = []
    for t in reversed(steps) if backwards else steps:
        after = cell.step(projected[t], state)
        y = cell.output(after)
        valid = mask.at(t, x) if mask is not None else None
        if valid is not None:
            after = map_state(partial(ops.where, valid), after, state)
            y = ops.where(valid, y, 0.0)
        state = after
        outputs.append(y)
    return ops.stack(outputs[::-1] if backwards else outputs), state
