"""The text of a function that is being written, and what it calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from minigrad.backend import Backend
from minigrad.scans.step import Line


class Text:
    """A function as text, and the ops and rules that it calls."""

    def __init__(self, signature: str) -> None:
        self.signature = signature
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {"inf": math.inf, "nan": math.nan}  # as numbers print
        self._names: dict[int, str] = {}

    def name(self, value: Any, prefix: str) -> str:
        """A name for something that the text calls."""
        name = self._names.get(id(value))
        if name is None:
            name = f"{identifier(prefix)}__{len(self.scope)}"  # as no variable is called
            self._names[id(value)] = name
            self.scope[name] = value  # which keeps it, so that no other gets its id
        return name

    @property
    def source(self) -> str:
        """The text of the function."""
        return "\n".join([f"def {self.signature}:", *(f"    {line}" for line in self.lines)])

    def compiled(self) -> Callable[..., Any]:
        """The function."""
        scope = dict(self.scope)
        name = self.signature.partition("(")[0]
        exec(compile(self.source, f"<scan {name}>", "exec"), scope)
        return scope[name]


def has_columns(shape: tuple[int, ...]) -> bool:
    """Whether a value is a matrix of several columns: many of these may lie in several ways."""
    return len(shape) == 2 and shape[1] > 1


def over_time(xp: Backend, steps: range, shape: tuple[int, ...], dtype: Any) -> Any:
    """A buffer (T, …) for a value at every step.

    That of columns, (T, H, B), lies in memory as (H, T, B): one product over all steps, which is
    what follows for most, takes it as it lies.
    """
    count = len(steps)
    if not has_columns(shape):
        return xp.empty((count, *shape), dtype)
    return xp.empty((shape[0], count, shape[1]), dtype).swapaxes(0, 1)


def as_seen(xp: Backend, steps: range, shape: tuple[int, ...], dtype: Any) -> Any:
    """A buffer (T, …) for an output at every step: that of columns, (T, H, B), lies as (T, B, H).

    So does what a layer's user sees; what reads it next, a loss or a product, goes straight on.
    """
    if not has_columns(shape):
        return xp.empty((len(steps), *shape), dtype)
    return xp.empty((len(steps), *shape[::-1]), dtype).swapaxes(1, 2)


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{k}" for k in range(count)]


def listed(items: Sequence[str]) -> str:
    """The text of a tuple of any length, without its parentheses."""
    return "".join(f"{item}, " for item in items)


def params_of(text: Text, line: Line) -> str:
    """The keyword arguments of a line's op and rules, behind other arguments."""
    return f", **{text.name(line.params, 'params')}" if line.params else ""


def identifier(name: str) -> str:
    """The name with nothing in it that Python would not take."""
    return "".join(c if c.isalnum() else "_" for c in name)
