"""RMSprop: steps divided by the size that gradients lately had."""

from __future__ import annotations

from minigrad.backend import Array, backend_of
from minigrad.optim.checks import check_not_negative, check_number
from minigrad.optim.optimizer import Optimizer, decayed
from minigrad.optim.params import Group, Params
from minigrad.optim.state import State


class RMSprop(Optimizer):
    """RMSprop: each element's gradient is divided by the root of its running mean square.

    With the gradient g_t, decay α, momentum μ and learning rate γ:

        g_t ← g_t + weight_decay · p
        v_t = α v_{t−1} + (1 − α) g_t²
        m_t = α m_{t−1} + (1 − α) g_t,  v_t ← v_t − m_t²      (centered only)
        b_t = μ b_{t−1} + g_t / (√v_t + ε)
        p ← p − γ b_t

    When rounding makes a centered v_t − m_t² negative, it counts as 0; PyTorch gives NaN there.

    Args:
        params: Tensors, (name, Tensor) pairs or group dicts, see `Optimizer`.
        lr: the learning rate γ.
        alpha: α, how slowly the mean square follows.
        eps: ε, so that nothing is divided by 0.
        weight_decay: the factor of the L2 penalty.
        momentum: μ.
        centered: divide by an estimate of the standard deviation instead.
        maximize: climb instead of descend.

    Raises:
        TypeError, ValueError: as `Optimizer` does.

    Source: Tieleman and Hinton, "Lecture 6.5 — rmsprop", Coursera, 2012; centered: Graves,
    "Generating sequences with recurrent neural networks", 2013.

    >>> import minigrad as mg
    >>> w = mg.tensor([1.0, -100.0], requires_grad=True)
    >>> optimizer = mg.optim.RMSprop([w], lr=0.5, alpha=0.75)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([  0., -99.])
    """

    elementwise = True

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "centered": centered,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        super().check(group)
        check_not_negative("RMSprop", group, eps=1e-8, weight_decay=1e-4, momentum=0.9)
        check_number("RMSprop", "alpha", group["alpha"], 0.99, high=1)

    def init(self, p: Array, group: Group) -> dict[str, Array]:
        keys = ["square_avg"]
        keys += ["grad_avg"] if group["centered"] else []
        keys += ["momentum_buffer"] if group["momentum"] else []
        return {key: backend_of(p).zeros_like(p) for key in keys}

    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        xp, alpha = backend_of(p), group["alpha"]
        g = decayed(p, g, group)
        v = state["square_avg"]
        v *= alpha
        v += (1 - alpha) * (g * g)
        if group["centered"]:
            m = state["grad_avg"]
            m *= alpha
            m += (1 - alpha) * g
            v = xp.maximum(v - m * m, 0)
        g = g / (xp.sqrt(v) + group["eps"])
        if group["momentum"]:
            b = state["momentum_buffer"]
            b *= group["momentum"]
            b += g
            g = b
        return group["lr"] * g
