"""A function at one point: its gradient there by the tape, and its values on lines through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minigrad import autograd, creation
from minigrad.tensor import Tensor

Function = Callable[..., Any]
Direction = dict[int, Tensor]  # the number of an input -> how it moves


def is_active(x: Any) -> bool:
    """Whether an argument is a tensor with a gradient to check."""
    return isinstance(x, Tensor) and x.requires_grad


def _floats(y: Any) -> Iterator[Tensor]:
    """The floating tensors in nested tuples and lists."""
    if isinstance(y, (tuple, list)):
        for part in y:  # pyright: ignore[reportUnknownVariableType]  # whatever the user returns
            yield from _floats(part)
    elif isinstance(y, Tensor) and y.dtype.kind == "f":
        yield y


def inner(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Σ ⟨a, b⟩ over pairs of tensors."""
    return sum(float((a * b).sum().item()) for a, b in pairs)


class Point:
    """⟨w, fn(x)⟩ for one x and one random w: the number whose gradient is checked."""

    def __init__(self, fn: Function, xs: Sequence[Any], rng: np.random.Generator) -> None:
        self.fn = fn
        self.xs = [x.detach() if isinstance(x, Tensor) else x for x in xs]
        self.active = [i for i, x in enumerate(xs) if is_active(x)]
        self.rng = rng
        ys = self.outputs(self.leaves())
        self.ws = [self.draw(y) for y in ys]
        self.gradients = dict(zip(self.active, self.pull(self.leaves(), self.ws), strict=True))
        # of the terms in ⟨w, fn(x)⟩, and of what rounding x does to them
        self.size = inner((w.abs(), y.detach().abs()) for w, y in zip(self.ws, ys, strict=True))
        if not math.isfinite(self.size):
            raise ValueError("gradcheck: the function is not finite at the inputs")
        drift = inner((self.xs[i].abs(), g.abs()) for i, g in self.gradients.items())
        self.size += drift if math.isfinite(drift) else 0.0

    def leaves(self) -> list[Any]:
        """The inputs, the active ones as new leaves on the same arrays."""
        return [
            x.detach().requires_grad_() if i in self.active else x for i, x in enumerate(self.xs)
        ]

    def outputs(self, xs: Sequence[Any]) -> list[Tensor]:
        """What the function gives, flattened."""
        ys = list(_floats(self.fn(*xs)))
        if not ys or any(y.dtype != np.float64 for y in ys):
            raise TypeError(
                "gradcheck: expected a function that gives float64 for float64, its outputs are of "
                f"{[str(y.dtype) for y in ys]}"
            )
        return ys

    def draw(self, like: Tensor) -> Tensor:
        """Random numbers of size ½ to 1 in the shape and on the device of a tensor."""
        size = self.rng.uniform(0.5, 1.0, like.shape)
        signed = size * self.rng.choice([-1.0, 1.0], like.shape)
        return creation.tensor(np.asarray(signed), device=like.device)

    def pull(self, xs: Sequence[Any], ws: Sequence[Tensor], record: bool = False) -> list[Tensor]:
        """∂⟨w, fn(x)⟩/∂x for the active inputs; zeros where nothing flows."""
        recorded = [(y, w) for y, w in zip(self.outputs(xs), ws, strict=True) if y.requires_grad]
        wrt = [xs[i] for i in self.active]
        if not recorded:
            return [creation.zeros_like(x) for x in wrt]
        ys, gs = zip(*recorded, strict=True)
        found: list[Tensor | None] = [
            *autograd.grad(ys, wrt, gs, create_graph=record, allow_unused=True)
        ]
        return [creation.zeros_like(x) if g is None else g for g, x in zip(found, wrt, strict=True)]

    def derived(self, *args: Any) -> list[Tensor]:
        """The gradients as a function of the inputs and w: what the next order checks."""
        xs = list(args[: len(self.xs)])
        for i in self.active:
            if not xs[i].requires_grad:
                xs[i] = xs[i].detach().requires_grad_()
        return self.pull(xs, args[len(self.xs) :], record=True)

    def along(self, direction: Direction) -> Callable[[float], float]:
        """h ↦ ⟨w, fn(x + h v)⟩."""

        def f(h: float) -> float:
            moved = list(self.xs)
            for i, v in direction.items():
                moved[i] = self.xs[i] + h * v
            return inner((w, y.detach()) for w, y in zip(self.ws, self.outputs(moved), strict=True))

        return f

    def predicted(self, direction: Direction) -> tuple[float, float]:
        """The slope along a direction that the gradient says, and the size of its terms."""
        pairs = [  # where v is 0, not even an infinite gradient counts
            (self.gradients[i].masked_fill(v == 0.0, 0.0), v) for i, v in direction.items()
        ]
        return inner(pairs), inner((g.abs(), v.abs()) for g, v in pairs)
