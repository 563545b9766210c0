"""Whatever a step does, its scan gives the values and gradients of both orders of its loop."""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.scans import by_steps, scan
from minigrad.scans.op import KNOWN, _known

T, B, H = 5, 2, 3


def draw(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [mg.tensor(rng.standard_normal(s) * 0.5, requires_grad=True) for s in shapes]


def flat(tree):
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in flat(part)]
    return [] if tree is None else [tree]


def host(x):
    return x.detach().cpu().numpy()


def gradients(found, leaves):
    """As arrays; an absent one counts as zeros."""
    return [
        np.zeros(x.shape, x.dtype) if g is None else host(g)
        for g, x in zip(found, leaves, strict=True)
    ]


def everything(run, step, init, xs, leaves, pick, reverse):
    """Values, first and second gradients; of the results that `pick` names, if it names some."""
    results = flat(run(step, init, xs, reverse=reverse))
    values = [host(y) for y in results]
    # a seed for every result: a scan may record one that the loop knows to be constant
    rng = np.random.default_rng(1)
    drawn = [mg.tensor(rng.standard_normal(y.shape).astype(y.dtype)) for y in results]
    asked = [k for k, y in enumerate(results) if (pick is None or k in pick) and y.requires_grad]
    chosen, seeds = [results[k] for k in asked], [drawn[k] for k in asked]
    plain = mg.autograd.grad(chosen, leaves, seeds, retain_graph=True, allow_unused=True)
    first = mg.autograd.grad(chosen, leaves, seeds, create_graph=True, allow_unused=True)
    recorded = [g for g in first if g is not None and g.requires_grad]
    second = [None] * len(leaves)
    if recorded:
        total = sum((g * g).sum() for g in recorded)
        second = mg.autograd.grad(total, leaves, allow_unused=True)
    return values, *(gradients(found, leaves) for found in (plain, first, second))


def same(step, init, xs, leaves, pick=None, reverse=False):
    """Assert that the scan is its loop."""
    ours, loop = (
        everything(run, step, init, xs, leaves, pick, reverse) for run in (scan, by_steps)
    )
    for what, a, b in zip(("values", "g", "g recorded", "g²"), ours, loop, strict=True):
        assert len(a) == len(b), what
        for k, (y, z) in enumerate(zip(a, b, strict=True)):
            np.testing.assert_allclose(y, z, rtol=1e-8, atol=1e-10, err_msg=f"{what} {k}")
            assert (y.shape, y.dtype) == (z.shape, z.dtype), (what, k)


w, u, s, c, x, batched, table = draw(
    0, (H, H), (H, H), (H, B), (H, B), (T, H, B), (T, H, H), (4, H)
)
LEAVES = [w, u, s, c, x, batched, table]
tokens = mg.tensor([1, 1, 2, 3, 0])

on_lambda = mg.fuse(lambda a, b: mg.tanh(a) * b)


@mg.fuse
def chosen_by(a, b, c):
    """No gradient flows into a."""
    return mg.where(a > 0, b, c)


@mg.fuse
def d3(a, b):
    return mg.tanh(a) + b


def alike(y):
    return y, y


def scaled(k, h, p):
    return alike(mg.tanh(h * k + p))


def without_grad(h, p):
    with mg.no_grad():
        a = mg.tanh(h * 2)
    return alike(mg.tanh(w @ h * a + p))


def extremes(h, p):
    z = mg.softmax(mg.where(h > 0, w @ h + p, -math.inf), dim=0)
    return mg.where(mg.isnan(z), 0.0, z) + mg.tanh(p), mg.clamp(z + math.nan * 0.0, 0.0, math.inf)


def hyper(h, p):
    """Products whose weight changes, with constants of every other place."""
    y = mg.affine(h @ h.T, c, p) + mg.affine(w, c, h)
    y = y + mg.functional.linear(c.T, h @ p.T, h[:, 0]).T + mg.functional.linear(h.T, w, c[:, 0]).T
    return alike(mg.tanh(y))


def over_batch(h, p):
    """Batches of matrices beside a matrix: as many as there are steps."""
    a, b = (batched @ h).sum(dim=0), (h.T @ batched).sum(dim=0).T
    return alike(mg.tanh(a + b + p))


# A step, its state, its inputs, which results enter the loss, and whether it can be written down.
STEPS = {
    "detached": (lambda h, p: alike(mg.tanh(w @ mg.detach(h) + u @ h + p)), s, x, None, True),
    "detached, method": (lambda h, p: alike(mg.tanh(w @ h.detach() + p)), s, x, None, True),
    "no_grad": (without_grad, s, x, None, True),
    "inf and nan": (lambda h, p: (extremes(h, p)[0], h * p), s, x, None, True),
    "NumPy's numbers": (
        lambda h, p: alike(mg.tanh(h * np.sqrt(2) + p * np.float32(0.5) + np.int64(1))),
        s,
        x,
        None,
        True,
    ),
    "a fused lambda": (lambda h, p: alike(on_lambda(w @ h, p)), s, x, None, True),
    "a fused function and a number": (lambda h, p: alike(on_lambda(h, 2) + p), s, x, None, True),
    "a fused name": (lambda h, p: alike(d3(w @ h, p) + d3(p, h)), s, x, None, True),
    "a fused choice": (lambda h, p: alike(chosen_by(w @ h, mg.tanh(h), p)), s, x, None, True),
    "one chunk": (
        lambda h, p: alike(mg.tanh(w @ h.chunk(1)[0] + p.unsqueeze(0).unbind()[0])),
        s,
        x,
        None,
        True,
    ),
    "a token": (lambda h, i: alike(mg.tanh(h + table[i].unsqueeze(1))), s, tokens, None, False),
    "tokens": (
        lambda h, i: alike(mg.tanh(h + table[i].T)),
        s,
        mg.tensor([[1, 2]] * T),
        None,
        False,
    ),
    "hyper": (hyper, s, x, None, True),
    "batched": (over_batch, s, x, None, True),
    "state outside the loss": (
        lambda h, p: ((mg.tanh(w @ h[0] + p), mg.sqrt(h[1] * 0.0)), h[0]),
        (s, c),
        x,
        [2],
        True,
    ),
    "output outside the loss": (
        lambda h, p: (mg.tanh(w @ h + p), mg.log(h * 0.0 + 1e-320)),
        s,
        x,
        [0],
        True,
    ),
    "parts that change places": (lambda h, p: ((h[1], h[0] * p), h[0]), (s, c), x, [0], True),
    "a delay": (lambda h, p: ((p, h[0], h[1]), h[2] * w[0, 0]), (s, c, s), x, None, True),
    "one state twice": (lambda h, p: ((w @ h[0], h[0] + p), h[1]), (s, s), x, None, True),
    "results from outside": (lambda h, p: ((c, h[0] * p), w), (s, s), x, None, True),
    "counts": (
        lambda h, p: ((h[0] + 1, mg.tanh(h[1] * h[0].to(mg.float64) + p)), h[0]),
        (mg.tensor(0), s),
        x,
        None,
        True,
    ),
    "whether": (
        lambda h, p: (
            (mg.logical_or(h[0], h[1] > 0), mg.tanh(w @ h[1] + mg.where(h[0], p, h[1]))),
            h[0],
        ),
        (mg.zeros(H, B, dtype=bool), s),
        x,
        None,
        True,
    ),
    "single precision within": (
        lambda h, p: ((w @ h).to(mg.float32).to(mg.float64) + p, p.to(mg.float32)),
        s,
        x,
        [0],
        True,
    ),
    "a checkpoint": (
        lambda h, p: alike(mg.autograd.checkpoint(lambda a, b: mg.tanh(w @ a + b), h, p)),
        s,
        x,
        None,
        False,
    ),
    "a scan over a part of an input": (
        lambda h, p: alike(scan(lambda a, b: alike(mg.tanh(w @ a + b.unsqueeze(1))), h, p.T)[0]),
        s,
        x,
        None,
        True,
    ),
    "a scan over what is outside": (
        lambda h, p: alike(scan(lambda a, b: alike(mg.tanh(w @ a + b)), h, x)[0] + p),
        s,
        x,
        None,
        None,
    ),
    "pieces of a weight": (
        lambda h, p: alike(mg.tanh(w.chunk(3)[1] @ h + w.T[2:] @ p + h)),
        s,
        x,
        None,
        True,
    ),
    "a number of the state": (lambda h, p: alike(h * p.sum() + w[0, 0]), s[0, 0], x, None, True),
    "looks": (lambda h, p: alike(h * (2 if p.data.sum() > 0 else 3)), s, x, None, False),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_scan_is_its_loop(name, reverse, written):
    step, init, xs, pick, writable = STEPS[name]
    if name == "a number of the state":
        init = draw(5, ())[0]
    same(step, init, xs, LEAVES, pick, reverse)
    assert writable is None or bool(written) == writable


def test_three_orders():
    def third(run):
        _, y = run(lambda h, p: alike(mg.tanh(w @ h + p)), s, x)
        (g,) = mg.autograd.grad(y.square().sum(), w, create_graph=True)
        (g,) = mg.autograd.grad(g.square().sum(), w, create_graph=True)
        return [host(a) for a in mg.autograd.grad(g.square().sum(), [w, s, x])]

    for a, b in zip(third(scan), third(by_steps), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("zeros", [(0.0, -0.0), (1, 1.0), (1, True)])
def test_numbers_that_are_equal_but_not_the_same(zeros):
    for zero in zeros:
        state, y = scan(lambda h, p, k=zero: (h * k + p, mg.where(h > -9, k, h)), s * 0 + 1, x)
        again = by_steps(lambda h, p, k=zero: (h * k + p, mg.where(h > -9, k, h)), s * 0 + 1, x)
        assert (host(state) == host(again[0])).all()
        assert (np.signbit(host(y)) == np.signbit(host(again[1]))).all()


def test_an_integer_result_is_off_the_tape():
    (count, _), seen = scan(STEPS["counts"][0], (mg.tensor(0), s), x)
    assert not count.requires_grad
    assert not seen.requires_grad
    assert count.cpu().numpy() == T


def test_a_value_kept_from_an_earlier_run_is_refused():
    kept = []

    def step(h, p):
        kept.append(h + p)
        return kept[0] + h, p

    with pytest.raises(RuntimeError, match="part of the state"):
        scan(step, s, x)


def test_a_state_of_another_structure_is_the_loop_s_error():
    with pytest.raises(IndexError):
        scan(lambda h, p: (((h[0], h[1][0] * 1), h[1][1].tanh()), p), (s, (s, s)), x)


def test_non_contiguous_inputs():
    (wide,) = draw(3, (B, T, 2 * H))
    xs = wide.detach().permute(1, 2, 0)[:, ::2]
    for reverse in (False, True):
        same(lambda h, p: alike(mg.tanh(w @ h + p)), s, xs, [w, s], None, reverse)


def test_more_steps_than_are_known_in_threads(backend):
    def work(seed):
        for k in range(KNOWN // 4):
            step = functools.partial(scaled, (k + seed * KNOWN) / 1e4)
            with mg.no_grad():
                y, z = (host(run(step, s, x)[1]) for run in (scan, by_steps))
            # machine code may join a product and a sum, without rounding in between
            np.testing.assert_allclose(y, z, rtol=1e-12 if backend == "native" else 0)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert len(_known) <= KNOWN + 6


@pytest.mark.parametrize("reverse", [False, True])
def test_without_a_state(reverse):
    (xs,) = draw(1, (T, H, B))
    same(lambda _state, p: ((), mg.tanh(w @ p)), (), xs, [w, xs], None, reverse)


def test_cotangents_of_a_wider_dtype():
    narrow = [x.detach().float().requires_grad_() for x in draw(1, (H, B), (T, H, B))]
    state, xs = narrow
    (weight,) = draw(2, (T, H, B))

    def gradients_of(run):
        last, ys = run(lambda h, p: alike(mg.tanh(h + p)), state, xs)
        loss = (ys * weight).sum() + (last * weight[0]).sum()
        return mg.autograd.grad(loss, narrow)

    for a, b in zip(gradients_of(scan), gradients_of(by_steps), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(host(a), host(b), rtol=1e-5)


# ---- any step --------------------------------------------------------------------------------

UNARY = [
    mg.tanh,
    mg.sigmoid,
    lambda v: v * 0.5 + 1,
    lambda v: -v,
    lambda v: v.square() * 0.1,
    lambda v: mg.cat([v[1:], v[:1]]),
    lambda v: v - v.mean(dim=0),
    lambda v: v.reshape(-1).reshape(H, B),
    lambda v: v * v.sum(dim=1, keepdim=True) * 0.1,
    lambda v: mg.stack(list(v)).flip(0),
    lambda v: mg.cat(v.chunk(H)[::-1]),
    lambda v: mg.softmax(v, dim=0),
    lambda v: w @ v,
    lambda v: mg.affine(u, v, w[:, :B]),
    lambda v: (v.T @ w.T).T,
    lambda v: mg.einsum("ij,jb->ib", u, v),
    lambda v: v.detach() * 0.5,
]
MASK, ROW = mg.tensor(np.arange(H * B).reshape(H, B) % 2 == 0), mg.tensor([[True, False]])
# those that machine code takes
KERNELS = [
    mg.tanh,
    lambda v: -v,
    lambda v: v.square() * 0.1,
    lambda v: mg.where(MASK, v, 0.5 * v),
    lambda v: mg.affine(w, v, w[:, :B]),
    lambda v: w @ v,
]
JOINING = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: mg.where(ROW, a, b),
    lambda a, b: mg.affine(w, a, b),
]
BINARY = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1),
    lambda a, b: mg.where(a > b, a, b * 0.5),
    mg.maximum,
    on_lambda,
    lambda a, b: chosen_by(a, b, a),
    lambda a, b: (a @ b.T) @ b * 0.1,
    lambda a, b: mg.affine(w, a, b),
]


@st.composite
def programs(draw, unary=tuple(UNARY), binary=tuple(BINARY)):
    """Lines of one or two operands, then which values are the next state and the outputs."""
    count = draw(st.integers(1, 7))
    states = draw(st.integers(1, 2))
    known, lines = states + 2, []
    for _ in range(count):
        if draw(st.booleans()):
            lines.append((draw(st.sampled_from(unary)), [draw(st.integers(0, known - 1))]))
        else:
            operands = [draw(st.integers(0, known - 1)) for _ in range(2)]
            lines.append((draw(st.sampled_from(binary)), operands))
        known += 1
    pick = st.integers(0, known - 1)
    after = [draw(pick) for _ in range(states)]
    outputs = draw(st.lists(pick, min_size=0, max_size=2))
    loss = draw(st.none() | st.lists(st.integers(0, 3), min_size=1, max_size=2))
    return lines, after, outputs, loss, draw(st.booleans()), draw(st.integers(3, 5))


@given(programs())
def test_any_step(program):
    check(program)


@given(programs(tuple(KERNELS), tuple(JOINING)))
@settings(max_examples=settings().max_examples // 4)  # for natively each is compiled
def test_any_step_of_kernels_and_products(program):
    check(program)


def check(program):
    lines, after, outputs, loss, reverse, steps = program

    def step(h, p):
        values = [*h, *p]
        for run, operands in lines:
            values.append(run(*(values[k] for k in operands)))
        bounded = tuple(mg.tanh(values[k]) if k > 3 else values[k] for k in after)
        return bounded, tuple(values[k] for k in outputs)

    init = (s, c)[: len(after)]
    xs = tuple(draw(steps, (steps, H, B), (steps, H, B)))
    xs = (xs[0], xs[1].detach())
    results = flat(by_steps(step, init, xs))
    loss = [k for k in loss or range(len(results)) if k < len(results)]
    if any(results[k].requires_grad for k in loss):
        same(step, init, xs, [w, u, s, c, xs[0]], loss, reverse)
