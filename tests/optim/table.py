"""One row per optimiser: its formula as the paper has it, and the options to try it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from minigrad import optim

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Gradients = list[FloatArray]  # those of the steps so far, the last one last


def average(decay: float, values: Gradients) -> FloatArray:
    """(1 − decay) · Σ decay^(t − i) values_i: a running mean, written without a recursion."""
    weights = [(1 - decay) * decay ** (len(values) - 1 - i) for i in range(len(values))]
    return np.tensordot(weights, values, axes=1)


def squares(values: Gradients) -> Gradients:
    return [value**2 for value in values]


def sgd(gs: Gradients, lr: float, momentum: float, dampening: float, nesterov: bool) -> FloatArray:
    damped = [gs[0], *((1 - dampening) * g for g in gs[1:])]
    weights = [float(momentum) ** (len(gs) - 1 - i) for i in range(len(gs))]
    b = np.tensordot(weights, damped, axes=1)
    if momentum == 0:
        return lr * gs[-1]
    return lr * (gs[-1] + momentum * b if nesterov else b)


def adagrad(
    gs: Gradients, lr: float, lr_decay: float, initial_accumulator_value: float, eps: float
) -> FloatArray:
    s = initial_accumulator_value + np.sum(squares(gs), axis=0)
    return lr / (1 + (len(gs) - 1) * lr_decay) * gs[-1] / (np.sqrt(s) + eps)


def rmsprop(
    gs: Gradients, lr: float, alpha: float, eps: float, momentum: float, centered: bool
) -> FloatArray:
    def scaled(past: Gradients) -> FloatArray:
        v = average(alpha, squares(past))
        if centered:
            v = np.maximum(v - average(alpha, past) ** 2, 0)
        return past[-1] / (np.sqrt(v) + eps)

    steps = [scaled(gs[: i + 1]) for i in range(len(gs))]
    return lr * sum(momentum ** (len(gs) - 1 - i) * step for i, step in enumerate(steps))


def adadelta(gs: Gradients, lr: float, rho: float, eps: float) -> FloatArray:
    steps: Gradients = []
    for i in range(len(gs)):
        u = average(rho, squares(steps)) if steps else np.zeros_like(gs[0])
        steps.append(np.sqrt(u + eps) / np.sqrt(average(rho, squares(gs[: i + 1])) + eps) * gs[i])
    return lr * steps[-1]


def adam(
    gs: Gradients, lr: float, betas: tuple[float, float], eps: float, amsgrad: bool
) -> FloatArray:
    beta1, beta2 = betas
    m = average(beta1, gs) / (1 - beta1 ** len(gs))
    v = average(beta2, squares(gs))
    if amsgrad:
        v = np.max([average(beta2, squares(gs[: i + 1])) for i in range(len(gs))], axis=0)
    return lr * m / (np.sqrt(v / (1 - beta2 ** len(gs))) + eps)


@dataclass(frozen=True)
class Row:
    """An optimiser, what its paper subtracts after given gradients, and the options to try."""

    make: type[optim.Optimizer]
    formula: Callable[..., FloatArray]
    options: dict[str, tuple[Any, ...]]
    decoupled: bool = False

    def products(self) -> Iterator[dict[str, Any]]:
        """Yield every combination of the options that the optimiser accepts."""
        for values in product(*self.options.values()):
            chosen = dict(zip(self.options, values, strict=True))
            if not (chosen.get("nesterov") and (chosen["dampening"] or not chosen["momentum"])):
                yield chosen


ANY = {"weight_decay": (0, 0.1), "maximize": (False, True)}
ROWS = [
    Row(
        optim.SGD,
        sgd,
        {"lr": (0.1,), "momentum": (0, 0.9), "dampening": (0, 0.3), "nesterov": (False, True)}
        | ANY,
    ),
    Row(
        optim.Adagrad,
        adagrad,
        {
            "lr": (0.1,),
            "lr_decay": (0, 0.01),
            "initial_accumulator_value": (0, 0.5),
            "eps": (1e-10, 0.1),
        }
        | ANY,
    ),
    Row(
        optim.RMSprop,
        rmsprop,
        {
            "lr": (0.1,),
            "alpha": (0.99, 0.5),
            "eps": (1e-8, 0.1),
            "momentum": (0, 0.9),
            "centered": (False, True),
        }
        | ANY,
    ),
    Row(optim.Adadelta, adadelta, {"lr": (1.0, 0.1), "rho": (0.9, 0.5), "eps": (1e-6, 0.1)} | ANY),
    Row(
        optim.Adam,
        adam,
        {
            "lr": (0.1,),
            "betas": ((0.9, 0.999), (0, 0.5)),
            "eps": (1e-8, 0.1),
            "amsgrad": (False, True),
        }
        | ANY,
    ),
    Row(
        optim.AdamW,
        adam,
        {
            "lr": (0.1,),
            "betas": ((0.9, 0.999), (0, 0.5)),
            "eps": (1e-8, 0.1),
            "amsgrad": (False, True),
        }
        | ANY,
        decoupled=True,
    ),
]

CASES = [(row, options) for row in ROWS for options in row.products()]


def name_of(value: Any) -> str:
    """The id of a parametrised case."""
    if isinstance(value, Row):
        return value.make.__name__
    return ",".join(f"{k}={v}" for k, v in value.items()).replace(" ", "")
