"""The step back: what it is made of, and rules that cannot be written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.op import JointOp, Op
from minigrad.scans import by_steps, scan
from minigrad.scans.op import loops_of

H, B, T = 3, 2, 5


def draw(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


def same(step: Any, init: Any, xs: mg.Tensor, leaves: list[mg.Tensor]) -> None:
    """A scan gives what its loop gives, and both their gradients, of two orders."""
    found: list[Any] = []
    for run in (scan, by_steps):
        state, y = run(step, init, xs)
        loss = (y * y).sum() + (state * state).sum()
        grads = mg.autograd.grad(loss, leaves, create_graph=True)
        total = sum(((g * g).sum() for g in grads), mg.tensor(0.0, dtype=mg.float64))
        found.append([y, *grads, *mg.autograd.grad(total, leaves)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.tolist(), b.tolist(), rtol=1e-10, atol=1e-12)


def _halved(g: Any) -> Any:
    """No op: it looks at what the cotangent is."""
    return g * 0.5 if isinstance(g, mg.Tensor) or hasattr(g, "strides") else None.nothing


half = Op("half", lambda _xp, x: x * 0.5, lambda g, _y, _x: _halved(g))
halves = JointOp(
    "halves",
    lambda _xp, a, b: (a * 0.5, b * 0.5),
    lambda gs, _ys, _a, _b: [None if g is None else _halved(g) for g in gs],
    several=True,
)


def test_a_rule_that_is_not_made_of_ops() -> None:
    w, s, xs = draw(H, H), draw(H, B), draw(T, H, B)

    def one(h: Any, x: Any) -> Any:
        h = mg.tanh(half(w @ h) + x)
        return h, h

    def two(h: Any, x: Any) -> Any:
        a, b = halves(w @ h, x)
        h = mg.tanh(a + b * w[0, 0])
        return h, a

    same(one, s, xs, [w, s, xs])
    same(two, s, xs, [w, s, xs])
    same(lambda h, x: (mg.tanh(half(w) @ h + x), h), s, xs, [w, s, xs])


def test_rows_that_are_looked_up_at_each_step() -> None:
    """What flows into a table waits, and is scattered once."""
    table, w, s = draw(7, H), draw(H, H), draw(B, H)
    xs = mg.tensor(np.arange(T * B).reshape(T, B) % 7)
    same(lambda h, i: (mg.tanh(h @ w + mg.functional.embedding(i, table)),) * 2, s, xs, [table, w])


def test_casts_within_a_step() -> None:
    w, s = draw(H, H), draw(H, B)
    counts = mg.tensor(np.arange(T * H * B).reshape(T, H, B))
    same(lambda h, n: (mg.tanh(w @ h * 0.1 + n / 8),) * 2, s, counts, [w, s])


@pytest.mark.parametrize("last", [False, True])
def test_a_weight_s_gradient_is_one_product(last: bool) -> None:
    """Also where nothing flows into the last state, so that the last step goes back alone."""
    w, s, xs = draw(H, H), draw(H, B), draw(T, H, B)

    def step(h: Any, x: Any) -> Any:
        h = mg.tanh(mg.affine(w, h, x))
        return h, h

    state, y = scan(step, s, xs)
    products: list[tuple[int, ...]] = []
    matmul = mg.ops.contract.matmul_op
    whole = matmul._settle
    matmul._settle = lambda into, waiting: (
        products.extend(one.xs[0].shape for one in waiting) or whole(into, waiting)
    )  # fmt: skip
    try:
        mg.autograd.grad((y * y).sum() + (state * state).sum() * float(last), [w])
    finally:
        matmul._settle = whole
    assert products == [(H, T * B)]


def test_the_text_of_both_loops_can_be_read() -> None:
    w, s, xs = draw(H, H), draw(H, B), draw(T, H, B)
    _, y = scan(lambda h, x: (mg.tanh(w @ h + x),) * 2, s, xs)
    op = y.edge[0].op
    source = loops_of(op.step, y.backend).source
    forward, backward = source.split("\n\n")
    assert "for t in steps:" in forward
    product = next(line for line in backward.splitlines() if "matmul" in line)
    assert backward.index("permute") < backward.index("for t in steps:") < backward.index(product)


def test_the_way_back_uses_the_loops_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those that the step would have by now: they may save something else."""
    monkeypatch.setattr("minigrad.scans.op.KNOWN", 1)
    w, s, xs = draw(H, H), draw(H, B), draw(T, H, B)

    def loss(run: Any, k: float) -> Any:
        def step(h: Any, x: Any) -> Any:
            h = mg.sin((w @ h + x) * k)
            return h, h

        return run(step, s, xs)[1].sum()

    first, *_others = [loss(scan, 1 + k / 100) for k in range(12)]
    (found,), (expected,) = (mg.autograd.grad(one, w) for one in (first, loss(by_steps, 1.0)))
    np.testing.assert_allclose(found.tolist(), expected.tolist())


def test_numbers_as_a_state() -> None:
    h0, xs = mg.tensor(0.3, dtype=mg.float64, requires_grad=True), draw(3, 3)

    def step(h: Any, x: Any) -> Any:
        h = mg.tanh((h * x).mean() * h)
        return h, h

    same(step, h0, xs, [h0, xs])
    _, y = scan(step, h0, xs)
    assert mg.autograd.grad(y.sum(), h0)[0].shape == ()


def _spread(x: Any) -> Any:
    return x.sum(1, keepdim=True).expand(H, B)


EXPANDS = {
    "read on the way back": lambda w, h, x: (mg.tanh((s := mg.tanh(w @ h + x)) * _spread(s)),) * 2,
    "the next state": lambda w, h, x: (_spread(x) * 1.0 + 0.0 * _spread(w @ h), h),
    "the next state as it is": lambda w, h, x: (_spread(mg.tanh(w @ h) + x), h),
    "an output": lambda w, h, x: (mg.tanh(w @ h + x), _spread(h)),
}


@pytest.mark.parametrize("name", EXPANDS)
def test_what_is_spread_has_a_place(name: str) -> None:
    """Also where the way back, or the next step, reads it: there it must be written."""
    w, s, xs = draw(H, H), draw(H, B), draw(T, H, B)
    same(lambda h, x: EXPANDS[name](w, h, x), s, xs, [w, s, xs])


def test_arrays_that_lie_between_others(backend: str) -> None:
    """Fields of records, whose strides are no whole numbers of elements."""
    if backend in ("strict", "cupy"):
        pytest.skip("records are arrays of the host, and this backend's are not")

    def field(array: Any) -> Any:
        records = np.zeros(array.shape, [("value", "f8"), ("mark", "i1")])
        records["value"] = array
        return records["value"]

    w, xs = draw(H, H), mg.from_numpy(field(np.arange(30.0).reshape(5, 3, 2) / 30))
    xs = xs.requires_grad_()

    def step(h: Any, x: Any) -> Any:
        h = mg.tanh(w @ h + x)
        return h, h

    same(step, mg.from_numpy(field(np.ones((3, 2)))).requires_grad_(), xs, [w, xs])
    g = mg.from_numpy(field(np.ones((5, 3, 2))))
    found = [
        mg.autograd.grad(run(step, mg.ones(3, 2, dtype=mg.float64), xs)[1], w, g)[0].tolist()
        for run in (scan, by_steps)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)
