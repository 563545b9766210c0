"""`gradcheck`: a function's gradient against differences along a random direction, to any order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minigrad import autograd, creation
from minigrad.tensor import Tensor
from minigrad.testing.difference import is_kink, reach, slope
from minigrad.testing.point import Direction, Function, Point, inner, is_active

ORDINALS = ("gradient", "second derivative", "third derivative")


class GradientError(AssertionError):
    """A gradient is not what finite differences measure."""


class KinkError(AssertionError):
    """The function is not smooth where it was checked, so that its gradient is a convention."""


def gradcheck(
    fn: Function, inputs: Tensor | Sequence[Any], order: int = 1, *, seed: int = 0
) -> bool:
    """Raise unless the gradients of `fn` are what finite differences measure; else return True.

    With random cotangents w and a random direction v, ⟨∂⟨w, fn(x)⟩/∂x, v⟩ from one backward pass is
    compared with the slope of ⟨w, fn(x + h v)⟩ at h = 0, to ten times that slope's estimated error.
    Order 2 checks in the same way the gradient as a function of x and w (create_graph=True), and so
    on. What does not agree is then looked for element by element.

    fn takes the inputs and gives a tensor, or nested tuples of tensors: the same for the same
    inputs, so seed any random numbers inside it. inputs: float64 tensors of size about 1, as steps
    are up to 1/64; those that do not require grad, and whatever is no tensor, are constants.

    Raises GradientError, which names the input and the element; KinkError where fn is not smooth
    at the inputs; TypeError for inputs of another precision.

    >>> import minigrad as mg
    >>> from minigrad.testing import gradcheck
    >>> x = mg.tensor([0.3, -2.0], dtype=np.float64, requires_grad=True)
    >>> gradcheck(lambda x: x * mg.tanh(x), x, order=2)
    True
    """
    xs: list[Any] = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    _refuse_unfit(xs, order)
    names = [f"input {i}" for i in range(len(xs))]
    rng = np.random.default_rng(seed)
    with autograd.enable_grad(), np.errstate(all="ignore"):  # a step may leave the domain
        for k in range(order):
            point = Point(fn, xs, rng)
            _check(point, names, ORDINALS[k])
            ws = [w.requires_grad_() for w in point.ws]
            names += [f"cotangent {i}" for i in range(len(ws))]
            fn, xs = point.derived, [*point.leaves(), *ws]
    return True


def _refuse_unfit(xs: Sequence[Any], order: int) -> None:
    if not 1 <= order <= len(ORDINALS):
        raise ValueError(f"gradcheck: order must be from 1 to {len(ORDINALS)}, got {order}")
    for i, x in enumerate(xs):
        if isinstance(x, Tensor) and x.dtype.kind == "f" and x.dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {x.dtype}, too coarse for differences; write "
                "x.detach().double().requires_grad_()"
            )
    if not any(map(is_active, xs)):
        raise ValueError("gradcheck: no input requires grad; write x.requires_grad_()")


def _check(point: Point, names: Sequence[str], what: str) -> None:
    """Compare along one random direction; where that disagrees, say why."""
    for i, g in point.gradients.items():
        if g.shape != point.xs[i].shape:
            shape = point.xs[i].shape
            raise GradientError(f"{what} of {names[i]} has shape {g.shape}, the input has {shape}")
    direction = {i: point.draw(point.xs[i]) for i in point.active}
    f = point.along(direction)
    if abs(f(0.0) - f(0.0)) > 1e-9 * point.size:
        raise ValueError(
            "gradcheck: the function gave two values for the same inputs; seed its random numbers "
            "inside it"
        )
    if _agrees(point, direction):
        _check_recorded(point, direction, what)
        return
    found = [_judge(point, v, f"{names[i]}, element {at}") for i, at, v in _elements(point)]
    wrong = [words for words, is_wrong in found if words and is_wrong]
    kinks = [words for words, is_wrong in found if words and not is_wrong]
    if not wrong and not kinks:
        words, is_wrong = _judge(point, direction, "a random direction")
        (wrong if is_wrong else kinks).append(words)
    if wrong:
        raise GradientError(f"wrong {what} at {_joined(wrong)}")
    raise KinkError(f"not smooth near x: kink at {_joined(kinks)}")


def _check_recorded(point: Point, direction: Direction, what: str) -> None:
    """The backward pass that is itself recorded must give the same gradient as the plain one."""
    plain, terms = point.predicted(direction)
    recorded = point.derived(*point.leaves(), *point.ws)
    again = inner((g.detach(), v) for g, v in zip(recorded, direction.values(), strict=True))
    if not abs(plain - again) <= 1e-9 * terms:
        raise GradientError(f"wrong {what}: {plain:.10g}, but {again:.10g} with create_graph=True")


def _agrees(point: Point, direction: Direction) -> bool:
    """Whether the slope along a direction is sharp, and the gradient agrees with it."""
    f, (says, terms) = point.along(direction), point.predicted(direction)
    if not math.isfinite(says):
        return False
    measured = slope(f, point.size)
    sharp = measured.error <= max(1e-5 * (point.size + terms), 1e-3 * reach(f))
    return sharp and abs(says - measured.value) <= 10 * measured.error + 1e-9 * terms


def _judge(point: Point, direction: Direction, where: str) -> tuple[str, bool]:
    """What is the matter along a direction, in words, if anything; and whether it is no kink."""
    if _agrees(point, direction):
        return "", False
    f, (says, _) = point.along(direction), point.predicted(direction)
    if is_kink(f, point.size, says):
        return where, False
    return f"{where}: it says {says:.10g}, differences {slope(f, point.size)}", True


def _elements(point: Point) -> Iterator[tuple[int, tuple[int, ...], Direction]]:
    for i in point.active:
        x = point.xs[i]
        for element in np.ndindex(*x.shape):
            one = np.zeros(x.shape)
            one[element] = 1.0
            yield i, element, {i: creation.tensor(one, device=x.device)}


def _joined(lines: list[str], few: int = 4) -> str:
    more = [f"and {len(lines) - few} more"] if len(lines) > few else []
    return "; ".join(lines[:few] + more)
