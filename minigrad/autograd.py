"""Gradients as functions of tensors: `grad`, `backward`, and where the tape records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from typing import Any, cast

from minigrad import ops, tape
from minigrad.op import JointOp
from minigrad.ops import convert
from minigrad.random import default_generator
from minigrad.tape import Edge, Leaf, Node
from minigrad.tensor import Tensor, collect, seed_of


class _GradMode(contextlib.ContextDecorator):
    """Within it (`with`, or a decorated function), ops are recorded or not; per thread."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self.outer: list[bool] = []

    def _recreate_cm(self) -> _GradMode:
        """One per call of a decorated function: calls in several threads end in any order."""
        return _GradMode(self.mode)

    def __enter__(self) -> None:
        self.outer.append(tape.mode.recording)
        tape.mode.recording = self.mode

    def __exit__(self, *_: object) -> None:
        tape.mode.recording = self.outer.pop()


class set_grad_enabled(contextlib.AbstractContextManager[None]):
    """Switch recording on or off from here on, or within a `with` block; per thread."""

    def __init__(self, mode: bool) -> None:
        self.outer = tape.mode.recording
        tape.mode.recording = mode

    def __exit__(self, *_: object) -> None:
        tape.mode.recording = self.outer


def no_grad() -> _GradMode:
    """Within it nothing is recorded: for inference, and for values without a gradient.

    >>> import minigrad as mg
    >>> x = mg.ones(2, requires_grad=True)
    >>> with mg.no_grad():
    ...     (x * 2).requires_grad
    False
    """
    return _GradMode(False)


def enable_grad() -> _GradMode:
    """Within it ops are recorded, also inside `no_grad`."""
    return _GradMode(True)


def is_grad_enabled() -> bool:
    """Whether ops are being recorded in this thread."""
    return tape.mode.recording


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradients of several outputs to `.grad` of the leaves, in one sweep."""
    for (leaf, _), g in _pull_back(
        "backward", tensors, grad_tensors, None, retain_graph, create_graph
    ).items():
        assert isinstance(leaf, Leaf)
        collect(leaf, g, create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """Gradients of `outputs` with respect to `inputs` (leaves or computed tensors), as a tuple.

    Σₖ grad_outputsₖ · ∂outputsₖ/∂inputᵢ for each i; `.grad` stays untouched. With `create_graph`
    the result can be differentiated again. An input that the outputs do not depend on raises,
    or gives None with `allow_unused`.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dx,) = mg.autograd.grad(x * x * x, x, create_graph=True)
    >>> mg.autograd.grad(dx, x)
    (tensor(18.),)
    """
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    edges = [x.edge for x in wanted]
    if None in edges:
        raise RuntimeError(f"grad: input {edges.index(None)} does not require grad")
    known = [edge for edge in edges if edge is not None]
    found = _pull_back("grad", outputs, grad_outputs, known, retain_graph, create_graph)
    result: list[Any] = []
    for i, (x, edge) in enumerate(zip(wanted, known, strict=True)):
        g = found.get(edge)
        if g is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input {i} (shape {x.shape}); "
                "pass allow_unused=True to get None for it"
            )
        g = g if g is None or create_graph else Tensor(g)
        result.append(g if g is None or g.dtype == x.dtype else g.to(x.dtype))
    return tuple(result)


def _pull_back(
    name: str,
    outputs: Tensor | Sequence[Tensor],
    gradients: Tensor | Sequence[Tensor | None] | None,
    targets: list[tape.Edge] | None,
    retain_graph: bool | None,
    create_graph: bool,
) -> dict[tape.Edge, Any]:
    roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    given = [gradients] if gradients is None or isinstance(gradients, Tensor) else list(gradients)
    if len(given) == 1 and given[0] is None:
        given *= len(roots)
    if len(given) != len(roots):
        raise ValueError(f"{name}: {len(roots)} outputs, but {len(given)} gradients")
    seeds: list[tuple[tape.Edge, Any]] = []
    for k, (y, g) in enumerate(zip(roots, given, strict=True)):
        if y.edge is None:
            raise RuntimeError(f"{name}: output {k} does not depend on anything that requires grad")
        start = seed_of(y, g, name)
        seeds.append((y.edge, start if create_graph else start.data))
    retain = create_graph if retain_graph is None else retain_graph
    lift = Tensor if create_graph else None
    return tape.sweep(seeds, targets=targets, lift=lift, retain=retain)


def detach(state: Any) -> Any:
    """Cut a tensor, or every tensor in nested tuples, lists and dicts, off the tape.

    >>> import minigrad as mg
    >>> h, c = mg.detach((mg.ones(2, requires_grad=True), mg.zeros(2)))
    >>> h.requires_grad
    False
    """
    return mapped(convert.detach, state)


def mapped(fn: Callable[[Any], Any], value: Any) -> Any:
    """The same nested tuples, lists and dicts, with `fn` applied to every tensor."""
    if isinstance(value, ops.Methods):  # a Tensor, or what stands for one while a step is traced
        return fn(value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {key: mapped(fn, inner) for key, inner in items}
    if isinstance(value, (tuple, list)):
        held = cast("Sequence[Any]", value)
        parts = [mapped(fn, part) for part in held]
        kind: Any = type(held)  # a user's own tuple, perhaps
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return value


# ---- memory for time -------------------------------------------------------------------------


def _rerun_rule(g: Any, _y: Any, *_xs: Any, pull: Callable[[Any], list[Any]]) -> list[Any]:
    return pull(g)


def _rerun_forward(_xp: Any, *_xs: Any) -> Any:
    raise NotImplementedError("only `checkpoint` makes nodes of this op")


_rerun = JointOp("checkpoint", _rerun_forward, _rerun_rule, several=True)


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), of which the tape keeps the inputs only: backward runs it a second time.

    That takes the memory of one run instead of all, for the time of one more forward pass (Chen
    et al., 2016). Gradients reach whatever the function reads, arguments and captured parameters
    alike, to any order. It must compute the same again: the default generator's random numbers
    are replayed, those of another must be drawn outside. The result is a tensor, or nested tuples,
    lists and dicts of them. Raises RuntimeError in backward where the second run reads other
    tensors, or a parameter was written in between.

    >>> import minigrad as mg
    >>> w = mg.tensor(2.0, requires_grad=True)
    >>> y = mg.autograd.checkpoint(lambda x: mg.exp(w * x), mg.tensor(0.5))
    >>> y.backward()
    >>> bool(w.grad == 0.5 * y)
    True
    """
    random = default_generator.get_state()

    def run() -> tuple[Any, list[Tensor], list[Edge], int]:
        since = tape.now()
        result = function(*args)
        ys: list[Tensor] = []
        mapped(ys.append, result)
        read = tape.sources([y.edge for y in ys if y.edge is not None], since)
        return result, ys, read, since

    result, first, edges, _ = run()
    if not edges:
        return result

    def pull(gs: Sequence[Any]) -> list[Any]:
        with _replayed(random), enable_grad():
            _, ys, read, since = run()
        if read != edges:
            raise RuntimeError(
                "checkpoint: the function read other tensors when it ran again in the backward "
                "pass; it must compute the same each time"
            )
        seeds = [(y.edge, g) for y, g in zip(ys, gs, strict=True) if y.edge and g is not None]
        lift = Tensor if any(isinstance(g, Tensor) for g in gs) else None
        found = tape.sweep(seeds, targets=edges, lift=lift, retain=bool(lift), since=since)
        return [found.get(edge) for edge in edges]

    reads = [True] * len(edges)  # no arrays are saved, but a leaf that is written makes it stale
    node = Node(_rerun, reads, None, {"pull": pull}, edges, tuple(y.shape for y in first))
    numbers = iter(range(len(first)))

    def forgotten(y: Tensor) -> Tensor:
        k = next(numbers)
        return y if y.edge is None else Tensor(y.data, (node, k))

    return mapped(forgotten, result)


@contextlib.contextmanager
def _replayed(random: dict[str, Any]) -> Generator[None]:
    """Within it the default generator starts from a saved state; outside it goes on as it was."""
    outer = default_generator.get_state()
    default_generator.set_state(random)
    try:
        yield
    finally:
        default_generator.set_state(outer)
