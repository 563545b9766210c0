"""A module with other things in the place of some of its tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

from minigrad.nn.module import Module


def replaced(value: Any, others: dict[int, Any]) -> Any:
    """A module, or what is within it, with others in the place of some tensors (by their id)."""
    if id(value) in others:
        return others[id(value)]
    if isinstance(value, Module):
        twin = others[id(value)] = copy.copy(value)
        vars(twin).update({name: replaced(inner, others) for name, inner in vars(twin).items()})
        return twin
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {key: replaced(inner, others) for key, inner in items}
    if isinstance(value, (list, tuple)):
        inner = [replaced(inner, others) for inner in cast("Sequence[Any]", value)]
        return inner if isinstance(value, list) else tuple(inner)
    return value
