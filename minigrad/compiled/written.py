"""What a function does with arguments of one kind, written down, and what that holds for."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, cast

from minigrad import tape
from minigrad.autograd import mapped
from minigrad.backend import Array, backend_of, is_array
from minigrad.compiled.op import CompiledOp
from minigrad.compiled.watch import Watch
from minigrad.ops import Methods
from minigrad.random import refused
from minigrad.scans.repeat import Repeat
from minigrad.scans.step import Slot, Unwritable, Writer
from minigrad.tensor import Tensor


class _Result(Methods):
    """Stands for a tensor in the structure of results."""

    __eq__ = object.__eq__  # pyright: ignore[reportAssignmentType]  # no tensor
    __hash__ = object.__hash__


_RESULT: Any = _Result()


def kind(x: Tensor) -> tuple[tuple[int, ...], Any, bool]:
    """What the code depends on of a tensor."""
    return x.data.shape, x.data.dtype, x.edge is not None


class Written:
    """The op that a function became, the constants it reads, and the structure of its results."""

    def __init__(self, op: CompiledOp, constants: list[Any], watch: Watch, results: Any) -> None:
        self.op = op
        self.constants = constants
        self.watch = watch
        self.results = results
        self._tensors = [(c, *kind(c)) for c in constants if isinstance(c, Tensor)]
        self._active = [op.step.active[slot] for slot in op.step.output]
        self._all_alike = len({*self._active}) == 1
        self._flat = results is _RESULT or _is_flat(results)

    def holds(self) -> bool:
        """Whether nothing has changed that the function reads besides its arguments."""
        for c, shape, dtype, recorded in self._tensors:
            array = c.data
            if array.shape != shape or array.dtype is not dtype or (c.edge is None) is recorded:
                return False
        return self.watch.holds()

    def run(self, tensors: Sequence[Tensor]) -> Any:
        """The results for other arguments of the kind."""
        ys: Any = self.op(*tensors, *self.constants)
        if not self._all_alike:
            pairs = zip(ys, self._active, strict=True)
            ys = tuple([y if active else Tensor(y.data) for y, active in pairs])
        if self._flat:
            return ys[0] if self.results is _RESULT else ys
        left = iter(ys)
        return mapped(lambda _: next(left), self.results)


def _is_flat(results: Any) -> bool:
    """Whether results are a plain tuple of tensors."""
    return type(results) is tuple and all(y is _RESULT for y in cast("tuple[Any, ...]", results))


def write(
    name: str,
    function: Callable[..., Any],
    roots: Iterable[Any],
    tensors: Sequence[Tensor],
    args: Any,
    kwargs: Any,
) -> Written:
    """Write down what a function does, and again, to see that it does the same."""
    try:
        first = Writer(tensors, ())
        results = _noted(first, function, tensors, args, kwargs)
        watch = Watch(roots)
        again = _Again(first)
        same = results == _noted(again, function, tensors, args, kwargs)
        if not same or not watch.holds():
            raise Unwritable("it gives something else the second time, or changes what it reads")
        if not first.step.output:
            raise Unwritable("it gives no tensor")
        for a, b in zip(first.step.constants.values(), again.constants, strict=True):
            _check_constant(a, b, watch)
    except Unwritable as error:
        raise RuntimeError(f"compile: {name} cannot be written down: {error}") from None
    except Exception as error:
        error.add_note(
            f"while mg.compile ran {name} on stand-ins for its tensors, to write down what it does"
        )
        raise
    op = CompiledOp(name, first.step, backend_of(first.values[0]), _lent(first))
    return Written(op, list(first.step.constants.values()), watch, results)


class _Again(Repeat):
    """A second run, which may make constants of its own."""

    def __init__(self, first: Writer) -> None:
        super().__init__(first, since=0)
        self.constants: list[Any] = []
        self._places = iter(first.step.constants)

    def new_constant(self, x: Any) -> Slot:
        self.constants.append(x)
        return next(self._places, -1)


def _noted(
    writer: Writer, function: Callable[..., Any], tensors: Sequence[Tensor], args: Any, kwargs: Any
) -> Any:
    """Run a function; gives the structure of its results."""
    found: Any = None

    def run(_state: Any, given: tuple[Any, ...]) -> tuple[Any, Any]:
        nonlocal found
        left = iter(given)
        a, k = mapped(lambda _: next(left), (args, kwargs))
        ys: list[Any] = []

        def result(y: Any) -> Any:
            ys.append(y)
            return _RESULT

        found = mapped(result, function(*a, **k))
        return (), tuple(ys)

    with _writing(writer), refused():
        writer.run(run, tuple(tensors), ())
    return found


def _lent(writer: Writer) -> list[bool]:
    """Which results may lie in the memory of an argument or constant, for any layout of these."""
    step = writer.step
    outside = [*range(step.inputs), *step.constants]
    arrays = writer.results(outside)
    lent = set(outside)
    for line in step.lines:
        seen = line.op.view and line.slots[0] in lent
        lent.update(out for out in line.outs if seen or _shares(writer.values[out], arrays))
    return [slot in lent for slot in step.output]


def _shares(y: Array, arrays: Sequence[Array]) -> bool:
    """Whether an array may lie in the memory of others."""
    xp = backend_of(y)
    return any(backend_of(x) is xp and xp.may_share_memory(y, x) for x in arrays)


@contextlib.contextmanager
def _writing(writer: Writer) -> Generator[None]:
    """Within it, in this thread, what is done with any tensor is written down."""
    thread = threading.get_ident()
    tape.writers[thread] = writer
    try:
        yield
    finally:
        del tape.writers[thread]


def _check_constant(a: Any, b: Any, watch: Watch) -> None:
    """Raise unless what two runs read is the same and watched, or was made anew and is equal."""
    if a is not b and not _equal(a, b):
        raise Unwritable(f"it makes a tensor of shape {a.shape} that differs each time")
    if a is b and id(a) not in watch.tensors:
        raise Unwritable(
            f"it reads a tensor of shape {a.shape} that is neither an argument nor reached from "
            "it: make it an argument"
        )


def _equal(a: Any, b: Any) -> bool:
    """Whether two tensors or arrays off the tape hold the same, to the bit."""
    if any(isinstance(x, Tensor) and x.edge is not None for x in (a, b)):
        return False
    x, y = (v if is_array(v) else v.data for v in (a, b))
    x, y = (backend_of(v).to_host(v) for v in (x, y))
    return (x.shape, x.dtype, x.tobytes()) == (y.shape, y.dtype, y.tobytes())
