"""Wrong gradients, planted one at a time: the kit must catch each, and nothing that is right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings

import minigrad as mg
from minigrad import autograd, nn, ops
from minigrad.gathering import Later
from minigrad.nn import recurrent
from minigrad.nn.masks import Masks
from minigrad.op import Op
from minigrad.ops import Elementwise
from minigrad.testing import GradientError, gradcheck
from tests import nn_checks, nn_table
from tests.nn import test_masks, test_scan
from tests.ops.row import Case, Row
from tests.ops.values import tensors
from tests.ops_table import ELEMENTWISE, ROWS
from tests.test_ops import op_objects

SMOOTH = [r for r in ELEMENTWISE if r.smooth and isinstance(r.function, Elementwise)]
RULES = [(row, k) for row in SMOOTH for k in range(len(row.function.rules))
         if row.function.rules[k].__name__ != "_none"]  # fmt: skip
every_rule = pytest.mark.parametrize(
    ("row", "k"), RULES, ids=[f"{row.name}-{k}" for row, k in RULES]
)


# in float64 on one device nothing is converted; test_tape.py checks these
CONVERSIONS = ("cast", "transfer")


def few(examples: int) -> settings:
    """No shrinking: what is checked here is meant to fail."""
    phases = [Phase.generate]
    return settings(max_examples=examples, derandomize=True, database=None, phases=phases)


def leaf(*shape: int, seed: int = 0) -> mg.Tensor:
    values = np.random.default_rng(seed).uniform(0.3, 1.5, shape)
    return mg.tensor(values, requires_grad=True)


def caught(f: Callable[..., Any], *inputs: mg.Tensor, order: int = 2) -> str:
    """What the kit says about a function that it must find wrong."""
    with pytest.raises(GradientError) as found:
        gradcheck(f, inputs, order)
    return str(found.value)


# ---- one error in every rule -----------------------------------------------------------------


def check(row: Row, order: int, examples: int = 1) -> None:
    """What test_gradient does, for a few cases."""

    @few(examples)
    @given(case=row.cases())
    def run(case: Case) -> None:
        gradcheck(lambda *xs: row.run(xs, case.params), tensors(case.xs, grad=True), order)

    run()


def replace_rule(monkeypatch: pytest.MonkeyPatch, op: Op, k: int, rule: Any) -> None:
    monkeypatch.setattr(op, "rules", (*op.rules[:k], rule, *op.rules[k + 1 :]))


@every_rule
def test_an_error_of_a_thousandth(row: Row, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    right = row.function.rules[k]
    replace_rule(monkeypatch, row.function, k, lambda g, *rest: right(g, *rest) + g * 0.001)
    with pytest.raises(GradientError):
        check(row, order=1)


@every_rule
def test_an_error_in_the_second_derivative_alone(
    row: Row, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first derivative has the right value, but its own graph is that of another function."""
    right = row.function.rules[k]

    def rule(g: Any, *rest: Any) -> Any:
        gx = right(g, *rest)
        return gx + (g - g.detach()) * 0.001 if isinstance(g, mg.Tensor) else gx

    replace_rule(monkeypatch, row.function, k, rule)
    check(row, order=1)
    with pytest.raises(GradientError, match="second derivative"):
        check(row, order=2)


@pytest.mark.parametrize(
    ("name", "op"),
    [
        (name, op)
        for name, op in op_objects()
        if op.rules and not isinstance(op, Elementwise) and op.name not in CONVERSIONS
    ],
)
def test_an_error_in_any_other_op(name: str, op: Op, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule of every op that is not elementwise, private ones too, is watched by some row."""
    for k in range(len(op.rules)):
        with monkeypatch.context() as planted:
            right = op.rules[k]
            replace_rule(planted, op, k, partial(off_by_a_hundredth, right))
            tries = ((row, n) for n in (1, 8) for row in ROWS if row.smooth)
            assert any(fails(row, n) for row, n in tries), f"{name}.rules[{k}]"


def off_by_a_hundredth(right: Any, *args: Any, **params: Any) -> Any:
    return off(right(*args, **params))


def off(gx: Any) -> Any:
    """A cotangent, or a list of them, a hundredth too large."""
    if isinstance(gx, (tuple, list)):
        return [off(g) for g in gx]
    if isinstance(gx, Later):
        gx = gx.run()
    return None if gx is None else gx * 1.01


def fails(row: Row, examples: int) -> bool:
    try:
        check(row, order=2, examples=examples)
    except GradientError:
        return True
    return False


# ---- the errors that people make ---------------------------------------------------------------


def mutant(forward: Callable[..., Any], *rules: Any) -> Op:
    return Op("mutant", forward, *rules)


def test_a_wrong_sign_and_a_dropped_term() -> None:
    sine = mutant(lambda xp, x: xp.sin(x), lambda g, _y, x: -g * mg.cos(x))
    assert "input 0" in caught(sine, leaf(3))
    product = mutant(lambda _xp, x: x * mg.exp(x), lambda g, _y, x: g * mg.exp(x))  # lacks x·eˣ
    caught(product, leaf(2, 3))


def test_a_missing_sum_over_a_broadcast_axis() -> None:
    """The bias of every row takes the first row's cotangent instead of the sum."""
    plus = mutant(lambda _xp, x, b: x + b, lambda g, _y, _x, _b: g, lambda g, _y, _x, _b: g[0])
    assert "input 1" in caught(plus, leaf(4, 3), leaf(3, seed=1))


def test_a_stale_dropout_mask() -> None:
    """The backward pass draws another mask than the forward pass."""
    masks = iter(np.random.default_rng(0).integers(0, 2, (99_999, 40)) * 2.0)

    def forward(xp: Any, x: Any) -> Any:
        return x * xp.from_host(np.resize(first, x.shape))

    def rule(g: Any, _y: Any, _x: Any) -> Any:
        return g * mg.tensor(np.resize(next(masks), g.shape), dtype=mg.float64).data

    first = next(masks)
    caught(mutant(forward, rule), leaf(40), order=1)


def test_a_state_taken_at_the_padded_end() -> None:
    """A layer that gives the state at the last step, while its gradient goes to the true end."""
    layer = nn.GRU(2, 3).double()

    def right(x: mg.Tensor) -> mg.Tensor:
        return layer(x, lengths=[2])[1]

    def at_the_end(_xp: Any, x: Any) -> Any:
        return layer(mg.Tensor(x))[1].detach().data

    def rule(g: Any, _y: Any, x: Any) -> Any:
        z = mg.Tensor(x).detach().requires_grad_()
        (gx,) = mg.autograd.grad(right(z), z, mg.Tensor(g))
        return gx.data

    x = leaf(4, 1, 2)
    caught(mutant(at_the_end, rule), x, order=1)
    gradcheck(right, [x], 2)


# ---- errors in the recurrent driver: what its tests check must notice them ---------------------


@pytest.mark.parametrize(
    "restarts",
    [
        lambda masks, backwards: None if backwards else masks.restart,
        lambda masks, backwards: masks.restart if backwards else None,
        lambda masks, _backwards: masks.restart,  # backwards a step late
    ],
    ids=["ignored backwards", "ignored forwards", "not shifted"],
)
def test_a_reset_that_one_direction_gets_wrong(
    restarts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    @few(20)
    @given(case=test_masks.cases())
    def run(case: dict[str, Any]) -> None:
        test_masks.check_reset(nn.GRUCell, case)

    run()
    monkeypatch.setattr(Masks, "restarts", restarts)
    with pytest.raises(AssertionError):
        run()


def test_a_driver_whose_state_runs_on_into_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in nn_table.ROWS if row.name == "lstm")
    nn_checks.check_a_row_alone(row)
    monkeypatch.setattr(recurrent, "unless_idle", lambda _mask, _idle, _like: None)
    with pytest.raises(AssertionError):
        nn_checks.check_a_row_alone(row)


def test_a_driver_that_lets_padding_through(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in nn_table.ROWS if row.name == "lstm")
    nn_checks.check_poison(row, 7.0)
    monkeypatch.setattr(ops, "where", lambda _mask, x, _fill: x)
    with pytest.raises(AssertionError):
        nn_checks.check_poison(row, 7.0)


def test_dropout_masks_that_a_second_run_draws_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints that do not replay: the backward pass sees other masks than the forward pass."""
    layer = nn.Recurrent(test_scan.Noisy, 2, 3, checkpoint=True).double()

    def run(x: mg.Tensor) -> mg.Tensor:
        mg.manual_seed(0)
        return layer(x)[0]

    x = leaf(4, 2, 2)
    gradcheck(run, [x])
    monkeypatch.setattr(autograd, "_replayed", lambda _state: contextlib.nullcontext())
    caught(run, x, order=1)


def test_a_wrong_gradient_of_one_element_is_named() -> None:
    def rule(g: Any, _y: Any, x: Any) -> Any:
        wrong = np.array([[1.0, 1.0, 1.0], [1.0, 1.5, 1.0]])
        return g * 2 * x * mg.tensor(wrong).data

    message = caught(mutant(lambda _xp, x: x * x, rule), leaf(2, 3), order=1)
    assert "(1, 1)" in message
    assert "(0, 0)" not in message
