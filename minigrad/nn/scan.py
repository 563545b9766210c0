"""Running a cell over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from minigrad import ops
from minigrad.autograd import checkpoint
from minigrad.fuse import fuse
from minigrad.nn.state import State, map_state, unstacked
from minigrad.tensor import Tensor


class Conditions(NamedTuple):
    """What holds at one step for the rows (1, B) and units of a batch; None for nothing special."""

    restart: Tensor | None = None  # rows whose state starts anew before the step
    zoneout: State | None = None  # units that keep their value, or with which probability
    valid: Tensor | None = None  # rows within their length


class Advance(NamedTuple):
    """One step, a pure function of its inputs and the state: (p, conditions), state → state, y."""

    step: Callable[[Any, State], State]
    output: Callable[[State], Tensor]
    initial: State  # with which a row restarts

    def __call__(self, inputs: tuple[Any, Conditions], state: State) -> tuple[State, Tensor]:
        p, (restart, zoneout, valid) = inputs
        if restart is not None:
            state = map_state(partial(ops.where, restart), self.initial, state)
        after = self.step(p, state)
        if zoneout is not None:
            after = kept(zoneout, state, after)
        y = self.output(after)
        if valid is not None:
            after = map_state(partial(ops.where, valid), after, state)
        return after, y


def kept(zoneout: State, before: State, after: State) -> State:
    """The state after a step, of which zoneout keeps a part as it was before.

    For each tensor of the state, a mask of the units that are kept (training), or the probability
    to be kept (evaluation: the expectation); None where nothing is.
    """
    if zoneout is None:
        return after
    if isinstance(zoneout, tuple):
        return tuple(map(kept, cast("tuple[State, ...]", zoneout), before, after))
    return (_mixed if isinstance(zoneout, float) else ops.where)(zoneout, before, after)


@fuse
def _mixed(share: Any, before: Any, after: Any) -> Any:
    return share * before + (1.0 - share) * after


def scan(
    advance: Advance,
    project: Callable[[Tensor], Any],
    x: Tensor,
    conditions: Sequence[Conditions],
    state: State,
    backwards: bool = False,
    segments: int = 1,
) -> tuple[Tensor, State]:
    """Advance over the steps of x (T, I, B): the outputs (T, H, B) and the last state.

    With more than one segment, the tape keeps the states between them, and backward runs each
    segment again.
    """
    run = partial(_segment, advance, project, backwards)
    if segments <= 1:
        return run(x, conditions, state)
    size = -(-x.shape[0] // segments)
    outputs: list[Tensor] = []
    starts = range(0, x.shape[0], size)
    pieces = list(zip(x.split(size), starts, strict=True))
    for piece, start in reversed(pieces) if backwards else pieces:
        y, state = checkpoint(run, piece, conditions[start : start + size], state)
        outputs.append(y)
    return ops.cat(outputs[::-1] if backwards else outputs), state


def _segment(
    advance: Advance,
    project: Callable[[Tensor], Any],
    backwards: bool,
    x: Tensor,
    conditions: Sequence[Conditions],
    state: State,
) -> tuple[Tensor, State]:
    inputs = list(zip(unstacked(project(x)), conditions, strict=True))
    outputs: list[Tensor] = []
    for inputs_t in reversed(inputs) if backwards else inputs:
        state, y = advance(inputs_t, state)
        outputs.append(y)
    return ops.stack(outputs[::-1] if backwards else outputs), state
