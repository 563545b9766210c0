"""What a function reads besides its arguments: found, and watched for changes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import is_, itemgetter
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

from minigrad.backend import is_array
from minigrad.op import Op
from minigrad.tensor import Tensor

MOST = 1000  # objects that may be watched
_PACKAGE = __name__.partition(".")[0]

View = Callable[[], Sequence[Any]]  # what an object holds now


class Watch:
    """The objects that are reached from some, and what each of them holds.

    A function reaches what it is closed over, and the globals that its code names; a method its
    object; an object its attributes; lists, tuples and dicts what is in them; what wraps another
    that other. `tensors` are the tensors and arrays found there, by their id.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.tensors: dict[int, Any] = {}
        self._held: list[tuple[View, Sequence[Any]]] = []
        waiting, seen = [*roots], set[int]()
        while waiting:
            value = waiting.pop()
            if isinstance(value, Tensor) or is_array(value):
                self.tensors[id(value)] = value
            elif id(value) not in seen:
                seen.add(id(value))
                for view in _views(value):
                    held = [*view()]
                    self._held.append((view, held))
                    waiting += held
            if len(seen) > MOST:
                raise RuntimeError(
                    f"compile: the function reaches more than {MOST} objects, too many to watch; "
                    "give it what it needs as arguments"
                )

    def holds(self) -> bool:
        """Whether each object still holds what it held."""
        for view, held in self._held:
            now = view()
            if len(now) != len(held) or not all(map(is_, now, held)):
                return False
        return True


def _views(value: Any) -> Iterator[View]:
    """What to look into: functions for the things that a value holds."""
    if hasattr(value, "__wrapped__"):  # a cache, or a compiled function, around another
        yield lambda: (value.__wrapped__,)
    elif isinstance(value, FunctionType):
        if value.__module__.partition(".")[0] != _PACKAGE:
            yield from _views_of_function(value)
    elif isinstance(value, MethodType):
        yield lambda: (value.__self__, value.__func__)
    elif isinstance(value, functools.partial):
        of: Any = cast("Any", value)
        yield lambda: (of.func, *of.args, *of.keywords.values())
    elif isinstance(value, (list, tuple)):
        yield lambda: cast("Sequence[Any]", value)
    elif isinstance(value, dict):
        yield lambda: cast("Any", value).values()
    elif hasattr(value, "__dict__") and not isinstance(value, (type, ModuleType, Op)):
        yield lambda: cast("Any", vars(value).values())


def _views_of_function(function: FunctionType) -> Iterator[View]:
    cells = function.__closure__
    if cells:
        yield lambda: [cell.cell_contents for cell in cells]
    names = sorted(_names(function.__code__) & function.__globals__.keys())
    if names:
        get = itemgetter(*names, names[0])  # a tuple, also of one
        yield lambda: get(function.__globals__)
    if function.__defaults__:
        yield lambda: function.__defaults__ or ()


def _names(code: CodeType) -> set[str]:
    """The names that a function's code, and that of the functions within, may read as globals."""
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*inner)
