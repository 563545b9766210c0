"""Adam and AdamW: steps along a running mean of the gradient, divided by its running size."""

from __future__ import annotations

import math

from minigrad.backend import Array, backend_of
from minigrad.optim.checks import check_not_negative, check_number
from minigrad.optim.optimizer import Optimizer, decayed
from minigrad.optim.params import Group, Params
from minigrad.optim.state import State


class Adam(Optimizer):
    """Adam: a running mean of the gradient over the root of a running mean of its square.

    With the gradient g_t, betas (β₁, β₂) and learning rate γ:

        g_t ← g_t + weight_decay · p
        m_t = β₁ m_{t−1} + (1 − β₁) g_t,   m̂ = m_t / (1 − β₁ᵗ)
        v_t = β₂ v_{t−1} + (1 − β₂) g_t²,  v̂ = v_t / (1 − β₂ᵗ)
        p ← p − γ m̂ / (√v̂ + ε)

    and with amsgrad v̂ = max(v_1, …, v_t) / (1 − β₂ᵗ).

    Args:
        params: Tensors, (name, Tensor) pairs or group dicts, see `Optimizer`.
        lr: the learning rate γ, about the largest step of an element.
        betas: (β₁, β₂), how slowly the two running means follow.
        eps: ε, so that nothing is divided by 0.
        weight_decay: the factor of the L2 penalty, which is scaled like the gradient; for a decay
            of the weights themselves see `AdamW`.
        amsgrad: divide by the largest running mean so far.
        maximize: climb instead of descend.

    Raises:
        TypeError, ValueError: as `Optimizer` does.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015; amsgrad: Reddi,
    Kale and Kumar, "On the convergence of Adam and beyond", 2018.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -100.0], requires_grad=True)
    >>> optimizer = mg.optim.Adam([w], lr=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([  0.5,  -99.5])
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        who, betas = self._who, group["betas"]
        super().check(group)
        check_not_negative(who, group, eps=1e-8, weight_decay=1e-2)
        if not hasattr(betas, "__len__") or len(betas) != 2:
            raise TypeError(f"{who}: expected betas to be two numbers, got {betas!r}")
        check_number(who, "betas[0]", betas[0], 0.9, below=1)
        check_number(who, "betas[1]", betas[1], 0.999, below=1)

    def init(self, p: Array, group: Group) -> dict[str, Array]:
        keys = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]
        return {key: backend_of(p).zeros_like(p) for key in keys}

    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        return self._adapted(decayed(p, g, group), state, group)

    def _adapted(self, g: Array, state: State, group: Group) -> Array:
        xp, t = backend_of(g), state["step"]
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * (g * g)
        if group["amsgrad"]:
            v = xp.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        # m̂ / (√v̂ + ε) with the corrections among the numbers: one pass over the arrays fewer.
        root = math.sqrt(1 - beta2**t)
        rate = group["lr"] * root / (1 - beta1**t)
        return rate * (m / (xp.sqrt(v) + group["eps"] * root))


class AdamW(Adam):
    """Adam with the decay of the weights kept apart from the gradient and its scaling.

    With the notation of `Adam`:

        p ← p − γ m̂ / (√v̂ + ε) − γ · weight_decay · p

    Args:
        params: Tensors, (name, Tensor) pairs or group dicts, see `Optimizer`.
        lr: the learning rate γ, about the largest step of an element.
        betas: (β₁, β₂), how slowly the two running means follow.
        eps: ε, so that nothing is divided by 0.
        weight_decay: the share of p, times γ, that each step takes away.
        amsgrad: divide by the largest running mean so far.
        maximize: climb instead of descend; the weights decay all the same.

    Raises:
        TypeError, ValueError: as `Optimizer` does.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -100.0], requires_grad=True)
    >>> optimizer = mg.optim.AdamW([w], lr=0.5, weight_decay=0.5)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([  0.25, -74.5 ])
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        return self._adapted(g, state, group) + (group["lr"] * group["weight_decay"]) * p
