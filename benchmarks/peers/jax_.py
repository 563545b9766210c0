"""JAX on the CPU: a scan over the steps, differentiated and compiled as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

# The pool takes as many threads as it may use processors, and there is no setting for it.
if hasattr(os, "sched_setaffinity"):
    allowed = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, allowed[: int(os.environ.get("BENCH_THREADS", "2"))])

import jax
import jax.numpy as jnp

from benchmarks.peers.equations import CELLS, LAYERS, state_parts

Arrays = dict[str, Any]
Step = Callable[[], dict[str, Any]]
Size = tuple[int, int, int, int]
State = tuple[Any, ...]
VERSION = f"JAX {jax.__version__}"


def host(x: Any) -> Any:
    return np.asarray(x)


def on_device(arrays: Arrays) -> Arrays:
    return {name: jnp.asarray(value) for name, value in arrays.items()}


def blocked(function: Callable[..., Any], *arguments: Any) -> Step:
    """A step that calls a compiled function and waits for what it gives."""
    return lambda: jax.block_until_ready(function(*arguments))


def training(loss_of: Callable[..., Any], weights: Arrays, *data: Any) -> Step:
    """Loss and gradients of all weights, in one compiled function."""

    @jax.jit
    def run(weights: Arrays, *data: Any) -> Arrays:
        loss, gradients = jax.value_and_grad(loss_of)(weights, *data)
        return {"loss": loss, **gradients}

    return blocked(run, weights, *data)


class Functions:
    """What the equations of cells are written in."""

    sigmoid = staticmethod(jax.nn.sigmoid)
    tanh = staticmethod(jnp.tanh)

    @staticmethod
    def linear(x: Any, weight: Any, bias: Any = 0.0) -> Any:
        return x @ weight.T + bias

    @staticmethod
    def chunk(x: Any, n: int) -> Any:
        return jnp.split(x, n, axis=-1)

    @staticmethod
    def layer_norm(x: Any, gain: Any, shift: Any = 0.0) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * gain + shift


# ---- layers ------------------------------------------------------------------------------------


def scanned(kind: str, w: Arrays, x: Any, suffix: str = "") -> Any:
    """The outputs of one layer for all steps; the input's product is taken once."""
    own = {name: w[name + suffix] for name in ("weight_hh", "bias_hh")}
    p = x @ w["weight_ih" + suffix].T + w["bias_ih" + suffix]

    def body(state: State, p: Any) -> tuple[State, Any]:
        state = LAYERS[kind](Functions, own, p, state)
        return state, state[0]

    start = (jnp.zeros((x.shape[1], own["weight_hh"].shape[1])),) * state_parts(kind)
    return jax.lax.scan(body, start, p)[1]


def layer(arrays: Arrays, kind: str, **_size: Any) -> Step:
    w = on_device(arrays)
    r = w.pop("r")
    return training(lambda w, r: (scanned(kind, w, w["x"]) * r).sum(), w, r)


def inference(arrays: Arrays, kind: str, **_size: Any) -> Step:
    return blocked(jax.jit(lambda w: {"y": scanned(kind, w, w["x"])}), on_device(arrays))


def stream(arrays: Arrays, kind: str, size: Size) -> Step:
    w = on_device(arrays)
    state = (jnp.zeros((1, size[3])),) * state_parts(kind)

    @jax.jit
    def step(w: Arrays, state: State) -> State:
        return LAYERS[kind](Functions, w, w["x"][0] @ w["weight_ih"].T + w["bias_ih"], state)

    def run() -> dict[str, Any]:
        nonlocal state
        state = jax.block_until_ready(step(w, state))
        return {"y": state[0]}

    return run


# ---- a user's cells ----------------------------------------------------------------------------


def user_cell(arrays: Arrays, kind: str, size: Size) -> Step:
    w = on_device(arrays)
    r = w.pop("r")

    def loss_of(w: Arrays, r: Any) -> Any:
        def body(state: State, x: Any) -> tuple[State, Any]:
            state = CELLS[kind](Functions, w, x, state)
            return state, state[0]

        start = (jnp.zeros((size[1], size[3])),) * state_parts(kind)
        return (jax.lax.scan(body, start, w["x"])[1] * r).sum()

    return training(loss_of, w, r)


# ---- training steps ----------------------------------------------------------------------------


def cross_entropy(x: Any, target: Any) -> Any:
    picked = jnp.take_along_axis(jax.nn.log_softmax(x), target[:, None], axis=1)
    return -picked.mean()


def char_lm(arrays: Arrays, **_shape: int) -> Step:
    w = on_device(arrays)
    text, target = w.pop("text"), w.pop("target").ravel()
    zeros = jax.tree.map(jnp.zeros_like, w)
    optimizer = (jnp.zeros(()), zeros, zeros)

    def loss_of(w: Arrays) -> Any:
        first = scanned("LSTM", w, w["embedding"][text], "_l0")
        second = scanned("LSTM", w, first, "_l1")
        scores = second.reshape(-1, second.shape[-1]) @ w["head_weight"].T + w["head_bias"]
        return cross_entropy(scores, target)

    @jax.jit
    def step(w: Arrays, optimizer: Any) -> Any:
        loss, g = jax.value_and_grad(loss_of)(w)
        norm = jnp.sqrt(sum((one * one).sum() for one in jax.tree.leaves(g)))
        g = jax.tree.map(lambda one: one * jnp.minimum(1.0, 1.0 / (norm + 1e-6)), g)
        w, optimizer = adam(w, g, optimizer)
        return {"loss": loss, **g}, w, optimizer

    def run() -> dict[str, Any]:
        nonlocal w, optimizer
        results, w, optimizer = jax.block_until_ready(step(w, optimizer))
        return results

    return run


def adam(w: Arrays, g: Arrays, optimizer: Any) -> Any:
    t, m, v = optimizer
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    rate, correction = 1e-3 / (1 - 0.9**t), 1 - 0.999**t
    w = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v / correction) + 1e-8), w, m, v)
    return w, (t, m, v)


def mlp(arrays: Arrays, **_widths: Any) -> Step:
    w = on_device(arrays)
    x, target = w.pop("x"), w.pop("target")

    def loss_of(w: Arrays) -> Any:
        hidden = jax.nn.relu(x @ w["w1"].T + w["b1"])
        return cross_entropy(hidden @ w["w2"].T + w["b2"], target)

    @jax.jit
    def step(w: Arrays) -> Any:
        loss, g = jax.value_and_grad(loss_of)(w)
        return {"loss": loss, **g}, jax.tree.map(lambda w, g: w - 0.01 * g, w, g)

    def run() -> dict[str, Any]:
        nonlocal w
        results, w = jax.block_until_ready(step(w))
        return results

    return run


# ---- operations --------------------------------------------------------------------------------


def chain(arrays: Arrays, kind: str, ops: int, backward: bool) -> Step:
    """Without jit, which would make one program of the chain: this is about single operations."""

    def forward(x: Any) -> Any:
        for _ in range(ops if kind == "tanh(x)" else ops // 2):
            x = jnp.tanh(x) if kind == "tanh(x)" else x * 1.0001 + 0.1
        return x

    x = jnp.asarray(arrays["x"])

    def run() -> dict[str, Any]:
        if not backward:
            return jax.block_until_ready({"y": forward(x)})
        y, pull = jax.vjp(forward, x)
        return jax.block_until_ready({"y": y, "x": pull(jnp.ones_like(y))[0]})

    return run


OPERATIONS: dict[str, Callable[..., Any]] = {
    "matmul": lambda x, y: x @ y,
    "softmax cross-entropy": cross_entropy,
    "layer norm": Functions.layer_norm,
    "embedding": lambda x, index: x[index],
    "sum": lambda x: x.sum(),
    "sum over axis 0": lambda x: x.sum(0),
    "max over axis 1": lambda x: x.max(1),
    "tanh(x)·y + z": lambda x, y, z: jnp.tanh(x) * y + z,
}


def operation(arrays: Arrays, kind: str, **_shape: Any) -> Step:
    w = on_device(arrays)
    r = w.pop("r", jnp.ones(()))
    leaves = {name: x for name, x in w.items() if x.dtype == jnp.float32}
    fixed = {name: x for name, x in w.items() if name not in leaves}

    @jax.jit
    def run(leaves: Arrays, r: Any) -> Arrays:
        y, pull = jax.vjp(lambda leaves: OPERATIONS[kind](**leaves, **fixed), leaves)
        return {"result": y, **pull(r)[0]}

    return blocked(run, leaves, r)
