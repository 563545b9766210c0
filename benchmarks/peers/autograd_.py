"""HIPS autograd: NumPy with a tape."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import value_and_grad

from benchmarks.peers.eager import Arrays, Step, Tasks, Update

VERSION = f"autograd {version('autograd')}"


def host(x: Any) -> Any:
    return getattr(x, "_value", x)  # what was computed on the way is boxed


class Functions:
    """What the tasks are written in."""

    tanh = staticmethod(anp.tanh)
    stack = staticmethod(anp.stack)

    @staticmethod
    def constant(x: Any) -> Any:
        return x

    @staticmethod
    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        y = anp.dot(x, weight.T)
        return y if bias is None else y + bias

    @staticmethod
    def sigmoid(x: Any) -> Any:
        return 0.5 * anp.tanh(0.5 * x) + 0.5

    @staticmethod
    def relu(x: Any) -> Any:
        return anp.maximum(x, 0)

    @staticmethod
    def chunk(x: Any, n: int) -> Any:
        return anp.split(x, n, axis=-1)

    @staticmethod
    def layer_norm(x: Any, gain: Any, shift: Any = 0.0) -> Any:
        centred = x - anp.mean(x, axis=-1, keepdims=True)
        variance = anp.mean(centred * centred, axis=-1, keepdims=True)
        return centred / anp.sqrt(variance + 1e-5) * gain + shift

    @staticmethod
    def embedding(x: Any, index: Any) -> Any:
        return x[index]

    @staticmethod
    def cross_entropy(x: Any, target: Any) -> Any:
        x = x - anp.max(x, axis=1, keepdims=True)
        logarithm = anp.log(anp.sum(anp.exp(x), axis=1))
        return anp.mean(logarithm - x[np.arange(len(target)), target])


def training(
    loss_of: Callable[[Arrays], Any], weights: Arrays, update: Update | None = None
) -> Step:
    derived = value_and_grad(loss_of)

    def run() -> dict[str, Any]:
        loss, gradients = derived(weights)
        if update is not None:
            update(weights, gradients)
        return {"loss": loss, **gradients}

    return run


_tasks = Tasks(Functions, training)
layer, user_cell = _tasks.layer, _tasks.user_cell
char_lm, mlp = _tasks.char_lm, _tasks.mlp
chain, operation = _tasks.chain, _tasks.operation
