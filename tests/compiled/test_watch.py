"""Compiled code is used for what it was written for, and for nothing else."""

from __future__ import annotations

import functools
import threading
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.compiled.watch import MOST, Watch

GLOBAL = mg.tensor([3.0])
FACTOR = 2.0


def variants(compiled: Any) -> list[int]:
    return [len(written) for written in compiled._known.values()]


class Scaled(nn.Module):
    """A parameter, a number, a list of layers, and what training changes."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(mg.ones(2))
        self.factor = 2.0
        self.layers = [nn.Linear(2, 2, bias=False)]
        self.layers[0].weight.copy_(mg.eye(2))

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x * self.weight * self.factor + (1.0 if self.training else 0.0)


# ---- what changes is seen ------------------------------------------------------------------------


def test_whatever_a_module_holds() -> None:
    model, x = Scaled(), mg.ones(2)
    compiled = mg.compile(model)

    def agrees() -> int:
        assert compiled(x).tolist() == model(x).tolist()
        return sum(variants(compiled))

    assert agrees() == 1
    model.weight.copy_(mg.full(2, 3.0))  # in place: the same code
    assert agrees() == 1
    model.eval()
    assert agrees() == 2
    model.train()
    model.factor = 4.0
    assert agrees() == 3
    model.weight = nn.Parameter(mg.full(2, 5.0))
    assert agrees() == 4
    model.layers.append(nn.Linear(2, 2, bias=False))
    assert agrees() == 5
    model.layers[0] = nn.Linear(2, 2, bias=False)
    assert agrees() == 6
    model.factor = 4.0
    assert agrees() == 6


def test_freezing_and_thawing_a_parameter() -> None:
    model, x = Scaled(), mg.ones(2)
    compiled = mg.compile(model)
    model.weight.requires_grad_(False)
    compiled(x).sum().backward()
    assert model.weight.grad is None
    model.weight.requires_grad_(True)
    compiled(x).sum().backward()
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [2.0, 2.0]


def test_dtypes_shapes_and_the_grad_mode() -> None:
    model = Scaled()
    compiled = mg.compile(model)
    compiled(mg.ones(2))
    assert compiled(mg.ones(3, 2)).shape == (3, 2)
    with mg.no_grad():
        assert not compiled(mg.ones(2)).requires_grad
    assert compiled(mg.ones(2)).requires_grad
    model.double()
    assert compiled(mg.ones(2, dtype=mg.float64)).dtype == mg.float64


def test_defaults_of_new_tensors() -> None:
    compiled = mg.compile(lambda x: (x, mg.zeros(1)))
    x = mg.ones(1, dtype=mg.float64)
    assert compiled(x)[1].dtype == mg.float32
    mg.set_default_dtype(mg.float64)
    try:
        assert compiled(x)[1].dtype == mg.float64
    finally:
        mg.set_default_dtype(mg.float32)


def test_what_functions_are_closed_over_and_globals(monkeypatch: pytest.MonkeyPatch) -> None:
    shift, held = mg.tensor([1.0]), [mg.tensor([10.0])]

    def helper(x: mg.Tensor) -> mg.Tensor:
        return x * FACTOR + held[0]

    @mg.compile
    def function(x: mg.Tensor) -> mg.Tensor:
        return helper(x) + shift + sum(GLOBAL for _ in range(1))

    x = mg.ones(1)
    assert function(x).item() == 16.0
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert function(x).item() == 17.0
    monkeypatch.setitem(globals(), "GLOBAL", mg.tensor([4.0]))
    assert function(x).item() == 18.0
    shift = mg.tensor([2.0])
    assert function(x).item() == 19.0
    held[0] = mg.tensor([20.0])
    assert function(x).item() == 29.0


def test_methods_partials_and_modules_as_arguments() -> None:
    class Plain:
        def __init__(self) -> None:
            self.w = mg.tensor([2.0])

        def times(self, x: mg.Tensor, k: float = 1.0) -> mg.Tensor:
            return x * self.w * k

    plain, x = Plain(), mg.ones(1)
    method = mg.compile(plain.times)
    part = mg.compile(functools.partial(plain.times, k=3.0))
    of_module = mg.compile(lambda model, x: model(x))
    model = nn.Linear(1, 1, bias=False)
    assert (method(x).item(), part(x).item()) == (2.0, 6.0)
    assert of_module(model, x).tolist() == model(x).tolist()
    plain.w, model.weight = mg.tensor([5.0]), nn.Parameter(mg.full((1, 1), 7.0))
    assert (method(x).item(), part(x).item()) == (5.0, 15.0)
    assert of_module(model, x).tolist() == [7.0]


def test_what_changes_at_every_call_is_refused() -> None:
    model, x = Scaled(), mg.ones(2)
    compiled = mg.compile(model)
    for k in range(8):
        model.factor = float(k)
        compiled(x)
    model.factor = -1.0
    with pytest.raises(RuntimeError, match="has changed 8 times; make it an argument"):
        compiled(x)


def test_only_so_many_kinds_are_kept() -> None:
    compiled = mg.compile(lambda x: x * 2.0)
    for n in range(1, 80):
        assert compiled(mg.ones(n)).shape == (n,)
    assert len(variants(compiled)) == 64


def test_watch_is_limited() -> None:
    tree: list[Any] = []
    for _ in range(MOST + 1):
        tree = [tree]
    with pytest.raises(RuntimeError, match="reaches more than 1000 objects"):
        Watch([tree])


def test_other_threads_are_not_written_down() -> None:
    seen: SimpleQueue[float] = SimpleQueue()

    def function(x: mg.Tensor) -> mg.Tensor:
        thread = threading.Thread(target=lambda: seen.put((GLOBAL * 2.0).item()))
        thread.start()
        thread.join()
        return x * 2.0

    assert mg.compile(function)(mg.ones(1)).item() == 2.0
    assert [seen.get_nowait(), seen.get_nowait()] == [6.0, 6.0]


# ---- what cannot be written down raises ----------------------------------------------------------


class Counting(nn.Module):
    def __init__(self) -> None:
        self.calls = 0

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        self.calls += 1
        return x * 2.0


class Keeping(nn.Module):
    def __init__(self) -> None:
        self.last: Any = None

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        self.last = x * 2.0
        return self.last


class Hidden:
    """Holds a tensor where nobody looks."""

    __slots__ = ("w",)

    def __init__(self) -> None:
        self.w = mg.ones(1)


HIDDEN = Hidden()
RANDOM = np.random.default_rng(0)


def writes(x: mg.Tensor) -> mg.Tensor:
    GLOBAL.copy_(mg.zeros(1))
    return x * 2.0


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: x if x.sum() > 0 else -x, "cannot be written down: it looks at a tensor's val"),
        (lambda x: x * float(GLOBAL.sum()), "looks at a tensor's values"),
        (lambda x: x * GLOBAL.item(), "cannot look at a tensor's values"),
        (lambda x: x * GLOBAL.tolist()[0], "cannot look at a tensor's values"),
        (lambda x: x * GLOBAL.numpy(), "cannot look at a tensor's values"),
        (writes, "cannot write into a tensor"),
        (lambda x: x + mg.randn(1), "random numbers cannot be drawn"),
        (nn.Dropout(0.5), "random numbers cannot be drawn"),
        (lambda x: x + mg.tensor(RANDOM.random(1)), r"makes a tensor of shape \(1,\) that differs"),
        (lambda x: x + RANDOM.random(), "it does something else the second time"),
        (lambda x: (x, RANDOM.random()), "it gives something else the second time"),
        (Counting(), "changes what it reads"),
        (Keeping(), "changes what it reads"),
        (lambda x: x + HIDDEN.w, r"shape \(1,\) that is neither an argument nor reached"),
        (lambda _: None, "it gives no tensor"),
    ],
)
def test_what_is_refused(function: Any, text: str) -> None:
    x = mg.ones(1)
    with pytest.raises(RuntimeError, match=text):
        mg.compile(function)(x)
    assert x.tolist() == [1.0]
    assert GLOBAL.tolist() == [3.0]
    assert mg.exp(x).shape == (1,)  # nothing is written down any more


def test_errors_of_the_function_are_its_own_with_a_note() -> None:
    with pytest.raises(ValueError, match="matmul") as caught:
        mg.compile(lambda x: x @ mg.ones(3, 3))(mg.ones(2, 2))
    assert "mg.compile ran <lambda> on stand-ins" in caught.value.__notes__[-1]


def test_arrays_are_no_arguments() -> None:
    with pytest.raises(TypeError, match=r"write mg\.tensor"):
        mg.compile(lambda x: x)(np.ones(1))


def test_a_value_that_was_kept_cannot_be_used_later() -> None:
    kept: list[Any] = []

    def function(x: mg.Tensor) -> mg.Tensor:
        kept[:] = [x * 2.0]
        return x

    with pytest.raises(RuntimeError, match="changes what it reads"):
        mg.compile(function)(mg.ones(1))
    with pytest.raises(RuntimeError, match="kept from an earlier run"):
        kept[0] + 1.0
