"""`compile`: a function of tensors, written down once and run as straight code on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from minigrad import tape
from minigrad.backend import array_types, is_array
from minigrad.compiled.written import Written, kind, write
from minigrad.creation import get_default_device, get_default_dtype
from minigrad.fuse.named import ears
from minigrad.tensor import Tensor

KINDS = 64  # of arguments, whose code is kept
CHANGES = 8  # of what the function reads besides them, for each kind

_NUMBERS: Any = (float, complex, np.generic)
_PLAIN = (bool, int, str, bytes, type(None))


def compile(function: Callable[..., Any]) -> Compiled:
    """`function`, a module or a function of tensors, as straight code on arrays: one op.

    The first call with arguments of a kind (shapes, dtypes, which of them require grad, whether
    the tape records, and values that are no tensors) runs the function twice, to write down which
    ops it applies. From then on these run without the function, its tensors and nodes; gradients,
    of any order, are those of the function. Arguments and results are tensors in nested tuples,
    lists and dicts. A loop, that of a recurrent layer too, is written out step after step: with
    native kernels that is the quickest way to run a small cell for some tens of steps. For many
    steps the code becomes long; leave them to `scan` and the layers.

    The function must be pure: what it does may depend on nothing but its arguments and what it
    reaches (a module's attributes, `training` among them; what it is closed over; globals that its
    code names; and what these hold). If something else is put in the place of one of these, the
    function is written down again; a parameter may be written in place at any time. What is not
    seen: other state, such as class attributes, files, or the insides of NumPy arrays.

    Raises RuntimeError, at the first call, for a function that cannot be written down: it looks at
    a tensor's values (`if x.sum() > 0`), draws random numbers (dropout while training), writes a
    parameter or attribute, or reads a tensor that it does not reach.

    >>> import minigrad as mg
    >>> cell = mg.nn.LSTMCell(4, 3)
    >>> step = mg.compile(cell)
    >>> state = (mg.zeros(1, 3), mg.zeros(1, 3))
    >>> for x in mg.randn(5, 1, 4):
    ...     state = step(x, state)
    >>> state[0].shape
    (1, 3)
    """
    return Compiled(function)


class Compiled:
    """A function that is written down for each kind of arguments; see `compile`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = function.__doc__
        self._known: dict[object, list[Written]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = _Arguments([], [], [tape.mode.recording, get_default_dtype(), get_default_device()])
        known = _read(args, found) and (not kwargs or _read(kwargs, found))
        if not known or ears.listener is not None or tape.writer() is not None:
            return self.__wrapped__(*args, **kwargs)  # it is a part of what others write down
        key = tuple(found.key)
        for written in self._known.get(key, ()):
            if written.holds():
                return written.run(found.tensors)
        return self._write(key, found, args, kwargs).run(found.tensors)

    def _write(self, key: object, found: _Arguments, args: Any, kwargs: Any) -> Written:
        if len(self._known) >= KINDS and key not in self._known:
            self._known.pop(next(iter(tuple(self._known))), None)
        variants = self._known.setdefault(key, [])
        if len(variants) >= CHANGES:
            raise RuntimeError(
                f"compile: what {self.__name__} reads besides its arguments has changed {CHANGES} "
                "times; make it an argument, or do not compile"
            )
        function, roots = self.__wrapped__, [self.__wrapped__, *found.others]
        written = write(self.__name__, function, roots, found.tensors, args, kwargs)
        variants.insert(0, written)
        return written

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}>"

    def __reduce__(self) -> Any:
        return Compiled, (self.__wrapped__,)  # a copy writes down its own

    @property
    def source(self) -> str:
        """The code of what is written down so far, forward and backward."""
        ops = [written.op for variants in self._known.values() for written in variants]
        return "\n\n".join(op.source for op in ops)


class _Arguments(NamedTuple):
    """The arguments of a call: their tensors, other objects, and what makes them of a kind."""

    tensors: list[Tensor]
    others: list[Any]
    key: list[object]


def _read(value: Any, found: _Arguments) -> bool:
    """Read an argument; gives False for what stands for a tensor while others write down."""
    key = found.key
    if isinstance(value, Tensor):
        if not found.tensors:
            backend = array_types[type(value.data)]
            key.extend((backend, backend.native))
        found.tensors.append(value)
        key.extend(kind(value))
        return True
    if isinstance(value, (tuple, list)):
        parts = cast("Sequence[Any]", value)
        key.extend((type(parts), len(parts)))
    elif isinstance(value, dict):
        inner = cast("dict[Any, Any]", value)
        parts = list(inner.values())
        key.extend((dict, *inner))
    else:
        return _read_other(value, found)
    return all(_read(part, found) for part in parts)


def _read_other(value: Any, found: _Arguments) -> bool:
    """Read what is no tensor, and holds none."""
    if isinstance(value, _NUMBERS):
        found.key.extend((value.__class__, repr(value)))  # -0.0 is not 0.0
    elif isinstance(value, _PLAIN):
        found.key.extend((type(value), value))
    elif is_array(value):
        raise TypeError("compile: expected tensors as arguments, not arrays: write mg.tensor(x)")
    elif hasattr(value, "__run_op__"):
        return False
    else:
        found.key.append(value)
        found.others.append(value)
    return True
