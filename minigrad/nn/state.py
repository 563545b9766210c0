"""Recurrent states: a tensor, or a tuple of them, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from minigrad import ops
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


def transposed(part: Tensor) -> Tensor:
    """Its last two axes swapped: features first, as in cells, or batch first."""
    return part.transpose(-1, -2)


def check_state(name: str, state: State, wanted: list[tuple[int, ...]], legend: str) -> None:
    """Raise unless the state's tensors have the wanted shapes, in order."""
    got = [tuple(part.shape) for part in leaves(state)]
    if got != wanted:
        raise ValueError(
            f"{name}: expected a state of {len(wanted)} tensor(s) of shapes {wanted}, {legend}; "
            f"got {len(got)} of shapes {got}"
        )
