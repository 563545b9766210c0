"""The initialisers beside PyTorch's: the same names, arguments, gains and spread."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import minigrad as mg
from minigrad.nn import init

torch = pytest.importorskip("torch")
CONVOLUTIONS = {"dirac_"}  # of what minigrad has none


def fillers(module: Any) -> dict[str, Any]:
    found = {name: value for name, value in vars(module).items() if name.endswith("_")}
    return {name: value for name, value in found.items() if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(set(fillers(torch.nn.init)) - CONVOLUTIONS))
def test_the_arguments_are_the_same(name: str) -> None:
    ours, theirs = (
        {p.name: p.default for p in inspect.signature(getattr(module, name)).parameters.values()}
        for module in (init, torch.nn.init)
    )
    assert list(ours.items()) == list(theirs.items())


@pytest.mark.parametrize("name", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
@pytest.mark.parametrize("param", [None, 0.3])
def test_gains_are_the_same(name: str, param: float | None) -> None:
    expected = torch.nn.init.calculate_gain(name, param)
    assert init.calculate_gain(name, param) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("xavier_uniform_", {"gain": 2.0}),
        ("xavier_normal_", {}),
        ("kaiming_uniform_", {"a": 0.5, "mode": "fan_out"}),
        ("kaiming_normal_", {"nonlinearity": "selu"}),
        ("trunc_normal_", {"std": 0.7, "a": -0.5, "b": 1.0}),
        ("sparse_", {"sparsity": 0.3}),
        ("orthogonal_", {"gain": 0.5}),
    ],
)
def test_the_spread_is_the_same(name: str, options: dict[str, Any]) -> None:
    ours, theirs = mg.zeros(300, 200, device="cpu"), torch.zeros(300, 200)
    getattr(init, name)(ours, **options)
    getattr(torch.nn.init, name)(theirs, **options, generator=torch.Generator().manual_seed(0))
    x, y = ours.numpy(), theirs.numpy()
    assert x.std() == pytest.approx(y.std(), rel=0.02)
    assert x.mean() == pytest.approx(y.mean(), abs=0.02 * float(y.std()))
