"""Running a cell over the steps of a sequence."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.nn.cell import Cell
from minigrad.nn.state import State, map_state, unstacked
from minigrad.tensor import Tensor


class Mask:
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


def length_mask(lengths: Any, steps: int, batch: int) -> Mask:
    host = np.asarray(lengths.tolist() if isinstance(lengths, Tensor) else lengths)
    if host.shape != (batch,) or host.dtype.kind not in "iu":
        raise ValueError(
            f"lengths: expected {batch} integers, one a row, got {host.dtype} of shape {host.shape}"
        )
    if batch and (host.min() < 0 or host.max() > steps):
        raise ValueError(f"lengths must lie in 0…{steps} (the time steps of x), got {lengths}")
    return Mask(host, steps)


def scan(
    cell: Cell, x: Tensor, state: State, mask: Mask | None = None, backwards: bool = False
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
