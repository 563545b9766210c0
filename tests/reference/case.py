"""What a case is, and how to run it: the same lines for minigrad and for PyTorch."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional

Array = np.ndarray
Draw = Callable[[np.random.Generator], Array]


@dataclass(frozen=True)
class Library:
    """One of the two: its modules and functions, arrays in and out, layers over given lengths."""

    nn: Any
    F: Any
    tensor: Callable[[Array, bool], Any]
    numpy: Callable[[Any], Array]
    load: Callable[[Any, dict[str, Array]], None]
    over_lengths: Callable[[Any, Any, Any, list[int]], Any]
    dtype: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Case:
    """Inputs by name, perhaps a module, and a call that gives tensors in nested tuples."""

    name: str
    inputs: dict[str, Draw]
    call: Callable[[Library, Any, dict[str, Any]], Any]  # (library, module, inputs)
    module: Callable[[Library], Any] | None = None
    constant: tuple[str, ...] = ()  # floating inputs whose gradient is not compared
    rtol: float = 1e-9

    def draw(self, seed: int) -> dict[str, Array]:
        """The inputs that belong to a seed."""
        random = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        return {name: np.asarray(draw(random)) for name, draw in self.inputs.items()}


@dataclass
class Run:
    """One case with numbers: what goes in, and what comes out of a library."""

    inputs: dict[str, Array]
    weights: dict[str, Array] = field(default_factory=dict)
    cotangents: list[Array] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)
    gradients: dict[str, Array] = field(default_factory=dict)

    def cast(self, dtype: Any) -> Run:
        """The same numbers in another precision."""

        def cast(x: Array) -> Array:
            return x.astype(dtype) if x.dtype.kind == "f" else x

        return Run(
            {name: cast(x) for name, x in self.inputs.items()},
            {name: cast(x) for name, x in self.weights.items()},
            [cast(x) for x in self.cotangents],
            [cast(x) for x in self.outputs],
            {name: cast(x) for name, x in self.gradients.items()},
        )


def leaves(result: Any) -> list[Any]:
    """The tensors of nested tuples."""
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [] if result is None else [result]


def run(case: Case, library: Library, given: Run) -> Run:
    """Compute outputs and gradients from the inputs, weights and cotangents that are given."""
    inputs = {
        name: library.tensor(x, x.dtype.kind == "f" and name not in case.constant)
        for name, x in ((name, given.inputs[name]) for name in case.inputs)
    }
    module = None
    if case.module is not None:
        module = library.dtype(case.module(library), _floating(given))
        library.load(module, given.weights)
    ys = leaves(case.call(library, module, inputs))
    total: Any = None
    for y, w in zip(ys, given.cotangents, strict=True):
        term = (y * library.tensor(w, False)).sum()
        total = term if total is None else total + term
    total.backward()
    found = dict(inputs)
    if module is not None:
        found |= {f"weight:{name}": p for name, p in module.named_parameters()}
    gradients = {name: x.grad for name, x in found.items() if x.requires_grad}
    return Run(
        given.inputs,
        given.weights,
        given.cotangents,
        [library.numpy(y) for y in ys],
        {name: library.numpy(g) for name, g in gradients.items() if g is not None},
    )


def _floating(given: Run) -> Any:
    return next(x.dtype for x in given.cotangents)


def assert_agree(case: Case, ours: Run, theirs: Run, rtol: float) -> None:
    """Compare values and gradients to `rtol`, relative to the largest number of each array."""
    assert len(ours.outputs) == len(theirs.outputs)
    for i, (y, wanted) in enumerate(zip(ours.outputs, theirs.outputs, strict=True)):
        _assert_close(y, wanted, rtol, f"{case.name}: output {i}")
    absent = set(theirs.gradients) - set(ours.gradients)
    assert not absent, f"{case.name}: no gradient of {absent}"
    for name, wanted in theirs.gradients.items():
        _assert_close(ours.gradients[name], wanted, rtol, f"{case.name}: gradient of {name}")


def _assert_close(y: Array, wanted: Array, rtol: float, what: str) -> None:
    assert y.shape == wanted.shape, f"{what}: shape {y.shape}, expected {wanted.shape}"
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
    np.testing.assert_allclose(y, wanted, rtol=rtol, atol=rtol * min(scale, 1.0), err_msg=what)


def _over_lengths(layer: Any, x: Any, state: Any, lengths: list[int]) -> Any:
    return layer(x, state, lengths=lengths)


MINIGRAD = Library(
    nn,
    functional,
    tensor=lambda x, requires_grad: mg.tensor(x, requires_grad=requires_grad),
    numpy=lambda x: x.detach().cpu().numpy(),
    load=lambda module, weights: module.load_state_dict(weights),
    over_lengths=_over_lengths,
    dtype=lambda module, dtype: module.to(dtype),
)


# ---- how inputs are drawn --------------------------------------------------------------------


def normal(*shape: int) -> Draw:
    """Numbers ~ N(0, 1)."""
    return lambda random: random.standard_normal(shape)


def positive(*shape: int) -> Draw:
    """Numbers in (0.05, 2)."""
    return lambda random: random.uniform(0.05, 2, shape)


def probabilities(*shape: int, dim: int | None = None) -> Draw:
    """Numbers in (0, 1), of sum 1 along `dim` where it is given."""

    def draw(random: np.random.Generator) -> Array:
        p = random.uniform(0.01, 0.99, shape)
        return p if dim is None else p / p.sum(axis=dim, keepdims=True)

    return draw


def classes(n: int, *shape: int, ignored: int | None = None) -> Draw:
    """Integers below n; where `ignored` is given, a quarter of them is that number."""

    def draw(random: np.random.Generator) -> Array:
        index = random.integers(0, n, shape)
        if ignored is not None:
            index = np.where(random.random(shape) < 0.25, ignored, index)
            index.reshape(-1)[-1:] = (ignored + 1) % n  # PyTorch has no mean where all are ignored
        return np.asarray(index)

    return draw


def given(values: Any) -> Draw:
    """These numbers."""
    return lambda _random: np.asarray(values)
