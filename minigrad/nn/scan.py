"""Running a cell over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from minigrad import ops
from minigrad.autograd import checkpoint
from minigrad.fuse import fuse
from minigrad.nn.state import Shared, State, checked_step, map_state, unshared
from minigrad.scans import by_steps
from minigrad.scans import scan as scan_steps
from minigrad.tensor import Tensor


class Conditions(NamedTuple):
    """What holds at each step, (T, …), for the rows and units of a batch; None: nothing special."""

    restart: Tensor | None = None  # (T, 1, B): rows whose state starts anew before the step
    kept: State | None = None  # (T, H, B) each: units that zoneout keeps as they were
    valid: Tensor | None = None  # (T, 1, B): rows within their length


class Advance(NamedTuple):
    """One step, a pure function: state, (p, conditions) → state, y."""

    step: Callable[[Any, State], State]
    output: Callable[[State], Tensor]
    initial: State  # with which a row restarts
    shares: State | None = None  # of zoneout in evaluation: its expectation

    def __call__(self, state: State, inputs: tuple[Any, Any]) -> tuple[State, Tensor]:
        p, (restart, kept, valid) = inputs
        if restart is not None:
            state = map_state(partial(ops.where, restart), self.initial, state)
        after = checked_step(self.step(p, state), self.initial)
        if kept is not None:
            after = _where_any(ops.where, kept, state, after)
        if self.shares is not None:
            after = _where_any(_mixed, self.shares, state, after)
        y = self.output(after)
        if valid is not None:
            after = map_state(partial(ops.where, valid), after, state)
        return after, y


def _where_any(mix: Callable[..., Any], how: State, before: State, after: State) -> State:
    """`mix` of the state before and after for each tensor for which it is said how, not None."""
    if how is None:
        return after
    if isinstance(how, tuple):
        hows = cast("tuple[State, ...]", how)
        return tuple(map(partial(_where_any, mix), hows, before, after))
    return mix(how, before, after)


@fuse
def _mixed(share: Any, before: Any, after: Any) -> Any:
    return share * before + (1.0 - share) * after


def scan(
    advance: Advance,
    project: Callable[[Tensor], Any],
    x: Tensor,
    conditions: Conditions,
    state: State,
    backwards: bool = False,
    segments: int = 1,
    traced: bool = False,
) -> tuple[Tensor, State]:
    """Advance over the steps of x (T, I, B): the outputs (T, H, B) and the last state.

    With more than one segment, the tape keeps the states between them, and backward runs each
    segment again. `traced` steps run one by one, each with the projection of its own input, for
    somebody looks at them.
    """
    if traced:
        return _one_by_one(advance, project, backwards, x, conditions, state)
    run = partial(_segment, advance, project, backwards)
    if segments <= 1:
        return run(x, conditions, state)
    size = -(-x.shape[0] // segments)
    outputs: list[Tensor] = []
    starts = range(0, x.shape[0], size)
    for start in starts[::-1] if backwards else starts:
        x_piece, its_conditions = _piece((x, conditions), start, start + size)
        y, state = checkpoint(run, x_piece, its_conditions, state)
        outputs.append(y)
    return ops.cat(outputs[::-1] if backwards else outputs), state


def _piece(tree: Any, start: int, stop: int) -> Any:
    """Some steps of tensors (T, …)."""
    if isinstance(tree, tuple):
        return tuple([_piece(part, start, stop) for part in cast("tuple[Any, ...]", tree)])
    return None if tree is None else tree[start:stop]


def _segment(
    advance: Advance,
    project: Callable[[Tensor], Any],
    backwards: bool,
    x: Tensor,
    conditions: Conditions,
    state: State,
) -> tuple[Tensor, State]:
    p = project(x)

    def step(state: State, inputs: tuple[Any, Any]) -> tuple[State, Tensor]:
        p_t, conditions_t = inputs
        return advance(state, (_with_shared(p, p_t), conditions_t))

    state, y = scan_steps(step, state, (_without_shared(p), tuple(conditions)), reverse=backwards)
    return y, state


def _one_by_one(
    advance: Advance,
    project: Callable[[Tensor], Any],
    backwards: bool,
    x: Tensor,
    conditions: Conditions,
    state: State,
) -> tuple[Tensor, State]:
    def step(state: State, inputs: tuple[Any, Any]) -> tuple[State, Tensor]:
        x_t, conditions_t = inputs
        return advance(state, (unshared(project(x_t)), conditions_t))

    state, y = by_steps(step, state, (x, tuple(conditions)), reverse=backwards)
    return y, state


def _without_shared(p: Any) -> Any:
    """What of `Cell.project`'s result has a slice for each step; None in the other places."""
    if isinstance(p, tuple):
        return tuple(map(_without_shared, cast("tuple[Any, ...]", p)))
    return None if isinstance(p, Shared) else p


def _with_shared(p: Any, p_t: Any) -> Any:
    """One step's slices, and what is shared by all steps."""
    if isinstance(p, tuple):
        return tuple(map(_with_shared, cast("tuple[Any, ...]", p), p_t))
    return p.value if isinstance(p, Shared) else p_t
