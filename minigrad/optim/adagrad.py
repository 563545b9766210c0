"""Adagrad: steps that shrink where gradients have been large."""

from __future__ import annotations

from minigrad.backend import Array, backend_of
from minigrad.optim.checks import check_not_negative
from minigrad.optim.optimizer import Optimizer, decayed
from minigrad.optim.params import Group, Params
from minigrad.optim.state import State


class Adagrad(Optimizer):
    """Adagrad: each element's step is divided by the root of the sum of its squared gradients.

    With the gradient g_t, its running sum of squares s_t and learning rate γ:

        g_t ← g_t + weight_decay · p
        s_t = s_{t−1} + g_t²
        p ← p − γ / (1 + (t − 1) lr_decay) · g_t / (√s_t + ε)

    Args:
        params: Tensors, (name, Tensor) pairs or group dicts, see `Optimizer`.
        lr: the learning rate γ.
        lr_decay: how fast γ falls with the number of steps.
        weight_decay: the factor of the L2 penalty.
        initial_accumulator_value: s_0.
        eps: ε, so that nothing is divided by 0.
        maximize: climb instead of descend.

    Raises:
        TypeError, ValueError: as `Optimizer` does.

    Source: Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", 2011.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -100.0], requires_grad=True)
    >>> optimizer = mg.optim.Adagrad([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([  0.5,  -99.5])
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        check_not_negative("Adagrad", group, lr_decay=1e-4, weight_decay=1e-4)
        check_not_negative("Adagrad", group, initial_accumulator_value=0.1, eps=1e-10)

    def init(self, p: Array, group: Group) -> dict[str, Array]:
        return {"sum": backend_of(p).full_like(p, group["initial_accumulator_value"])}

    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        g = decayed(p, g, group)
        s = state["sum"]
        s += g * g
        lr = group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"])
        return lr * (g / (backend_of(p).sqrt(s) + group["eps"]))
