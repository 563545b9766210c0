"""Gradients as functions of tensors: `grad`, `backward`, and where the tape records."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, cast

from minigrad import tape
from minigrad.tape import Leaf
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
    if isinstance(state, Tensor):
        return state.detach()
    if isinstance(state, dict):
        items = cast("dict[Any, Any]", state).items()
        return {key: detach(value) for key, value in items}
    if isinstance(state, (tuple, list)):
        held = cast("Sequence[Any]", state)
        parts = [detach(part) for part in held]
        kind: Any = type(held)  # a user's own tuple, perhaps
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return state
