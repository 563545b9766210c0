"""PyTorch, eager, on the CPU; `torch:index` loops over x[t], `torch` over x.unbind(0)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.equations import CELLS, state_parts

Arrays = dict[str, Any]
Step = Callable[[], dict[str, Any]]
Size = tuple[int, int, int, int]
VERSION = f"PyTorch {torch.__version__}"
LAYERS = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
CELL_LAYERS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}

torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "2")))


def host(x: torch.Tensor) -> Any:
    return x.detach().numpy()


def leaf(x: Any) -> torch.Tensor:
    return torch.tensor(x).requires_grad_()


def load(module: nn.Module, arrays: Arrays) -> dict[str, nn.Parameter]:
    """Copy arrays into the parameters of the same names."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(arrays[name.removesuffix("_l0")]))
    return parameters


def clear(leaves: Iterable[torch.Tensor]) -> None:
    for one in leaves:
        one.grad = None


# ---- layers ------------------------------------------------------------------------------------


def layer(arrays: Arrays, kind: str, size: Size) -> Step:
    module = LAYERS[kind](size[2], size[3])
    leaves = {name.removesuffix("_l0"): p for name, p in load(module, arrays).items()}
    leaves["x"] = x = leaf(arrays["x"])
    r = torch.from_numpy(arrays["r"])

    def run() -> dict[str, Any]:
        clear(leaves.values())
        y, _ = module(x)
        loss = (y * r).sum()
        loss.backward()
        return {"loss": loss, **{name: one.grad for name, one in leaves.items()}}

    return run


def inference(arrays: Arrays, kind: str, size: Size) -> Step:
    module = LAYERS[kind](size[2], size[3]).eval()
    load(module, arrays)
    x = torch.from_numpy(arrays["x"])

    @torch.inference_mode()
    def run() -> dict[str, Any]:
        return {"y": module(x)[0]}

    return run


def stream(arrays: Arrays, kind: str, size: Size) -> Step:
    cell = CELL_LAYERS[kind](size[2], size[3]).eval()
    load(cell, arrays)
    x = torch.from_numpy(arrays["x"][0])
    state: Any = None

    @torch.inference_mode()
    def run() -> dict[str, Any]:
        nonlocal state
        state = cell(x, state)
        return {"y": state[0] if kind == "LSTM" else state}

    return run


# ---- a user's cells ----------------------------------------------------------------------------


class Functions:
    """What the equations of cells are written in."""

    linear = staticmethod(functional.linear)
    sigmoid = staticmethod(torch.sigmoid)
    tanh = staticmethod(torch.tanh)

    @staticmethod
    def chunk(x: torch.Tensor, n: int) -> Any:
        return x.chunk(n, dim=-1)

    @staticmethod
    def layer_norm(x: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor | None = None) -> Any:
        return functional.layer_norm(x, gain.shape, gain, shift)


def _user_cell(arrays: Arrays, kind: str, size: Size, steps_of: Any, compiled: bool) -> Step:
    r = torch.from_numpy(arrays.pop("r"))
    leaves = {name: leaf(value) for name, value in arrays.items()}
    cell = torch.compile(CELLS[kind]) if compiled else CELLS[kind]

    def run() -> dict[str, Any]:
        clear(leaves.values())
        state = (torch.zeros(size[1], size[3]),) * state_parts(kind)
        ys: list[torch.Tensor] = []
        for x in steps_of(leaves["x"]):
            state = cell(Functions, leaves, x, state)
            ys.append(state[0])
        loss = (torch.stack(ys) * r).sum()
        loss.backward()
        return {"loss": loss, **{name: one.grad for name, one in leaves.items()}}

    return run


def user_cell(arrays: Arrays, kind: str, size: Size) -> Step:
    return _user_cell(arrays, kind, size, lambda x: x.unbind(0), compiled=False)


def user_cell_index(arrays: Arrays, kind: str, size: Size) -> Step:
    return _user_cell(arrays, kind, size, lambda x: (x[t] for t in range(len(x))), compiled=False)


def user_cell_compile(arrays: Arrays, kind: str, size: Size) -> Step:
    return _user_cell(arrays, kind, size, lambda x: x.unbind(0), compiled=True)


# ---- training steps ----------------------------------------------------------------------------


class CharLM(nn.Module):
    """Embedding, two LSTM layers, and a linear head."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, num_layers=2)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(text))[0])


# The name of a parameter, and of the array that it starts from.
CHAR_LM_NAMES = {
    "embedding.weight": "embedding",
    "head.weight": "head_weight",
    "head.bias": "head_bias",
    **{
        f"lstm.{part}_l{k}": f"{part}_l{k}"
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        for k in range(2)
    },
}


def char_lm(arrays: Arrays, vocabulary: int, embedding: int, hidden: int, **_shape: int) -> Step:
    model = CharLM(vocabulary, embedding, hidden)
    named = {CHAR_LM_NAMES[name]: p for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(arrays[name]))
    text, target = torch.from_numpy(arrays["text"]), torch.from_numpy(arrays["target"])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def run() -> dict[str, Any]:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(text).flatten(0, 1), target.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss, **{name: p.grad for name, p in named.items()}}

    return run


def mlp(arrays: Arrays, widths: tuple[int, int, int]) -> Step:
    first, second = nn.Linear(*widths[:2]), nn.Linear(*widths[1:])
    model = nn.Sequential(first, nn.ReLU(), second)
    named = {"w1": first.weight, "b1": first.bias, "w2": second.weight, "b2": second.bias}
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(torch.from_numpy(arrays[name]))
    x, target = torch.from_numpy(arrays["x"]), torch.from_numpy(arrays["target"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def run() -> dict[str, Any]:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return {"loss": loss, **{name: p.grad for name, p in named.items()}}

    return run


# ---- operations --------------------------------------------------------------------------------


def chain(arrays: Arrays, kind: str, ops: int, backward: bool) -> Step:
    x = leaf(arrays["x"])

    def affine() -> torch.Tensor:
        y = x
        for _ in range(ops // 2):
            y = y * 1.0001 + 0.1
        return y

    def tanh() -> torch.Tensor:
        y = x
        for _ in range(ops):
            y = torch.tanh(y)
        return y

    forward = tanh if kind == "tanh(x)" else affine

    def run() -> dict[str, Any]:
        clear([x])
        y = forward()
        if not backward:
            return {"y": y}
        y.sum().backward()
        return {"y": y, "x": x.grad}

    return run


OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "matmul": lambda x, y: x @ y,
    "softmax cross-entropy": functional.cross_entropy,
    "layer norm": lambda x, gain, shift: functional.layer_norm(x, gain.shape, gain, shift),
    "embedding": lambda x, index: functional.embedding(index, x),
    "sum": lambda x: x.sum(),
    "sum over axis 0": lambda x: x.sum(0),
    "max over axis 1": lambda x: x.amax(1),
    "tanh(x)·y + z": lambda x, y, z: torch.tanh(x) * y + z,
}


def operation(arrays: Arrays, kind: str, **_shape: Any) -> Step:
    r = arrays.pop("r", np.float32(1))
    gradient = torch.tensor(r)
    tensors = {name: torch.tensor(value) for name, value in arrays.items()}
    leaves = {name: t.requires_grad_() for name, t in tensors.items() if t.is_floating_point()}
    function = OPERATIONS[kind]

    def run() -> dict[str, Any]:
        clear(leaves.values())
        y = function(*tensors.values())
        y.backward(gradient)
        return {"result": y, **{name: one.grad for name, one in leaves.items()}}

    return run
