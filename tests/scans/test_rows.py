"""Steps with ops along rows, and with pieces and joins: the loop in machine code gives the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.backend.rows import rowwise
from minigrad.op import Op
from minigrad.scans.op import loops_of
from tests.scans.test_steps import B, H, T, c, draw, s, same, u, w

(xs, wide) = draw(3, (T, H, B), (T, 2 * H, B))
(tall, many, column) = draw(4, (2 * H, H), (T, H, 20), (H, 20))


def features(h, p):
    h = mg.tanh(mg.standardize(w @ h, -2) + p)
    return h, h


def batch(h, p):
    h = mg.tanh(mg.standardize(h + p, -1, 0.1, centre=False))
    return h, mg.standardize(h, -1)


def pieces(h, p):
    a, b = (tall @ h + p).split([H + 1, H - 1])
    first, rest = mg.cat([b, mg.standardize(a, -2)]).split([H, H])
    h = mg.tanh(first * rest)
    return h, mg.cat([h, b])


def attended(h, p):
    """The batch is normalised by exponentials."""
    h = mg.tanh(mg.softmax(w @ h, -1) + mg.log_softmax(h * p, -1))
    return h, h


def unread(h, p):
    _ = mg.standardize(h, -2)
    with mg.no_grad():
        stopped = mg.standardize(h, -2)
    h = mg.tanh(h + p * stopped)
    return h, mg.standardize(p, -2)


def two_states(state, p):
    """The LSTM of Ba et al.: one part of the state is normalised on its way to the other."""
    h, c = state
    q = mg.standardize(u @ h, -2)
    c = mg.sigmoid(q) * c + p
    h = mg.tanh(mg.standardize(c, -2))
    return (h, c), h


# ---- an op of one's own: y = x / √(Σ x² + 1) -------------------------------------------------


@rowwise("x[m,n] -> y[m,n]", "sum s = x * x\nr = 1 / sqrt(s + 1)\neach y = x * r")
def shorten(xp: Any, x: Any) -> Any:
    return x / xp.sqrt((x * x).sum(-1, keepdims=True) + 1)


@rowwise(
    "g[m,n], y[m,n], x[m,n] -> gx[m,n]",
    "sum dot = g * y\nsum s = x * x\nr = 1 / sqrt(s + 1)\neach gx = (g - y * dot) * r",
)
def pull_back(xp: Any, g: Any, y: Any, x: Any) -> Any:
    r = 1 / xp.sqrt((x * x).sum(-1, keepdims=True) + 1)
    return (g - y * (g * y).sum(-1, keepdims=True)) * r


def along(x: Any) -> Any:
    return mg.ops.sum(x, -1, keepdim=True)


pull = Op(
    "pull",
    pull_back,
    lambda h, _gx, _g, y, x: pull(h, y, x),
    lambda h, _gx, g, y, x: (
        -(h * along(g * y) + g * along(h * y)) / mg.ops.sqrt(along(x * x) + 1.0)
    ),
    lambda h, gx, _g, _y, x: -x * along(h * gx) / (along(x * x) + 1.0),
)


def pulled(g: Any, y: Any, x: Any) -> Any:
    return pull(g, y, x)


short = Op("short", shorten, pulled)


def own(h, p):
    h = short(w @ h + p)
    return h, h


STEPS = {
    "features": (features, s, xs),
    "batch": (batch, s, xs),
    "pieces": (pieces, s, wide),
    "attended": (attended, s, xs),
    "unread": (unread, s, xs),
    "two states": (two_states, (s, c), xs),
    "many columns": (features, column, many),
    "own": (own, s, xs),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", STEPS)
def test_a_scan_is_its_loop(name, reverse):
    step, init, inputs = STEPS[name]
    leaves = [w, u, tall, inputs, *(init if isinstance(init, tuple) else (init,))]
    same(step, init, inputs, leaves, reverse=reverse)


@pytest.mark.parametrize("name", STEPS)
def test_it_runs_in_machine_code(name, backend, written):
    if backend != "native":
        pytest.skip("about machine code: --backend=native")
    step, init, inputs = STEPS[name]
    mg.scan(step, init, inputs)
    (op,) = written
    assert loops_of(op.step, s.backend).native is not None


@pytest.mark.parametrize("kind", [nn.LayerNormLSTM, nn.LayerNormGRU])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 20])
@pytest.mark.parametrize("given", [{}, {"lengths": True}])
def test_layer_norm_cells_run_in_machine_code(kind, bias, batch, given, backend, written):
    layer = kind(4, 6, bias=bias, dtype=np.float64)
    x = mg.randn(5, batch, 4, dtype=np.float64).requires_grad_()
    options = {"lengths": [5, *[2] * (batch - 1)]} if given else {}
    results = []
    for native in (True, False):
        if backend == "native":
            mg.use_native(native)
        y, state = layer(x, **options)
        found = mg.autograd.grad((y * y).sum(), [x, *layer.parameters()], allow_unused=True)
        results.append([y.detach(), *(state if isinstance(state, tuple) else (state,)), *found])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(
            one.detach().cpu().numpy(), other.detach().cpu().numpy(), 1e-9, 1e-11
        )
    if backend == "native":
        mg.use_native()
        assert loops_of(written[0].step, x.backend).native is not None
