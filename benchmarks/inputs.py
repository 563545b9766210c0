"""The arrays of each task: float32, drawn from one seed for every peer, named as in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
BLOCKS = {"RNN": 1, "GRU": 3, "LSTM": 4, "peephole": 4, "CIFG": 3, "MGU": 2, "layer-norm LSTM": 4}


class Draw:
    """Draws float32 arrays."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(0)

    def normal(self, *shape: int) -> np.ndarray[Any, Any]:
        return self.generator.standard_normal(shape, np.float32)

    def uniform(self, bound: float, *shape: int) -> np.ndarray[Any, Any]:
        return self.generator.uniform(-bound, bound, shape).astype(np.float32)

    def integers(self, below: int, *shape: int) -> np.ndarray[Any, Any]:
        return self.generator.integers(0, below, shape)


def weights(draw: Draw, rows: int, inputs: int, hidden: int, suffix: str = "") -> Arrays:
    bound = 1 / math.sqrt(hidden)
    return {
        f"weight_ih{suffix}": draw.uniform(bound, rows, inputs),
        f"weight_hh{suffix}": draw.uniform(bound, rows, hidden),
        f"bias_ih{suffix}": draw.uniform(bound, rows),
        f"bias_hh{suffix}": draw.uniform(bound, rows),
    }


def layer(kind: str, size: tuple[int, int, int, int]) -> Arrays:
    """x (T, B, I), the weights of one layer, and r (T, B, H): the loss is the sum of y · r."""
    steps, batch, inputs, hidden = size
    draw = Draw()
    arrays = weights(draw, BLOCKS[kind] * hidden, inputs, hidden)
    return {
        "x": draw.normal(steps, batch, inputs),
        "r": draw.normal(steps, batch, hidden),
        **arrays,
    }


def user_cell(kind: str, size: tuple[int, int, int, int]) -> Arrays:
    """As `layer`, with one bias, and what the cell has beyond it."""
    hidden = size[3]
    arrays = layer(kind, size)
    arrays["bias"] = arrays.pop("bias_ih")
    del arrays["bias_hh"]
    draw = Draw()
    if kind == "MGU":
        arrays["weight_f"], arrays["weight_n"] = np.split(arrays.pop("weight_hh"), 2)
    if kind == "peephole":
        arrays |= {name: draw.uniform(0.5, hidden) for name in ("p_i", "p_f", "p_o")}
    if kind == "layer-norm LSTM":
        # Half the usual gain: with 1 the recurrence is chaotic, and after 100 steps gradients in
        # float32 are right to 4·10⁻⁴ only, whoever computes them.
        for name, width in {"x": 4 * hidden, "h": 4 * hidden, "c": hidden}.items():
            arrays[f"gain_{name}"] = np.float32(0.5) + draw.uniform(0.1, width)
        arrays["shift_c"] = draw.uniform(0.2, hidden)
    return arrays


def masked(kind: str, size: tuple[int, int, int, int], mask: str) -> Arrays:
    """As `layer`; a peer makes the mask from its name."""
    del mask
    return layer(kind, size)


def char_lm(steps: int, batch: int, vocabulary: int, embedding: int, hidden: int) -> Arrays:
    """Characters (T, B) and the ones that follow, an embedding, two LSTM layers, and a head."""
    draw = Draw()
    text = draw.integers(vocabulary, steps + 1, batch)
    return {
        "text": text[:-1],
        "target": text[1:],
        "embedding": draw.normal(vocabulary, embedding),
        **weights(draw, 4 * hidden, embedding, hidden, "_l0"),
        **weights(draw, 4 * hidden, hidden, hidden, "_l1"),
        "head_weight": draw.uniform(1 / math.sqrt(hidden), vocabulary, hidden),
        "head_bias": draw.uniform(1 / math.sqrt(hidden), vocabulary),
    }


def chain(**_options: Any) -> Arrays:
    return {"x": Draw().normal(8)}


def mlp(widths: tuple[int, ...]) -> Arrays:
    inputs, hidden, classes = widths
    draw = Draw()
    return {
        "x": draw.normal(32, inputs),
        "target": draw.integers(classes, 32),
        "w1": draw.uniform(0.125, hidden, inputs),
        "b1": draw.uniform(0.125, hidden),
        "w2": draw.uniform(0.125, classes, hidden),
        "b2": draw.uniform(0.125, classes),
    }


def operation(kind: str, shape: tuple[int, ...]) -> Arrays:
    """x and what the operation takes beside it; `r` has the shape of the result."""
    draw = Draw()
    x = draw.normal(*shape)
    alike = {"matmul": "yr", "tanh(x)·y + z": "yzr"}
    alike |= dict.fromkeys(("softmax", "log-softmax", "standardize columns"), "r")
    if kind in alike:
        return {"x": x, **{name: draw.normal(*shape) for name in alike[kind]}}
    if kind == "softmax cross-entropy":
        return {"x": x, "target": draw.integers(shape[1], shape[0])}
    if kind == "layer norm":
        gain, shift = draw.normal(shape[1]), draw.normal(shape[1])
        return {"x": x, "gain": gain, "shift": shift, "r": draw.normal(*shape)}
    if kind == "embedding":
        return {"x": x, "index": draw.integers(shape[0], 4096), "r": draw.normal(4096, shape[1])}
    if kind == "LSTM gates":
        return {"gates": draw.normal(4 * shape[0], *shape[1:]), "c": x, "r": draw.normal(*shape)}
    reduced = {"sum": (), "sum over axis 0": shape[1:], "max over axis 1": shape[:1]}
    return {"x": x, "r": np.asarray(draw.normal(*reduced[kind]))}


_MAKERS: dict[str, Callable[..., Arrays]] = {
    "layer": layer,
    "inference": layer,
    "stream": layer,
    "user_cell": user_cell,
    "masked": masked,
    "char_lm": char_lm,
    "chain": chain,
    "mlp": mlp,
    "operation": operation,
}


def arrays_of(task: str, options: dict[str, Any]) -> Arrays:
    """The arrays of a row, drawn anew: a peer may write into them."""
    return _MAKERS[task](**options)
