"""The tasks of peers that have no layers of their own and run a Python loop over the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from benchmarks.peers.equations import CELLS, LAYERS, state_parts

Arrays = dict[str, Any]
Step = Callable[[], dict[str, Any]]
Size = tuple[int, int, int, int]
Update = Callable[[Arrays, Arrays], None]  # writes into the weights, given their gradients


class Tasks:
    """A peer's tasks from its functions `F` and its `training(loss_of, weights, update)`.

    `training` gives the step that computes loss_of(weights) and its gradients. Beside what cells
    need, `F` has stack, relu, embedding(x, index) and cross_entropy(x, target).
    """

    def __init__(self, F: Any, training: Callable[..., Step]) -> None:
        self.F = F
        self.training = training

    def layer(self, arrays: Arrays, kind: str, **_size: Any) -> Step:
        r = self.F.constant(arrays.pop("r"))
        return self.training(lambda w: (self._layer(kind, w, w["x"]) * r).sum(), arrays)

    def _layer(self, kind: str, w: Arrays, x: Any, suffix: str = "") -> Any:
        """The outputs (T, B, H) for x (T, B, I); the input's product is taken once."""
        own = {name: w[name + suffix] for name in ("weight_hh", "bias_hh")}
        rows = self.F.linear(
            x.reshape(-1, x.shape[-1]), w["weight_ih" + suffix], w["bias_ih" + suffix]
        )
        p = rows.reshape(*x.shape[:2], -1)
        return self._outputs(LAYERS[kind], kind, own, [p[t] for t in range(p.shape[0])])

    def _outputs(self, cell: Any, kind: str, w: Arrays, inputs: Iterable[Any]) -> Any:
        inputs = list(inputs)
        shape = inputs[0].shape[0], w["weight_n" if kind == "MGU" else "weight_hh"].shape[1]
        state = (np.zeros(shape, np.float32),) * state_parts(kind)
        state = tuple(map(self.F.constant, state))
        ys: list[Any] = []
        for x in inputs:
            state = cell(self.F, w, x, state)
            ys.append(state[0])
        return self.F.stack(ys)

    def user_cell(self, arrays: Arrays, kind: str, **_size: Any) -> Step:
        r = self.F.constant(arrays.pop("r"))

        def loss_of(w: Arrays) -> Any:
            inputs = [w["x"][t] for t in range(w["x"].shape[0])]
            return (self._outputs(CELLS[kind], kind, w, inputs) * r).sum()

        return self.training(loss_of, arrays)

    def char_lm(self, arrays: Arrays, **_shape: int) -> Step:
        text, target = arrays.pop("text"), arrays.pop("target").ravel()

        def loss_of(w: Arrays) -> Any:
            first = self._layer("LSTM", w, self.F.embedding(w["embedding"], text), "_l0")
            y = self._layer("LSTM", w, first, "_l1").reshape(len(target), -1)
            return self.F.cross_entropy(self.F.linear(y, w["head_weight"], w["head_bias"]), target)

        return self.training(loss_of, arrays, Adam(arrays))

    def mlp(self, arrays: Arrays, **_widths: Any) -> Step:
        x, target = self.F.constant(arrays.pop("x")), arrays.pop("target")

        def loss_of(w: Arrays) -> Any:
            hidden = self.F.relu(self.F.linear(x, w["w1"], w["b1"]))
            return self.F.cross_entropy(self.F.linear(hidden, w["w2"], w["b2"]), target)

        return self.training(loss_of, arrays, descend)

    def operation(self, arrays: Arrays, kind: str, **_shape: Any) -> Step:
        """The loss is the sum of the result times r, which no peer here can leave out."""
        r = self.F.constant(arrays.pop("r", np.ones((), np.float32)))
        fixed = {name: arrays.pop(name) for name in ("index", "target") if name in arrays}
        functions: dict[str, Callable[..., Any]] = {
            "matmul": lambda x, y: x @ y,
            "softmax cross-entropy": self.F.cross_entropy,
            "layer norm": self.F.layer_norm,
            "embedding": self.F.embedding,
            "sum": lambda x: x.sum(),
            "sum over axis 0": lambda x: x.sum(0),
            "max over axis 1": lambda x: x.max(1),
            "tanh(x)·y + z": lambda x, y, z: self.F.tanh(x) * y + z,
        }
        seen: dict[str, Any] = {}

        def loss_of(w: Arrays) -> Any:
            seen["result"] = functions[kind](**w, **fixed)
            return (seen["result"] * r).sum()

        return self._showing(seen, self.training(loss_of, arrays))

    def chain(self, arrays: Arrays, kind: str, ops: int, backward: bool) -> Step:
        if not backward:
            raise NotImplementedError("these peers record only what they also differentiate")
        seen: dict[str, Any] = {}

        def loss_of(w: Arrays) -> Any:
            y = w["x"]
            for _ in range(ops if kind == "tanh(x)" else ops // 2):
                y = self.F.tanh(y) if kind == "tanh(x)" else y * 1.0001 + 0.1
            seen["y"] = y
            return y.sum()

        return self._showing(seen, self.training(loss_of, arrays))

    def _showing(self, seen: dict[str, Any], step: Step) -> Step:
        """The step with what was computed on the way in the place of the loss."""

        def run() -> dict[str, Any]:
            gradients = step()
            del gradients["loss"]
            return {**seen, **gradients}

        return run


def descend(weights: Arrays, gradients: Arrays) -> None:
    for name, gradient in gradients.items():
        weights[name] -= 0.01 * gradient


class Adam:
    """Clipping to norm 1, and Adam, in NumPy."""

    def __init__(self, weights: Arrays) -> None:
        self.steps = 0
        self.moments = {name: [np.zeros_like(w), np.zeros_like(w)] for name, w in weights.items()}

    def __call__(self, weights: Arrays, gradients: Arrays) -> None:
        norm = float(np.sqrt(sum(np.vdot(g, g) for g in gradients.values())))
        self.steps += 1
        rate, correction = 1e-3 / (1 - 0.9**self.steps), 1 - 0.999**self.steps
        for name, g in gradients.items():
            g *= min(1.0, 1.0 / (norm + 1e-6))
            m, v = self.moments[name]
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            weights[name] -= rate * m / (np.sqrt(v / correction) + 1e-8)
