"""Recurrent states: a tensor, or a tuple of them, taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from minigrad import ops
from minigrad.tensor import Tensor

State = Any  # a Tensor, or a tuple of Tensors, each (n, B): features first


def map_state(fn: Callable[[Any], Any] | Callable[[Any, Any], Any], *states: State) -> State:
    """Apply `fn` to the tensors of one or more states of the same structure."""
    if not isinstance(states[0], tuple):
        run: Any = fn
        return run(*states)
    together: Any = zip(*states, strict=True)
    return tuple([map_state(fn, *part) for part in together])


@dataclass(frozen=True, eq=False)
class Shared:
    """A part of what `Cell.project` gives that is the same for all steps: a part of a weight, say.

    The step gets the value as it is, where it gets its own slice (along time) of other parts.
    """

    value: Any


def unstacked(state: State) -> list[State]:
    """A state of tensors (n, …) as n states; what is shared is in each of them."""
    if not isinstance(state, tuple):
        return list(state.unbind(0))
    of_parts = cast("tuple[State, ...]", state)
    columns = [None if isinstance(part, Shared) else unstacked(part) for part in of_parts]
    n = next(len(column) for column in columns if column is not None)
    filled = [
        [part.value] * n if column is None else column
        for part, column in zip(of_parts, columns, strict=True)
    ]
    return list(zip(*filled, strict=True))


def unshared(p: Any) -> Any:
    """What `Cell.project` gives for one step, as the step takes it."""
    if isinstance(p, Shared):
        return p.value
    return tuple(map(unshared, cast("tuple[Any, ...]", p))) if isinstance(p, tuple) else p


def stacked(states: Sequence[State]) -> State:
    """States of the same structure as one, of tensors with a new first axis."""
    if not isinstance(states[0], tuple):
        return ops.stack(states)
    return tuple([stacked(part) for part in zip(*states, strict=True)])


def parts(state: State) -> tuple[Any, ...]:
    """The parts of a state that have names: those of a tuple, or the one tensor."""
    return cast("tuple[Any, ...]", state) if isinstance(state, tuple) else (state,)


def leaves(state: State) -> list[Tensor]:
    """The tensors of a state, in order."""
    if not isinstance(state, tuple):
        return [state]
    return [leaf for part in cast("tuple[State, ...]", state) for leaf in leaves(part)]


def named_leaves(names: Sequence[str], state: State) -> dict[str, Tensor]:
    """The tensors of a state by the names of its parts; those of a nested part are numbered."""
    found: dict[str, Tensor] = {}
    for name, part in zip(names, parts(state), strict=True):
        inner = leaves(part)
        found |= {name if len(inner) == 1 else f"{name}{i}": x for i, x in enumerate(inner)}
    return found


def transposed(part: Tensor) -> Tensor:
    """Its last two axes swapped: features first, as in cells, or batch first."""
    return part.transpose(-1, -2)


def checked_state(
    name: str, state: Any, like: State, wanted: list[tuple[int, ...]], legend: str
) -> State:
    """A state that somebody gave, its lists made tuples.

    Raises ValueError unless it is put together as `like` is, of tensors of the wanted shapes.
    """
    state = _of_tuples(state)
    got = _shapes(state)
    if got != wanted or _form(state) != _form(like):
        raise ValueError(
            f"{name}: expected as state {_form(like)}, of shapes {wanted}, {legend}; "
            f"got {_form(state)}, of shapes {got}"
        )
    return state


def checked_step(state: Any, initial: State) -> State:
    """The state that a cell's step gave, its lists made tuples.

    Raises ValueError unless it is put together as the initial one is, of the same shapes.
    """
    wanted: Any = [tuple(x.shape) for x in leaves(initial)]
    return checked_state("a cell's step", state, initial, wanted, "as from its initial_state")


def _shapes(state: State) -> list[Any]:
    """The shapes of a state's tensors; of what is none, its type."""
    given: list[Any] = list(leaves(state))
    return [tuple(x.shape) if is_value(x) else type(x).__name__ for x in given]


def is_value(x: Any) -> bool:
    """Whether ops run on it: a Tensor, or within a scan a value that notes what is done."""
    return isinstance(x, ops.Methods)


def checked_value(name: str, x: Any) -> None:
    """Raise TypeError for an x on which no op runs: a list or an array of NumPy's, say."""
    if not is_value(x):
        raise TypeError(f"{name}: expected a tensor x, got {type(x).__name__}; write mg.tensor(x)")


def _of_tuples(state: Any) -> State:
    if not isinstance(state, list | tuple):
        return state
    return tuple(map(_of_tuples, cast("Sequence[Any]", state)))


def _form(state: State) -> str:
    """How a state is put together: "a tensor", or "(a tensor, a tensor)"."""
    if not isinstance(state, tuple):
        return "a tensor"
    inner = [_form(part) for part in cast("tuple[State, ...]", state)]
    return f"({', '.join(inner)}{',' * (len(inner) == 1)})"
