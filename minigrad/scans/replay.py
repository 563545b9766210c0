"""What was written down, run on Tensors: for gradients that are themselves recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from minigrad.autograd import enable_grad, grad, set_grad_enabled
from minigrad.ops.broadcast import expand_to
from minigrad.scans.step import Number, Slot, Step
from minigrad.tensor import Tensor


def run_lines(step: Step, values: dict[Slot, Any]) -> dict[Slot, Any]:
    """Run a step's lines, op by op, on Tensors, and add what they give to the values."""
    for line in step.lines:
        args = [a.value if isinstance(a, Number) else values[a] for a in line.args]
        with set_grad_enabled(any(step.active[out] for out in line.outs)):
            ys: Any = line.op(*args, **line.params)
        several = cast("tuple[Any, ...]", ys) if isinstance(ys, tuple) else (ys,)
        values.update(zip(line.outs, several, strict=False))  # hidden ones nobody reads
    return values


def pull_recorded(
    run: Callable[[Sequence[Any]], Iterable[Any]],
    g: Sequence[Any],
    xs: Sequence[Any],
    needs: Sequence[bool],
) -> Sequence[Any]:
    """The cotangents of `xs`, as recorded Tensors, from those of what `run(xs)` gives."""
    with enable_grad():
        # new places on the tape: a weight that the inputs were computed with counts apart
        own = [
            expand_to(x, shape=x.shape) if need else x for x, need in zip(xs, needs, strict=True)
        ]
        pairs = [
            (y, g_k)
            for y, g_k in zip(run(own), g, strict=False)
            if g_k is not None and isinstance(y, Tensor) and y.edge
        ]
        if not pairs:
            return [None] * len(needs)
        wanted = [x for x, need in zip(own, needs, strict=True) if need]
        ys, gs = zip(*pairs, strict=True)
        found = iter(grad(ys, wanted, gs, create_graph=True, allow_unused=True))
    return [next(found) if need else None for need in needs]
