"""Stochastic gradient descent, with momentum and Nesterov's look-ahead."""

from __future__ import annotations

import math

from minigrad.backend import Array, backend_of
from minigrad.optim.checks import check_not_negative, check_number
from minigrad.optim.optimizer import Optimizer, decayed
from minigrad.optim.params import Group, Params
from minigrad.optim.state import State


class SGD(Optimizer):
    """Stochastic gradient descent: a step against the gradient, or against a running sum of it.

    With the gradient g_t, momentum μ, dampening τ and learning rate γ:

        g_t ← g_t + weight_decay · p
        b_1 = g_1,  b_t = μ b_{t−1} + (1 − τ) g_t
        p ← p − γ b_t,  or with nesterov  p ← p − γ (g_t + μ b_t)

    Args:
        params: Tensors, (name, Tensor) pairs or group dicts, see `Optimizer`.
        lr: the learning rate γ.
        momentum: μ; 0 steps along g_t itself and keeps nothing.
        dampening: τ.
        weight_decay: the factor of the L2 penalty.
        nesterov: look ahead along the momentum; needs momentum, and no dampening.
        maximize: climb instead of descend.

    Raises:
        TypeError, ValueError: as `Optimizer` does.

    Source: Robbins and Monro, "A stochastic approximation method", 1951; Polyak, "Some methods of
    speeding up the convergence of iteration methods", 1964; in this form Sutskever et al., "On
    the importance of initialization and momentum in deep learning", 2013.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = mg.optim.SGD([w], lr=0.25, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w.detach()
    tensor([0., 0.])
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        check_not_negative("SGD", group, momentum=0.9, weight_decay=1e-4)
        check_number("SGD", "dampening", group["dampening"], 0, low=-math.inf)
        if group["nesterov"] and not (group["momentum"] > 0 and group["dampening"] == 0):
            raise ValueError(
                "SGD: nesterov needs momentum above 0 and dampening 0, got "
                f"momentum={group['momentum']!r} and dampening={group['dampening']!r}; write, "
                "for example, momentum=0.9, nesterov=True"
            )

    def init(self, p: Array, group: Group) -> dict[str, Array]:
        return {"momentum_buffer": backend_of(p).zeros_like(p)} if group["momentum"] else {}

    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        g = decayed(p, g, group)
        if group["momentum"]:
            b = state["momentum_buffer"]
            b *= group["momentum"]
            b += g if state["step"] == 1 else (1 - group["dampening"]) * g
            g = g + group["momentum"] * b if group["nesterov"] else b
        return group["lr"] * g
