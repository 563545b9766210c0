"""A scan equals the loop that one would write, in values and gradients of both orders."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import minigrad as mg
from minigrad.scans import SHORTEST, by_steps, scan
from minigrad.testing import gradcheck

T, B, H = 5, 2, 3


def weights(*shapes):
    rng = np.random.default_rng(0)
    return [mg.tensor(rng.standard_normal(s) * 0.5, requires_grad=True) for s in shapes]


@mg.fuse
def mixed(a, b, s):
    z = mg.sigmoid(a)
    return z * s + (1 - z) * mg.tanh(b)


@mg.fuse
def cell_of_two(gates, c, w):
    i, f = gates.chunk(2)
    c = mg.sigmoid(f + w * c) * c + mg.sigmoid(i)
    return mg.tanh(c), c


def elman(w, u, s, x):
    s = mg.tanh(mg.affine(w, s, mg.matmul(u, x)))
    return s, s


def rows(w, u, s, x):
    """Features last, and a transpose of a weight at every step."""
    s = mg.tanh(x.T @ u.T + s @ w.T)
    return s, s * 2


def fused(w, u, s, x):
    s = mixed(mg.matmul(w, s), mg.matmul(u, x), s)
    return s, (s, s.sum(dim=0))


def peephole(w, u, s, x):
    h, c = s
    h, c = cell_of_two(mg.cat([mg.affine(w, h, x), mg.affine(u, h, x)]), c, w[:, :1])
    return (h, c), h


def branches(w, u, s, x):
    """Chunks, a value that nothing reads, numbers, a state that passes unchanged, both twice."""
    h, unchanged = s
    a, _ = mg.cat([h @ h.T, w]).chunk(2)
    return (mg.clamp(a @ x + u @ h, -2.0, 2.0) + 0.5 * unchanged, unchanged), h - x


def summed(w, u, s, x):
    s = mg.standardize(s + x).amax(dim=1, keepdim=True) * u[:, :1] + s
    return s, mg.where(s > 0, s, w[:, :B])


def pieces(w, u, s, x):
    """Ops of several outputs that give one."""
    (s,) = mg.tanh(x + w @ s + u[:, :1]).split(H)
    (y,) = s.unsqueeze(0).unbind(0)
    return s, y


@mg.fuse
def part_constant(a, b, c):
    return a * mg.floor(b) + c, mg.floor(c)


def constant(w, u, s, x):
    """Values through which nothing flows back, and one that is used twice by one function."""
    a, b = mg.matmul(w, s), mg.matmul(u, x)
    y, z = part_constant(a, mg.tanh(b), a)
    return mg.tanh(y + z + mg.floor(mg.tanh(b * 2.0))), y


SQUARE = (H, H)
STEPS = {
    "elman": (elman, [(H, B)]),
    "rows": (rows, [(B, H)]),
    "fused": (fused, [(H, B)]),
    "peephole": (peephole, [(H, B), (H, B)]),
    "branches": (branches, [(H, B), (H, B)]),
    "summed": (summed, [(H, B)]),
    "pieces": (pieces, [(H, B)]),
    "constant": (constant, [(H, B)]),
}


def flattened(step, count, run, reverse, *xs):
    """The scan of a step as a function of its weights, states and inputs."""
    w, u, *states, x = xs
    init = states[0] if count == 1 else tuple(states)
    state, y = run(functools.partial(step, w, u), init, x, reverse=reverse)
    out = [*(state if count > 1 else [state]), *(y if isinstance(y, tuple) else [y])]
    return tuple(out)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_a_scan_is_its_loop(name, reverse, written, backend):
    step, shapes = STEPS[name]
    xs = weights(SQUARE, SQUARE, *shapes, (T, H, B))
    ours = flattened(step, len(shapes), scan, reverse, *xs)
    assert len(written) == 1, "the step was not written down"
    loop = flattened(step, len(shapes), by_steps, reverse, *xs)
    rtol = 1e-14 if backend == "native" else 0  # a product is added to its bias, not the reverse
    for y, z in zip(ours, loop, strict=True):
        np.testing.assert_allclose(y.detach().cpu().numpy(), z.detach().cpu().numpy(), rtol=rtol)
    seeds = [mg.tensor(np.random.default_rng(1).standard_normal(y.shape)) for y in ours]
    found = [
        mg.autograd.grad(ys, xs, seeds, allow_unused=True, retain_graph=True) for ys in (ours, loop)
    ]
    for k, (g, h) in enumerate(zip(*found, strict=True)):
        assert (g is None) == (h is None), k
        if g is not None:
            np.testing.assert_allclose(g.cpu().numpy(), h.cpu().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["elman", "fused", "peephole", "branches"])
def test_gradients_of_both_orders(name, reverse, written):
    step, shapes = STEPS[name]
    xs = weights(SQUARE, SQUARE, *shapes, (T, H, B))
    gradcheck(functools.partial(flattened, step, len(shapes), scan, reverse), xs, order=2)
    assert written


def test_one_node_and_a_weight_of_inputs_and_steps_alike():
    """A weight that the inputs were computed with and that the steps use collects both."""
    (w, s, x) = weights((H, H), (H, B), (T, H, B))

    def total(run):
        state, y = run(lambda s, p: (mg.tanh(mg.affine(w, s, p)),) * 2, s, mg.matmul(w, x))
        return (y.square().sum() + state.sum()), y

    (ours, y), (loop, _) = total(scan), total(by_steps)
    assert y.edge[0].op.name == "scan"
    first = [mg.autograd.grad(z, [w, s, x], create_graph=True) for z in (ours, loop)]
    second = [mg.autograd.grad(sum(g.square().sum() for g in gs), [w, s, x]) for gs in first]
    for g, h in [*zip(*first, strict=True), *zip(*second, strict=True)]:
        np.testing.assert_allclose(
            g.detach().cpu().numpy(), h.detach().cpu().numpy(), rtol=1e-10, atol=1e-12
        )


def test_only_some_results_get_a_gradient():
    w, s, x = weights((H, H), (H, B), (T, H, B))
    for pick in (lambda out: out[1][2].sum(), lambda out: out[0].sum()):
        grads = [
            mg.autograd.grad(pick(run(functools.partial(elman, w, w), s, x)), [w, s, x])
            for run in (scan, by_steps)
        ]
        for g, h in zip(*grads, strict=True):
            np.testing.assert_allclose(g.cpu().numpy(), h.cpu().numpy(), rtol=1e-12, atol=1e-12)


def test_nothing_is_recorded_without_need():
    w, s, x = [t.detach() for t in weights((H, H), (H, B), (T, H, B))]
    _, y = scan(functools.partial(elman, w, w), s, x)
    assert not y.requires_grad
    with mg.no_grad():
        _, y = scan(functools.partial(elman, *weights((H, H), (H, H))), s, x)
    assert not y.requires_grad


def test_backward_twice_and_freed():
    w, s, x = weights((H, H), (H, B), (T, H, B))
    _, y = scan(functools.partial(elman, w, w), s, x)
    y.sum().backward(retain_graph=True)
    first = w.grad
    w.grad = None
    y.sum().backward()
    assert (w.grad == first).all()
    with pytest.raises(RuntimeError, match="freed"):
        y.sum().backward()


def test_a_weight_written_in_between_is_noticed():
    w, s, x = weights((H, H), (H, B), (T, H, B))
    _, y = scan(functools.partial(elman, w, w), s, x)
    w.copy_(w.detach() * 2)
    with pytest.raises(RuntimeError, match="stale"):
        y.sum().backward()


# ---- steps that cannot be written down run as they stand -------------------------------------


class Counter:
    """A step that does something else each time."""

    def __init__(self):
        self.calls = 0

    def __call__(self, s, x):
        self.calls += 1
        return s + x * self.calls, s


def looks(s, x):
    return (s + x if float(s.sum()) > 0 else s - x), s


def random(s, x):
    return s + x * mg.rand(*x.shape, dtype=x.dtype), s


def grows(s, x):
    return mg.cat([s, x]), x


@pytest.mark.parametrize(
    "make", [lambda: looks, lambda: random, Counter], ids=["looks", "random", "counts"]
)
def test_a_step_that_cannot_be_written_down_runs_as_it_stands(make, written):
    (x,) = weights((T, H, B))
    s = mg.ones(H, B, dtype=mg.float64)
    mg.manual_seed(0)
    step = make()
    _, y = scan(step, s, x)
    assert not written
    assert y.shape == (T, H, B)
    if step is looks:
        assert (y == by_steps(step, s, x)[1]).all()


def test_a_state_that_changes_its_shape_runs_as_it_stands(written):
    (x,) = weights((T, 1, B))
    state, _ = scan(grows, x[0], x)
    assert state.shape == (T + 1, B)
    assert not written


def test_the_error_of_a_step_is_the_user_s_own():
    with pytest.raises(ValueError, match="matmul"):
        scan(lambda s, x: (mg.matmul(s, x), s), mg.ones(2, 3), mg.ones(T, 2, 2))


def test_few_steps_run_as_they_stand(written, backend):
    if backend == "native":
        pytest.skip("compiled steps round as they do, so even one runs compiled")
    w, s, x = weights((H, H), (H, B), (SHORTEST - 1, H, B))
    _, y = scan(functools.partial(elman, w, w), s, x)
    assert not written
    assert y.shape == (SHORTEST - 1, H, B)


@pytest.mark.parametrize("xs", [(), (mg.ones(3, 1), mg.ones(4, 1)), mg.ones(0, 2), mg.tensor(1.0)])
def test_inputs_of_no_one_length_are_refused(xs):
    with pytest.raises(ValueError, match="one length"):
        scan(lambda *both: both, mg.ones(1), xs)


def test_memory_is_given_back_on_the_way(written):
    """Without retain_graph, what was saved for a step is let go with the step."""
    w, s, x = weights((H, H), (H, B), (T, H, B))
    _, y = scan(functools.partial(elman, w, w), s, x)
    (op,) = written
    assert op.saved_steps
    y.sum().backward()
    assert not op.saved_steps


@pytest.mark.parametrize("make", [mg.nn.LSTMCell, mg.nn.GRUCell])
def test_a_cell_called_in_a_step_is_written_down(make):
    cell, calls = make(3, 4).double(), []

    def step(state, x):
        calls.append(x)
        state = cell(x, state)
        return state, state[0] if isinstance(state, tuple) else state

    zero = mg.zeros(B, 4, dtype=mg.float64)
    x = mg.randn(T, B, 3, dtype=mg.float64)
    _, y = scan(step, (zero, zero) if make is mg.nn.LSTMCell else zero, x)
    assert len(calls) == 2
    layer = mg.nn.Recurrent(make, 3, 4).double()
    layer.load_state_dict({f"{name}_l0": p for name, p in cell.state_dict().items()})
    assert mg.allclose(y, layer(x)[0], rtol=1e-12, atol=1e-14)


def test_a_layer_called_in_a_step_is_written_down():
    layer, calls = mg.nn.GRU(3, 4, 2).double(), []

    def step(state, x):
        calls.append(x)
        y, state = layer(x.unsqueeze(0), state)
        return state, y[0]

    x = mg.randn(T, B, 3, dtype=mg.float64)
    _, y = scan(step, mg.zeros(2, B, 4, dtype=mg.float64), x)
    assert len(calls) == 2
    assert mg.allclose(y, layer(x)[0], rtol=1e-12, atol=1e-14)
