"""What training does with all parameters at once: clipping gradients, and one vector for all."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.autograd import no_grad
from minigrad.creation import tensor, zeros_like
from minigrad.tensor import Tensor

Parameters = Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]]


def _named(parameters: Parameters) -> list[tuple[str, Tensor]]:
    """Each parameter with the name by which a message speaks of it."""
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    return [
        p if isinstance(p, tuple) else (f"parameter {i} of shape {p.shape}", p)
        for i, p in enumerate(parameters)
    ]


def _gradients(named: Sequence[tuple[str, Tensor]]) -> list[tuple[str, Tensor, Tensor]]:
    return [(name, p, p.grad.detach()) for name, p in named if p.grad is not None]


def nonfinite_gradients(parameters: Parameters) -> list[str]:
    """Name the parameters whose gradient holds an infinity or a NaN.

    >>> import minigrad as mg
    >>> model = mg.nn.Linear(2, 1)
    >>> (model(mg.ones(1, 2)) * float("inf")).sum().backward()
    >>> mg.nn.utils.nonfinite_gradients(model.named_parameters())
    ['weight', 'bias']
    """
    found = _gradients(_named(parameters))
    return [name for name, _, g in found if not bool(ops.all(ops.isfinite(g)))]


@no_grad()
def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients by min(1, max_norm / (n + 10⁻⁶)), n their joint norm; returns n.

    n = (Σ |g|ᵖ)^(1/p) over the elements of all gradients, p = norm_type, or max |g| for p = ∞
    (Pascanu et al., 2013).
    parameters: tensors, or pairs of name and tensor (`model.named_parameters()`), so that messages
    can name them. Each `.grad` is bound to a new tensor; none is written into.

    Where n is not finite, scaling could only spread NaN (as it does in PyTorch). All gradients are
    then set to 0, so that the optimiser's step can break nothing (momentum and weight decay go on),
    with a RuntimeWarning that names where they are not finite; n is returned as it is. With
    error_if_nonfinite nothing is changed and a RuntimeError says the same. `nonfinite_gradients`
    gives the names at any time.

    >>> import minigrad as mg
    >>> p = mg.nn.Parameter(mg.zeros(2))
    >>> p.grad = mg.tensor([3.0, 4.0])
    >>> mg.nn.utils.clip_grad_norm_([p], 1.0)
    tensor(5.)
    >>> float(p.grad.norm()) <= 1
    True
    """
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(
            f"clip_grad_norm_: expected max_norm ≥ 0 and norm_type > 0, got {max_norm}, {norm_type}"
        )
    named = _named(parameters)
    found = _gradients(named)
    if not found:
        return tensor(0.0)
    gradients = [g for _, _, g in found]
    total = _norm(gradients, norm_type)
    scale = max_norm / (total + 1e-6)
    if not math.isfinite(total):
        message = _complaint(total, nonfinite_gradients(named))
        if error_if_nonfinite:
            raise RuntimeError(message)
        warnings.warn(f"{message}; all are set to 0", RuntimeWarning, stacklevel=3)
    for _, p, g in found:
        if not math.isfinite(total):
            p.grad = zeros_like(g)
        elif scale < 1:
            p.grad = g * scale
    return tensor(total, dtype=gradients[0].dtype, device=gradients[0].device)


def _norm(gradients: Sequence[Tensor], p: float) -> float:
    """The joint norm; once more in float64 where the powers may have left the range."""
    if p == math.inf:
        largest = [ops.amax(ops.abs(g)) for g in gradients if g.numel()]
        return float(ops.amax(ops.stack(largest))) if largest else 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # what is found then is reported
        total = _powers(gradients, p)
        if not 1e-30 < total < math.inf:
            total = _powers([g.double() for g in gradients], p)
    return total ** (1 / p)


def _powers(gradients: Sequence[Tensor], p: float) -> float:
    """Σ |g|ᵖ over all gradients."""
    if p == 2:
        flat = [g.reshape(-1) for g in gradients]
        powers = [ops.matmul(g, g) for g in flat]  # a dot product: no array of squares
    else:
        powers = [ops.sum(ops.abs(g) ** p) for g in gradients]
    return float(ops.sum(ops.stack([power.double() for power in powers])))


def _complaint(total: float, names: Sequence[str]) -> str:
    where = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    cause = f"the gradient of {where} is not finite" if names else "the powers overflow"
    return f"clip_grad_norm_: the norm of the gradients is {total}: {cause}"


@no_grad()
def clip_grad_value_(parameters: Parameters, clip_value: float) -> None:
    """Clamp each element of each gradient to ±clip_value; a NaN stays one.

    Each `.grad` is bound to a new tensor; none is written into.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value must not be negative, got {clip_value}")
    for _, p, g in _gradients(_named(parameters)):
        p.grad = ops.clamp(g, -clip_value, clip_value)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of the parameters in order, as one vector; gradients flow back through it.

    >>> import minigrad as mg
    >>> mg.nn.utils.parameters_to_vector(mg.nn.Linear(3, 2).parameters()).shape
    (8,)
    """
    parts = [p.reshape(-1) for p in parameters]
    if not parts:
        raise ValueError("parameters_to_vector: expected at least one parameter, got none")
    return ops.cat(parts)


def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Write the elements of `vec` (a tensor or an array) into the parameters, in order.

    Raises ValueError, before anything is written, unless vec has as many elements.
    """
    values = vec.detach() if isinstance(vec, Tensor) else tensor(np.asarray(vec))
    targets = list(parameters)
    count = sum(p.numel() for p in targets)
    if values.shape != (count,):
        raise ValueError(
            f"vector_to_parameters: expected a vector of {count} elements, one for each of the "
            f"parameters', got shape {values.shape}"
        )
    start = 0
    for p in targets:
        p.copy_(values[start : start + p.numel()].reshape(p.shape))
        start += p.numel()
