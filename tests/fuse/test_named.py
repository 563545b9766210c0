"""`named` gives values back, and tells their names to whoever listens."""

from __future__ import annotations

from typing import Any

import pytest

import minigrad as mg
from minigrad.fuse import recording


@mg.fuse
def gated(a: Any, b: Any, x: Any) -> Any:
    gate, update = mg.named(gate=mg.sigmoid(a), update=mg.tanh(b))
    step = mg.named(step=gate * update)
    return mg.named(y=x + step * step)


def test_values_come_back_in_order() -> None:
    x, y = mg.ones(2), mg.zeros(2)
    assert mg.named(b=x) is x
    assert mg.named(b=x, a=y, c=3) == (x, y, 3)
    with pytest.raises(TypeError, match="at least one"):
        mg.named()


def test_the_derived_code_uses_the_names() -> None:
    forward, backward = gated.source.split("def gated_backward(xp):")
    assert "gate = add(" in forward
    assert "update = tanh(b" in forward
    assert "step = multiply(" in forward
    assert "return (y, gate, update," in forward
    assert "def gated_backward(g_y, gate, update" in backward
    assert "gate = v" in gated.cuda_source
    assert "T step = " in gated.cuda_source


def test_a_name_that_is_taken_or_reserved_gets_an_underscore() -> None:
    @mg.fuse
    def clash(i: Any, x: Any) -> Any:
        x = mg.named(x=mg.exp(x))
        i = mg.named(i=mg.tanh(i * x))
        return mg.named(exp=x * i + i), i

    assert "return (exp_, i__, x_,)" in clash.source
    x = mg.tensor([0.5], requires_grad=True)
    y, i = clash(x, mg.ones(1))
    assert y.item() == pytest.approx(((mg.ones(1)).exp() * i + i).item())


def test_names_change_no_value_and_no_gradient() -> None:
    @mg.fuse
    def bare(a: Any, b: Any, x: Any) -> Any:
        step = mg.sigmoid(a) * mg.tanh(b)
        return x + step * step

    found: list[list[mg.Tensor]] = []
    values = [mg.randn(3, 2) for _ in range(3)]
    for fused in (gated, bare):
        xs = [x.clone().requires_grad_() for x in values]
        y = fused(*xs)
        (y * y).sum().backward()
        found.append([y, *(x.grad for x in xs if x.grad is not None)])
    for one, other in zip(*found, strict=True):
        assert (one == other).all()


def test_recording_hears_what_is_named_within_fused_functions() -> None:
    xs = [mg.randn(3, requires_grad=True) for _ in range(3)]
    with recording() as log:
        y = gated(*xs)
        mg.named(outside=y)
    assert list(log) == ["gate", "update", "step", "y", "outside"]
    assert mg.allclose(log["gate"], mg.sigmoid(xs[0]))
    assert mg.allclose(y, gated(*xs))
    (g,) = mg.autograd.grad(log["gate"].sum(), xs[0])  # it is on the tape
    assert mg.allclose(g, log["gate"] * (1 - log["gate"]))


def test_recordings_nest_and_end() -> None:
    with recording() as outer:
        mg.named(a=1)
        with recording() as inner:
            mg.named(b=2)
        mg.named(a=3)
    mg.named(c=4)
    assert (outer, inner) == ({"a": 3}, {"b": 2})
    with pytest.raises(ZeroDivisionError), recording() as log:
        mg.named(a=1 / 0)
    mg.named(d=5)
    assert log == {}


def test_tracing_while_recording_logs_no_symbols() -> None:
    fresh = mg.fuse(lambda x: mg.named(double=2.0 * x))
    with recording() as log:
        assert "double" in fresh.source
        assert log == {}
        fresh(mg.ones(1))
    assert log["double"].tolist() == [2.0]
