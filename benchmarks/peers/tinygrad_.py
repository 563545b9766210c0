"""tinygrad on the CPU: the step is captured once by TinyJit, the loop over the steps unrolled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from tinygrad import Tensor, TinyJit

from benchmarks.peers.eager import Arrays, Size, Step, Tasks, Update

if not shutil.which(os.environ.get("CC", "clang")):
    raise ImportError("tinygrad compiles with clang, which is not installed")

VERSION = f"tinygrad {version('tinygrad')}"
STEPS = 50  # more of them, unrolled, take minutes to compile


def host(x: Any) -> Any:
    return x.numpy()


class Functions:
    """What the tasks are written in."""

    constant = staticmethod(Tensor)
    tanh = staticmethod(Tensor.tanh)
    sigmoid = staticmethod(Tensor.sigmoid)
    relu = staticmethod(Tensor.relu)

    @staticmethod
    def stack(xs: list[Tensor]) -> Tensor:
        return xs[0].stack(*xs[1:])

    @staticmethod
    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        y = x @ weight.T
        return y if bias is None else y + bias

    @staticmethod
    def chunk(x: Any, n: int) -> Any:
        return x.chunk(n, dim=-1)

    @staticmethod
    def layer_norm(x: Any, gain: Any, shift: Any = 0.0) -> Any:
        return x.layernorm() * gain + shift

    @staticmethod
    def cross_entropy(x: Any, target: Any) -> Any:
        return x.sparse_categorical_crossentropy(Tensor(target))

    @staticmethod
    def embedding(x: Any, index: Any) -> Any:
        return x[Tensor(index)]


def training(
    loss_of: Callable[[Arrays], Any], weights: Arrays, update: Update | None = None
) -> Step:
    if update is not None:
        raise NotImplementedError("a step that updates the weights is not written for it")
    tensors = {name: Tensor(weight).realize() for name, weight in weights.items()}

    @TinyJit
    def run() -> dict[str, Any]:
        loss = loss_of(tensors)
        gradients = loss.gradient(*tensors.values())
        Tensor.realize(loss, *gradients)
        return {"loss": loss, **dict(zip(tensors, gradients, strict=True))}

    return run


_tasks = Tasks(Functions, training)
operation = _tasks.operation


def layer(arrays: Arrays, kind: str, size: Size) -> Step:
    if size[0] > STEPS:
        raise NotImplementedError("it writes out the loop, and compiles more steps for minutes")
    return _tasks.layer(arrays, kind)


def user_cell(arrays: Arrays, kind: str, size: Size) -> Step:
    if size[0] > STEPS:
        raise NotImplementedError("it writes out the loop, and compiles more steps for minutes")
    return _tasks.user_cell(arrays, kind)
