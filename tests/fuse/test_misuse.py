"""What a fused function may not do, and that each error says what to write instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad.nn.cells.gru import gru_gates
from minigrad.nn.cells.lstm import lstm_gates

OUTSIDE = mg.ones(2)


def iterates(x: Any) -> Any:
    first, second = x
    return first + second


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda x: x if x > 0 else -x, "mg.where"),
        (lambda x: x[0], "x.chunk(n)"),
        (iterates, "x.chunk(n)"),
        (lambda x: x * x.shape[0], "outside"),
        (lambda x: x.sum(), "outside"),
        (lambda x: mg.matmul(x, x), "outside"),
        (lambda x: x * math.exp(x), "mg.exp"),
        (lambda x: x * OUTSIDE, "pass it as an argument"),
        (lambda x: x * "two", "pass it as an argument"),
        (lambda _x: 1.0, "values computed from its arguments"),
        (lambda _x: None, "values computed from its arguments"),
        (lambda x: x + x.chunk(2)[0], "make it two arguments"),
        (lambda x: x.chunk(2)[0] + x.chunk(3)[0], "make it two arguments"),
    ],
)
def test_what_is_not_straight_line_and_elementwise(
    function: Callable[..., Any], advice: str
) -> None:
    with pytest.raises(mg.FuseError, match=re.escape(advice)):
        mg.fuse(function)(mg.ones(4))


def test_arguments_are_positional_and_counted() -> None:
    with pytest.raises(mg.FuseError, match="positional"):
        mg.fuse(lambda x, *, scale: x * scale)
    with pytest.raises(TypeError, match="got 1 argument"):
        mg.fuse(lambda x, y: x * y)(mg.ones(2))


def test_chunks_must_come_out_even_and_keep_their_place() -> None:
    halves = mg.fuse(lambda x, y: x.chunk(2)[0] * y)
    with pytest.raises(ValueError, match="2 equal chunks"):
        halves(mg.ones(5), mg.ones(2))
    with pytest.raises(ValueError, match="reshape it first"):
        halves(mg.ones(6), mg.ones(4, 3))


def test_a_function_is_traced_once_whatever_the_shapes() -> None:
    calls: list[int] = []

    @mg.fuse
    def f(x: Any) -> Any:
        calls.append(1)
        return x * mg.sigmoid(x)

    for shape in [(2,), (3, 4), (), (0,)]:
        assert f(mg.ones(shape)).shape == shape
    assert calls == [1]


def test_one_node_a_call() -> None:
    x = mg.ones(8, 3, requires_grad=True)
    h, c = lstm_gates(x, mg.ones(2, 3))
    assert h.edge is not None
    assert c.edge is not None
    assert x.edge is not None
    assert h.edge[0] is c.edge[0]
    assert h.edge[0].edges[0] == x.edge


@pytest.mark.parametrize(("gates", "most"), [(lstm_gates, 24), (gru_gates, 20)])
def test_the_derived_backward_code_is_what_an_expert_writes(gates: Any, most: int) -> None:
    backward = gates.source.split("_backward(xp)")[1].split("def general")[0]
    ufuncs = "add|subtract|multiply|negative|divide|tanh"
    calls = re.findall(rf"^ +(?:\w+ = )?(?:{ufuncs})\(", backward, re.MULTILINE)
    assert len(calls) <= most
    assert "tanh(" not in "".join(calls)  # the forward pass kept it
