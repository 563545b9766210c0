"""MyGrad: NumPy with a tape that guards its arrays."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mygrad
import numpy as np
from mygrad.nnet.activations import relu, sigmoid
from mygrad.nnet.losses import softmax_crossentropy

from benchmarks.peers.eager import Arrays, Step, Tasks, Update

VERSION = f"MyGrad {version('mygrad')}"


def host(x: Any) -> Any:
    return np.asarray(x)


class Functions:
    """What the tasks are written in."""

    tanh = staticmethod(mygrad.tanh)
    sigmoid = staticmethod(sigmoid)
    relu = staticmethod(relu)
    stack = staticmethod(mygrad.stack)

    @staticmethod
    def constant(x: Any) -> Any:
        return mygrad.tensor(x, constant=True)

    @staticmethod
    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        y = mygrad.matmul(x, weight.T)
        return y if bias is None else y + bias

    @staticmethod
    def chunk(x: Any, n: int) -> Any:
        width = x.shape[-1] // n
        return [x[..., k * width : (k + 1) * width] for k in range(n)]

    @staticmethod
    def layer_norm(x: Any, gain: Any, shift: Any = 0.0) -> Any:
        centred = x - mygrad.mean(x, axis=-1, keepdims=True)
        variance = mygrad.mean(centred * centred, axis=-1, keepdims=True)
        return centred / mygrad.sqrt(variance + 1e-5) * gain + shift

    @staticmethod
    def cross_entropy(x: Any, target: Any) -> Any:
        return softmax_crossentropy(x, target)

    @staticmethod
    def embedding(x: Any, index: Any) -> Any:
        return x[index]


def training(
    loss_of: Callable[[Arrays], Any], weights: Arrays, update: Update | None = None
) -> Step:
    tensors = {name: mygrad.tensor(weight, copy=False) for name, weight in weights.items()}

    def run() -> dict[str, Any]:
        loss = loss_of(tensors)
        loss.backward()
        gradients = {name: tensor.grad for name, tensor in tensors.items()}
        if update is not None:
            update({name: tensor.data for name, tensor in tensors.items()}, gradients)
        return {"loss": loss, **gradients}

    return run


_tasks = Tasks(Functions, training)
layer, user_cell = _tasks.layer, _tasks.user_cell
char_lm, mlp = _tasks.char_lm, _tasks.mlp
chain, operation = _tasks.chain, _tasks.operation
