"""Adadelta: steps in the units of the parameter, with hardly a learning rate."""

from __future__ import annotations

from minigrad.backend import Array, backend_of
from minigrad.optim.checks import check_not_negative, check_number
from minigrad.optim.optimizer import Optimizer, decayed
from minigrad.optim.params import Group, Params
from minigrad.optim.state import State


class Adadelta(Optimizer):
    """Adadelta: the gradient is scaled by how far steps lately went per size of gradient.

    With the gradient g_t, decay ρ and learning rate γ:

        g_t ← g_t + weight_decay · p
        v_t = ρ v_{t−1} + (1 − ρ) g_t²
        d_t = √(u_{t−1} + ε) / √(v_t + ε) · g_t
        u_t = ρ u_{t−1} + (1 − ρ) d_t²
        p ← p − γ d_t

    Args:
        params: Tensors, (name, Tensor) pairs or group dicts, see `Optimizer`.
        lr: γ, the share of d_t that is gone; 1 in the paper.
        rho: ρ, how slowly the running means follow.
        eps: ε; it also sets the size of the first steps.
        weight_decay: the factor of the L2 penalty.
        maximize: climb instead of descend.

    Raises:
        TypeError, ValueError: as `Optimizer` does.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -100.0], requires_grad=True)
    >>> optimizer = mg.optim.Adadelta([w], rho=0.75, eps=0.0625)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([  0.51492876, -99.5       ])
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        check_not_negative("Adadelta", group, eps=1e-6, weight_decay=1e-4)
        check_number("Adadelta", "rho", group["rho"], 0.9, high=1)

    def init(self, p: Array, group: Group) -> dict[str, Array]:
        return {key: backend_of(p).zeros_like(p) for key in ("square_avg", "acc_delta")}

    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        xp, rho, eps = backend_of(p), group["rho"], group["eps"]
        g = decayed(p, g, group)
        v, u = state["square_avg"], state["acc_delta"]
        v *= rho
        v += (1 - rho) * (g * g)
        d = xp.sqrt((u + eps) / (v + eps)) * g
        u *= rho
        u += (1 - rho) * (d * d)
        return group["lr"] * d
