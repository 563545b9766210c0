"""Weights as other libraries have them: an array there, and the parameters here that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.nn.cell import Cell
from minigrad.nn.module import Module
from minigrad.tensor import Tensor

Host = np.ndarray[Any, Any]
Order = tuple[int, ...]  # at place k: which of our blocks of rows comes k-th over there


@dataclass(frozen=True)
class Entry:
    """One array of another library, the parameters that it holds, and the way there and back."""

    label: str
    names: tuple[str, ...]  # of our parameters, in the module
    there: Callable[[Sequence[Host]], Host]
    here: Callable[[Host], Sequence[Host]]


def exported(module: Module, entries: Sequence[Entry]) -> list[Host]:
    """The array of each entry, new ones on the host."""
    state = {name: _host(value) for name, value in module.state_dict().items()}
    return [np.array(entry.there([state[name] for name in entry.names])) for entry in entries]


def load(module: Module, entries: Sequence[Entry], arrays: Sequence[Any], caller: str) -> None:
    """Copy the arrays into the parameters of their entries: all of them, or none.

    Raises ValueError for shapes that differ, and for arrays that differ where the module has one
    parameter for both; the message says which array, and what was expected.
    """
    values = [_host(x) for x in arrays]
    wanted = exported(module, entries)
    faults = [
        f"{entry.label}: expected {target.shape}, got {value.shape}{_hint(target, value)}"
        for entry, target, value in zip(entries, wanted, values, strict=True)
        if value.shape != target.shape
    ]
    if faults:
        raise ValueError(f"{caller}: shapes differ: " + "; ".join(faults))
    state: dict[str, Host] = {}
    for entry, value in zip(entries, values, strict=True):
        state.update(zip(entry.names, entry.here(value), strict=True))
    _check_shared(module, state, caller)
    module.load_state_dict(state, strict=False)  # what is shared has names beyond the entries'


def _check_shared(module: Module, state: Mapping[str, Host], caller: str) -> None:
    first: dict[int, str] = {}  # the first name of each parameter
    for name, value in module.state_dict().items():
        twin = first.setdefault(id(value.data), name)
        if {name, twin} <= state.keys() and not np.array_equal(state[name], state[twin]):
            raise ValueError(
                f"{caller}: {twin} and {name} are one parameter, but their arrays differ"
            )


def _hint(target: Host, value: Host) -> str:
    return " (is it transposed?)" if target.ndim == 2 and value.shape == target.shape[::-1] else ""


def _host(value: Any) -> Host:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def order_of(cell: Cell, known: Mapping[type[Cell], str], library: str) -> Order:
    """The order of a cell's gates over there, where `known` has their names in that order.

    Raises TypeError for a cell that is not exactly of a known kind: a subclass may compute
    something else with the same parameters.
    """
    if type(cell) not in known:
        names = ", ".join(kind.__name__ for kind in known)
        raise TypeError(
            f"{library}: no layout of {type(cell).__name__} is known, only of {names}; if it has "
            "their equations, convert nn.LSTM, nn.GRU … and pass the state_dict() on"
        )
    return tuple(cell.gates.index(gate) for gate in known[type(cell)])


def check_covered(module: Module, entries: Sequence[Entry], library: str) -> None:
    """Raise TypeError unless every parameter of the module belongs to an entry."""
    named = {name for entry in entries for name in entry.names}
    left = [name for name, _ in module.named_parameters() if name not in named]
    if left or not entries:
        raise TypeError(
            f"{library}: no layout is known of {', '.join(left) or type(module).__name__}"
        )


def reordered(x: Host, order: Order) -> Host:
    """The blocks of rows of x in the other library's order."""
    return x.reshape(len(order), -1, *x.shape[1:])[list(order)].reshape(x.shape)


def restored(x: Host, order: Order) -> Host:
    """The blocks of rows of x in our order again."""
    return reordered(x, tuple(np.argsort(order).tolist()))
