"""The tape: order, depth, memory, contributions that wait, and graphs that are freed or stale."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import gathering, nn, optim
from minigrad.nn import functional as F
from minigrad.ops import contract


def leaf(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


def test_gradients_of_both_uses_arrive_before_they_go_on() -> None:
    a = mg.tensor(1.0, requires_grad=True)
    b = a + a
    c = b + b
    c.backward()
    assert a.grad is not None
    assert a.grad.item() == 4.0


def test_backward_adds_up_in_grad() -> None:
    x = mg.ones(2, requires_grad=True)
    for n in (1, 2, 3):
        (3 * x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [3.0 * n] * 2


# ---- depth and memory ------------------------------------------------------------------------


def chain(n: int) -> tuple[mg.Tensor, mg.Tensor]:
    x = mg.ones(3, requires_grad=True)
    y = x
    for _ in range(n):
        y = y * 1.0
    return x, y


def test_a_hundred_thousand_ops_run_backward_without_recursion() -> None:
    x, y = chain(100_000)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0] * 3


def test_a_hundred_thousand_ops_are_freed_without_recursion() -> None:
    _, y = chain(100_000)
    del y  # never run backward


@pytest.fixture
def without_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Net(nn.Module):
    def __init__(self) -> None:
        self.embed = nn.Embedding(11, 4)
        self.rnn = nn.LSTM(4, 5, num_layers=2, bidirectional=True, dropout=0.1)
        self.head = nn.Linear(10, 11)

    def forward(self, ids: mg.Tensor) -> mg.Tensor:
        y, _ = self.rnn(self.embed(ids), lengths=[3, 1])
        return self.head(y)


def trainer() -> Callable[[], None]:
    model = Net()
    optimizer = optim.Adam(model.named_parameters())
    ids = mg.randint(0, 11, (3, 2))

    def step() -> None:
        loss = F.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


@pytest.mark.usefixtures("without_gc")
def test_training_makes_no_reference_cycles() -> None:
    step = trainer()
    step()
    gc.collect()
    for _ in range(3):
        step()
    assert gc.collect() == 0


@pytest.mark.usefixtures("without_gc")
def test_memory_is_flat_over_2000_steps_without_the_garbage_collector() -> None:
    model = nn.Linear(8, 4)
    optimizer = optim.Adam(model.named_parameters())
    x = mg.randn(16, 8)

    def steps(n: int) -> int:
        for _ in range(n):
            optimizer.zero_grad()
            model(x).tanh().square().mean().backward()
            optimizer.step()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = steps(200)
        late = steps(1800)
    finally:
        tracemalloc.stop()
    # CPython and NumPy keep up to 2,000 freed tuples and shapes: 0.2 MB. A node a step were 2 MB.
    assert late - early < 400_000


# ---- contributions that wait -----------------------------------------------------------------

STEPS = 6


def by_hand(w: np.ndarray, xs: np.ndarray) -> np.ndarray:
    """dL/dW of L = Σₜ sum(xₜ W)²/2, one step at a time."""
    return sum(x.T @ (x @ w) for x in xs)


LOOPS: dict[str, Callable[[mg.Tensor, Any], mg.Tensor]] = {
    "x @ W": lambda w, x: x @ w,
    "x @ V.T": lambda w, x: x @ w.T.clone().T,
    "x @ W.T.T": lambda w, x: x @ w.T.T,
    "(W.T @ x.T).T": lambda w, x: (w.T @ x.T).T,
    "linear": lambda w, x: F.linear(x, w.T),
    "affine": lambda w, x: mg.affine(w.T, x.T, mg.zeros(3, dtype=mg.float64)).T,
    "einsum": lambda w, x: mg.einsum("bi,io->bo", x, w),
}


@pytest.mark.parametrize("form", LOOPS)
@pytest.mark.parametrize("limit", [0, 2**25])
def test_a_weight_used_many_times(form: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "WAITING_LIMIT", limit)
    w, xs = leaf(4, 3), mg.randn(STEPS, 2, 4, dtype=mg.float64)
    loss = sum((LOOPS[form](w, x) ** 2).sum() * 0.5 for x in xs)
    (g,) = mg.autograd.grad(loss, w, retain_graph=True)
    expected = by_hand(w.detach().cpu().numpy(), xs.cpu().numpy())
    np.testing.assert_allclose(g.cpu().numpy(), expected, rtol=1e-12)
    (again,) = mg.autograd.grad(loss, w, create_graph=True)  # nothing waits here
    np.testing.assert_allclose(again.detach().cpu().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("form", ["x @ W", "x @ W.T.T", "(W.T @ x.T).T", "linear", "affine"])
def test_a_weights_gradient_is_one_product(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settled: list[int] = []
    settle = contract.matmul_op.settle

    def counted(into: Any, waiting: list[gathering.Later]) -> Any:
        settled.append(len(waiting))
        return settle(into, waiting)

    monkeypatch.setattr(contract.matmul_op, "settle", counted)
    w = leaf(4, 3)
    sum(LOOPS[form](w, x).tanh().sum() for x in mg.randn(STEPS, 2, 4, dtype=mg.float64)).backward()
    assert settled == [STEPS]


def test_slices_bias_and_embedding_rows() -> None:
    table, bias = leaf(5, 3), leaf(3)
    x = leaf(STEPS, 3)
    rows = mg.tensor([0, 3, 3, 1, 0, 3])
    total = mg.zeros((), dtype=mg.float64)
    for t in range(STEPS):
        total = total + ((x[t] + bias) * mg.embedding(table, rows[t : t + 1])).sum()
    dx, db, dt = (g.cpu().numpy() for g in mg.autograd.grad(total, [x, bias, table]))
    host_x, host_b = x.detach().cpu().numpy(), bias.detach().cpu().numpy()
    picked = table.detach().cpu().numpy()[rows.cpu().numpy()]
    expected = np.zeros((5, 3))
    np.add.at(expected, rows.cpu().numpy(), host_x + host_b)
    np.testing.assert_allclose(dx, picked, rtol=1e-12)
    np.testing.assert_allclose(db, picked.sum(0), rtol=1e-12)
    np.testing.assert_allclose(dt, expected, rtol=1e-12)


def test_iterating_is_one_node() -> None:
    x = leaf(4, 2)
    parts = list(x)
    assert len({id(part.edge[0]) for part in parts if part.edge}) == 1
    (parts[1] * 3 + parts[3]).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0] * 2, [3.0] * 2, [0.0] * 2, [1.0] * 2]


# ---- freed and stale graphs ------------------------------------------------------------------


def test_a_freed_graph_says_so() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_a_state_that_was_carried_over_is_named() -> None:
    cell, h = nn.RNNCell(2, 3), None
    for _ in range(2):
        h = cell(mg.randn(1, 2), h)
        loss = h.square().sum()
        if loss.requires_grad and h is not None and _ == 0:
            loss.backward()
    with pytest.raises(RuntimeError, match=r"mg\.detach\(state\)"):
        loss.backward()


def test_retain_graph_keeps_it() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad is not None
    assert mg.allclose(x.grad, 4 * x.detach())


@pytest.mark.parametrize("write", ["copy_", "optimiser"])
def test_a_leaf_written_after_the_forward_pass_is_noticed(write: str) -> None:
    w = leaf(3)
    y = (w * w).sum()
    w.grad = mg.ones(3, dtype=mg.float64)
    if write == "copy_":
        w.copy_(mg.zeros(3, dtype=mg.float64))
    else:
        optim.SGD([w]).step()
    with pytest.raises(RuntimeError, match="stale graph"):
        y.backward()


def test_what_saved_nothing_of_the_leaf_is_not_stale() -> None:
    w = leaf(3)
    y = (w + 1).sum()
    w.copy_(mg.zeros(3, dtype=mg.float64))
    y.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [1.0] * 3


# ---- grad ------------------------------------------------------------------------------------


def test_third_order() -> None:
    x = mg.tensor([0.3, -0.8], dtype=mg.float64, requires_grad=True)
    y = x.tanh().sum()
    for _ in range(3):
        (y,) = mg.autograd.grad(y.sum(), x, create_graph=True)
    t = np.tanh([0.3, -0.8])
    np.testing.assert_allclose(y.detach().cpu().numpy(), (1 - t**2) * (6 * t**2 - 2), rtol=1e-12)


def test_grad_of_computed_tensors_and_unused_inputs() -> None:
    x, unused = leaf(3), leaf(3)
    h = x * 2
    y = (h * h).sum()
    gh, gx = mg.autograd.grad(y, [h, x], retain_graph=True)
    assert mg.allclose(gh, 2 * h.detach())
    assert mg.allclose(gx, 4 * h.detach())
    assert x.grad is None
    with pytest.raises(RuntimeError, match="input 1"):
        mg.autograd.grad(y, [x, unused], retain_graph=True)
    assert mg.autograd.grad(y, [x, unused], allow_unused=True)[1] is None


def test_grad_frees_only_what_it_passed_through() -> None:
    x = leaf(3)
    h = (x * 2).tanh()
    first, second = (h * h).sum(), (h * 3).sum()
    mg.autograd.grad(first, h)
    second.backward()
    assert mg.allclose(x.grad, 6 * (1 - h.detach() ** 2))


def test_what_needs_no_gradient_has_none() -> None:
    x = leaf(2)
    with mg.no_grad():
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
    assert not x.detach().requires_grad
    with pytest.raises(RuntimeError, match="requires grad"):
        mg.ones(2).sum().backward()
    with pytest.raises(RuntimeError, match="scalar"):
        (x * 2).backward()
    (x * 2).backward(mg.tensor([1.0, 3.0], dtype=mg.float64))
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 6.0]


def test_a_frozen_leaf_keeps_its_gradient() -> None:
    x = leaf(2)
    x.sum().backward()
    x.requires_grad_(False)
    assert not (x * 2).requires_grad
    assert x.grad is not None
    x.requires_grad_()
    x.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_devices_do_not_mix() -> None:
    other = "strict" if mg.get_default_device() == "cpu" else "cpu"
    with pytest.raises((TypeError, ValueError)):
        mg.ones(2) + mg.ones(2, device=other)


def test_conversions_carry_gradients() -> None:
    x = leaf(3)
    scale = mg.tensor([1.0, 2.0, 3.0], dtype=mg.float32)
    (x.float() * scale).sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == mg.float64
    assert x.grad.tolist() == [1.0, 2.0, 3.0]
    other = "strict" if mg.get_default_device() == "cpu" else "cpu"
    (x.to(other) * scale.double().to(other)).sum().backward()
    assert x.grad.device == x.device
    assert x.grad.tolist() == [2.0, 4.0, 6.0]
    assert not x.long().requires_grad
