"""What C runs of compiled functions: blocks of lines, called by NumPy like functions of its own."""

from __future__ import annotations

import gc
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import Op
from minigrad.testing import gradcheck

H, B, T = 3, 2, 7


def draw(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


@pytest.fixture
def native(backend: str) -> None:
    if backend != "native":
        pytest.skip("about machine code: --backend=native")


def same(function: Any, leaves: list[mg.Tensor], *arguments: Any) -> Any:
    """Compiled, a function gives the same, and its gradients (of two orders) are right."""
    compiled = mg.compile(function)
    found, expected = compiled(*arguments), function(*arguments)
    np.testing.assert_allclose(found.tolist(), expected.tolist(), rtol=1e-12)
    for x, y in zip(
        mg.autograd.grad((found * found).sum(), leaves),
        mg.autograd.grad((expected * expected).sum(), leaves),
        strict=True,
    ):
        np.testing.assert_allclose(x.tolist(), y.tolist(), rtol=1e-10, atol=1e-12)
    gradcheck(lambda *_: compiled(*arguments), leaves, order=2)
    return compiled


def test_a_loop_whose_results_come_in_one_array() -> None:
    """More of them are kept for the way back than NumPy passes to a function."""
    w, u, b, xs = draw(4 * H, H), draw(4 * H, H), draw(4 * H), draw(T, B, H)

    def loop(xs: mg.Tensor) -> mg.Tensor:
        h = c = mg.zeros(B, H, dtype=mg.float64)
        out: list[mg.Tensor] = []
        for x in xs:
            i, f, g, o = (x @ w.T + h @ u.T + b).chunk(4, 1)
            c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
            h = mg.sigmoid(o) * mg.tanh(c)
            out.append(h)
        return mg.stack(out)

    compiled = same(loop, [w, u, b, xs], xs)
    if xs.backend.native:
        assert len(re.findall(r"= block__", compiled.source)) == 2  # one each way
        assert len(compiled(xs).edge[0].ys) == 2  # the result, and all the rest in one


@pytest.mark.usefixtures("native")
def test_a_cell_is_one_block() -> None:
    cell = mg.nn.LSTMCell(4, H)
    step = mg.compile(cell)
    with mg.no_grad():
        step(mg.ones(1, 4), (mg.zeros(1, H), mg.zeros(1, H)))
    assert len(re.findall(r"= \w+\(", step.source)) == 3  # the block, and h and c transposed


@pytest.mark.parametrize("cut", ["turned", "strided", "reversed", "spread"])
def test_arguments_that_lie_otherwise(cut: str) -> None:
    x, w = draw(6, 6), draw(4, 3)
    views = {
        "turned": lambda x: x.T[:2, :3],
        "strided": lambda x: x[::3, ::2],
        "reversed": lambda x: x.flip(0, 1)[:2, :3],
        "spread": lambda x: x[:1, :3].expand(2, 3),
    }
    same(lambda x: mg.tanh(x @ w.T + 1.0).sum(0, keepdim=True) * mg.exp(x[:, :1]), [w], x[:2, :3])
    step = mg.compile(lambda x: mg.tanh(mg.functional.linear(x, w)) * 2.0 + x[:, :1])
    step(x[:2, :3].clone())  # written down for another layout
    y = views[cut](x)
    np.testing.assert_allclose(
        step(y).tolist(), (mg.tanh(y @ w.T) * 2.0 + y[:, :1]).tolist(), rtol=1e-12
    )


def test_one_block_for_each_way_to_give_a_bias() -> None:
    """What flows into a weight, a bias or a factor at every step is summed in C, too."""
    w, b, p, xs = draw(H, H), draw(H), draw(H), draw(40, B, H)

    def loop(xs: mg.Tensor) -> mg.Tensor:
        h = mg.zeros(B, H, dtype=mg.float64)
        for x in xs:
            h = mg.tanh(mg.functional.linear(h, w, b) + p * x)
        return h

    compiled = same(loop, [w, b, p, xs], xs)
    if xs.backend.native:
        assert compiled.source.count("\n") < 15


OPS = {
    "stack and unbind": lambda x, w: mg.stack([mg.tanh(row) * w[0] for row in x @ w], 1),
    "cat of columns": lambda x, w: mg.cat([x @ w, mg.exp(x)], 1) * 2.0,
    "sums": lambda x, w: (x @ w).sum(1) * mg.tanh(x).mean(0, keepdim=True).sum(),
    "softmax": lambda x, w: mg.softmax(x @ w, -1) * mg.log_softmax(mg.tanh(x), -1),
    "layer norm": lambda x, w: mg.functional.layer_norm(x @ w, (H,), w[0], w[1]) * mg.exp(x),
    "a vector": lambda x, w: mg.tanh(w @ x[0]) + w @ mg.tanh(x[1]),
    "three axes": lambda x, w: mg.tanh(x.reshape(1, 2, H) @ w) @ w,
    "products of parts": lambda x, w: mg.tanh(x[:, :2] @ w[:2, ::2]) @ w[1:, :],
    "a mask": lambda x, w: mg.where(x > 0, x @ w, mg.tanh(x)),
    "a number": lambda x, w: mg.exp((x @ w).sum()) * mg.tanh(x),
    "integers": lambda x, w: mg.tanh(x @ w) * mg.arange(H) + 1,
    "pieces": lambda x, w: mg.tanh(x @ w)[1:, ::2] * x[0, 1] @ w[:2],
}


@pytest.mark.parametrize("name", OPS)
def test_each_op_between_others(name: str) -> None:
    x, w = draw(2, H), draw(H, H)
    same(lambda x: OPS[name](x, w), [x, w], x)


def test_an_embedding_whose_indices_are_an_argument() -> None:
    table, w = draw(5, H), draw(H, H)

    def read(index: mg.Tensor) -> mg.Tensor:
        return mg.tanh(mg.functional.embedding(index, mg.tanh(table)) @ w)

    same(read, [table, w], mg.tensor([1, 1, 4]))


def test_a_rule_that_is_not_made_of_ops() -> None:
    """It runs as it stands, on arrays."""

    def rule(g: Any, _y: Any, x: Any) -> Any:
        return g * (x.data if isinstance(x, mg.Tensor) else x.copy()) * 2.0  # no array has a copy

    half = Op("half_square", lambda _xp, x: x * x, rule)
    (x, w) = draw(2, H), draw(H, H)
    with_rule = mg.compile(lambda x: mg.tanh(half(x @ w)))
    plain = mg.tanh((x @ w) * (x @ w))
    pairs = zip(
        mg.autograd.grad(with_rule(x).sum(), [x, w]),
        mg.autograd.grad(plain.sum(), [x, w]),
        strict=True,
    )
    for found, expected in pairs:
        np.testing.assert_allclose(found.tolist(), expected.tolist(), rtol=1e-12)


@pytest.mark.usefixtures("native")
def test_threads_share_a_block() -> None:
    w = mg.randn(64, 64)
    step = mg.compile(lambda x: mg.tanh(x @ w.T) @ w)
    xs = mg.randn(8, 4, 64)
    expected = [step(x).tolist() for x in xs]
    wrong: list[int] = []

    def run(k: int) -> None:
        for _ in range(200):
            if step(xs[k]).tolist() != expected[k]:
                wrong.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def a_constant_first(x: mg.Tensor) -> mg.Tensor:
    """A kernel whose first result has no gradient, and whose second has one."""
    a = mg.exp(x.detach()[0])
    b = mg.sigmoid(x[1] * a) * x[1]
    return b @ a.T


def groups_in_a_circle(x: mg.Tensor) -> mg.Tensor:
    """Elementwise lines that feed each other through sums, one way and the other."""
    a = x.sum() * x
    b = mg.standardize(a * a.sum(1, keepdim=True)) + x
    c = x.detach() * x
    return (a - c.mean(0, keepdim=True)) + (c - b.mean(0, keepdim=True)) + (c + c)


FOUND = {  # each of these has been wrong
    "two sums of one argument": lambda x: mg.tanh(x.sum(1)) + mg.tanh(x.sum((0, 2))),
    "reversed, then transposed": lambda x: mg.tanh((x[0] * 2.0).flip(0).T) * 3.0,
    "reversed in a block": lambda x: mg.tanh(x[0].T * 2.0)[:, ::2].flip(1).T @ x[1],
    "a small expand": lambda x: mg.exp(x) - x.mean(0, keepdim=True).expand(3, 3, 3) * 2.0,
    "a constant first": a_constant_first,
    "groups in a circle": groups_in_a_circle,
    "a number off the tape": lambda x: mg.tanh(x.sum()) * mg.exp(x.detach().mean()) * x[0],
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_wrong_once(name: str) -> None:
    x = mg.tensor(np.arange(27).reshape(3, 3, 3) / 20, requires_grad=True)
    same(FOUND[name], [x], x)


@pytest.mark.usefixtures("native")
def test_a_line_that_c_refuses_leaves_the_others_in_c() -> None:
    w = draw(H, H)

    def f(x: mg.Tensor, y: mg.Tensor) -> mg.Tensor:
        for _ in range(3):
            x = mg.tanh(w @ x) * 0.9
        return x.sum() + (y.reshape(2, 2, 2) @ y.reshape(2, 2, 2)).sum()

    compiled = mg.compile(f)
    compiled(draw(H, B), draw(8))
    assert "block" in compiled.source
    assert compiled.source.count("tanh") == 0


def test_cotangents_of_another_dtype() -> None:
    w, x = mg.randn(4, 4, requires_grad=True), mg.randn(4, 2)
    f = mg.compile(lambda x: mg.tanh(w @ mg.tanh(w @ x)))
    target = mg.tensor(np.ones((4, 2)))
    (found,) = mg.autograd.grad(((f(x) - target) ** 2).mean(), w)
    (expected,) = mg.autograd.grad(((f.__wrapped__(x) - target) ** 2).mean(), w)
    np.testing.assert_allclose(found.tolist(), expected.tolist(), rtol=1e-4, atol=1e-6)
    y = f(x)
    y.backward(gradient=mg.tensor(np.ones((4, 2), np.int64)))
    assert w.grad is not None
    assert w.grad.dtype == mg.float32


@pytest.mark.usefixtures("native")
def test_a_result_does_not_keep_what_the_way_back_reads() -> None:
    w = mg.randn(16, 16, requires_grad=True)

    def loop(x: mg.Tensor) -> mg.Tensor:
        for _ in range(40):
            x = mg.tanh(w @ x) * mg.exp(x)
        return x.sum()

    loss = mg.compile(loop)(mg.zeros(16, 1))
    base = loss.data.base
    assert base is None or base.nbytes < 100


def test_what_is_compiled_goes_without_the_collector() -> None:
    x = mg.ones(3)
    gc.collect()
    gc.disable()
    try:
        before = len([a for a in gc.get_objects() if type(a).__name__ in ("Writer", "_Again")])
        for k in range(5):
            mg.compile(lambda x, k=k: mg.tanh(x) * k)(x)
        after = len([a for a in gc.get_objects() if type(a).__name__ in ("Writer", "_Again")])
    finally:
        gc.enable()
    assert after == before


def test_a_long_loop_is_written_in_linear_time() -> None:
    """4 times the steps take about 4 times the calls of functions, not 16."""
    w = mg.randn(2, 2, requires_grad=True)

    def calls(steps: int) -> int:
        def loop(h: mg.Tensor) -> mg.Tensor:
            for _ in range(steps):
                h = mg.tanh(w @ h)
            return h.sum()

        compiled, count = mg.compile(loop), 0

        def note(_frame: Any, event: str, _arg: Any) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(note)
        try:
            compiled(mg.ones(2, 1)).backward()
        finally:
            sys.setprofile(None)
        return count

    assert calls(400) < 6 * calls(100)
