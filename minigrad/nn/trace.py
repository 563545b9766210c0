"""What happened inside a recurrent layer: the states and the gates of every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minigrad import ops
from minigrad.fuse import recording
from minigrad.nn.cell import Cell
from minigrad.nn.state import State, named_leaves
from minigrad.tensor import Tensor


@dataclass(frozen=True, eq=False, repr=False)
class CellTrace:
    """One cell's run over T steps; every tuple is in the order of time, in both directions.

    `cell.step(projected[t], before[t])` gave `after[t]`: the tensors of the graph themselves, so
    that gradients can be asked for. `values` has the T tensors (features, B) of each part of the
    state, as it left the step, and of each gate that the cell has `named`; `trace["f"]` stacks
    them: (T, B, features).

    Where options act on the state between the steps, before[t + 1] is not after[t]: a restart, a
    row beyond its length, zoneout. Weights that dropout thins are those of `cell`. `last` is the
    state that the layer gives back; `name` ends the names of the cell's weights in the layer.
    """

    name: str
    cell: Cell
    projected: tuple[Any, ...]
    before: tuple[State, ...]
    after: tuple[State, ...]
    last: State
    values: Mapping[str, tuple[Tensor, ...]]

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.values:
            raise KeyError(f"no {name!r} in the trace of a {self.cell!r}: it has {[*self.values]}")
        return ops.stack(self.values[name]).transpose(1, 2)

    def __repr__(self) -> str:
        held = ", ".join(self.values)
        return f"CellTrace({self.name}: {self.cell!r}, {len(self.after)} steps, {held})"


Trace = tuple[CellTrace, ...]  # by layer · directions + direction, as PyTorch orders h_n


class Recorder:
    """A cell's step that keeps what went in and came out."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._steps: list[tuple[Any, State, State, dict[str, Tensor]]] = []

    def step(self, p: Any, state: State) -> State:
        """The cell's step."""
        with recording() as gates:
            after = self.cell.step(p, state)
        states = named_leaves(self.cell.state_names, after)
        self._steps.append((p, state, after, {**gates, **states}))
        return after

    def trace(self, name: str, last: State, backwards: bool) -> CellTrace:
        """What was kept, in the order of time."""
        steps = self._steps[::-1] if backwards else self._steps
        projected, before, after, values = zip(*steps, strict=True)
        by_name = {part: tuple(step[part] for step in values) for part in values[0]}
        return CellTrace(name, self.cell, projected, before, after, last, by_name)
