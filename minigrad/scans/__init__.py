"""`scan`: a step function over time; a step that can be written down runs on arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, cast

from minigrad import ops, tape
from minigrad.autograd import enable_grad
from minigrad.fuse.named import ears
from minigrad.random import refused
from minigrad.scans.op import ScanOp
from minigrad.scans.repeat import Repeat
from minigrad.scans.step import Writer, filled, flat
from minigrad.tensor import Tensor

StepFunction = Callable[[Any, Any], tuple[Any, Any]]
SHORTEST = 3  # steps from which it pays to write the step down, if nothing else asks for it


def scan(step: StepFunction, init: Any, xs: Any, *, reverse: bool = False) -> tuple[Any, Any]:
    """Carry a state through time: `state, y = step(state, x)` for every x along the first axis.

    init: the first state, a tensor or nested tuples of them; xs: tensors (T, …), likewise; the
    outputs y come back with a new first axis (T, …). With `reverse` time runs from the last x to
    the first. Returns the last state and the outputs.

    `step` must be a function of its arguments: it may read tensors from outside (parameters), but
    what it does must not depend on how often it has run, nor on chance that minigrad does not know
    of (`random`, `np.random`). Then it is run twice to write down which ops it applies, and the
    rest of the loop, forward and backward, runs on arrays as one node of the tape. A step that
    cannot be written down (it looks at a value, or draws minigrad's random numbers) runs as it
    stands, step by step, with the same results.

    >>> import minigrad as mg
    >>> mg.scan(lambda total, x: (total + x, total + x), mg.tensor(0.0), mg.tensor([1.0, 2.0, 3.0]))
    (tensor(6.), tensor([1., 3., 6.]))
    """
    inputs = flat(xs)
    length = _length(inputs)
    order = range(length)[::-1] if reverse else range(length)
    # compiled steps round as they do, so a stream must run them, too, to be equal to the bit
    if (length >= SHORTEST or inputs[0].backend.native) and _unheard():
        written = _written(step, init, xs, order)
        if written is not None:
            op, output = written
            ys: Any = op(*inputs, *flat(init), *op.step.constants.values())
            parts = iter(map(_result, cast("tuple[Any, ...]", ys), op.active_results))
            outputs = filled(output, parts)
            return filled(init, parts), outputs
    return by_steps(step, init, xs, reverse=reverse)


def _unheard() -> bool:
    """Whether nobody wants to see the ops of the steps one by one."""
    return ears.listener is None and tape.writer() is None


def _length(inputs: Sequence[Any]) -> int:
    lengths = {x.shape[0] if x.ndim else None for x in inputs}
    if len(lengths) != 1 or None in lengths or 0 in lengths:
        shapes = ", ".join(str(x.shape) for x in inputs)
        raise ValueError(
            f"scan: expected xs of one length T > 0, each (T, …), got shapes {shapes or 'of none'}"
        )
    return inputs[0].shape[0]


def by_steps(step: StepFunction, init: Any, xs: Any, *, reverse: bool = False) -> tuple[Any, Any]:
    """`scan` as the loop that one would write, on tensors."""
    state, order = init, range(_length(flat(xs)))
    cut = [ops.unbind(x) for x in flat(xs)]
    outputs: dict[int, list[Any]] = {}
    output: Any = None
    for t in order[::-1] if reverse else order:
        state, output = step(state, filled(xs, iter([x[t] for x in cut])))
        outputs[t] = flat(output)
    columns = zip(*(outputs[t] for t in range(len(order))), strict=True)
    return state, filled(output, iter([ops.stack(column) for column in columns]))


def _written(step: StepFunction, init: Any, xs: Any, order: range) -> tuple[ScanOp, Any] | None:
    """The scan as an op and the structure of its outputs; None if a step cannot be written down.

    Whatever goes wrong while writing will go wrong, or not, in the plain loop, which follows.
    """
    since = tape.now()
    try:
        with enable_grad(), refused():  # the tape tells where constants come from
            first = Writer(_at(xs, order[0]), flat(init))
            state, output = first.run(step, xs, init)
            Repeat(first, since).run(step, xs, init)
    except Exception:
        return None
    if not _stands(first) or filled(state, count()) != filled(init, count()):
        return None
    return ScanOp(first.step, order, first.results(first.step.output)), output


def _result(y: Any, active: bool) -> Any:
    """A result of the op as the loop would give it: numbers off the tape stay there."""
    return y if active else y.detach()


def _at(xs: Any, t: int) -> list[Tensor]:
    return [Tensor(x.data[t], x.edge) for x in flat(xs)]


def _stands(writer: Writer) -> bool:
    """Whether the state keeps its shapes and dtypes, so that every step is like the first."""
    step = writer.step
    values = writer.values
    return len(step.after) == step.state and all(
        values[a].shape == values[b].shape and values[a].dtype == values[b].dtype
        for a, b in zip(step.before, step.after, strict=True)
    )
