"""Schedules give the rates of their formulas, multiply, and continue exactly from saved state."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import optim
from minigrad.optim import lr_scheduler as lrs

Make = Callable[[optim.Optimizer], lrs.EpochLR | lrs.SequentialLR]


def optimizer(*rates: float) -> optim.SGD:
    groups = [{"params": [mg.zeros(1).requires_grad_()], "lr": lr} for lr in rates or (1.0,)]
    return optim.SGD(groups)


def rates_of(schedule: lrs.EpochLR | lrs.SequentialLR, epochs: int) -> list[float]:
    """The rates of the first group in the next epochs, as the optimiser sees them."""
    found: list[float] = []
    for _ in range(epochs):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.step()
        assert schedule.get_last_lr() == [g["lr"] for g in schedule.optimizer.param_groups]
    return found


def warm_up(o: optim.Optimizer) -> lrs.SequentialLR:
    parts = [lrs.LinearLR(o, 0.25, total_iters=3), lrs.CosineAnnealingLR(o, 4), lrs.StepLR(o, 1)]
    return lrs.SequentialLR(o, parts, milestones=[3, 7])


def nested(o: optim.Optimizer) -> lrs.SequentialLR:
    return lrs.SequentialLR(o, [lrs.ConstantLR(o, 0.5, 2), warm_up(o)], milestones=[2])


HALF = 0.5
ROWS: dict[str, tuple[Make, list[float]]] = {
    "LambdaLR": (lambda o: lrs.LambdaLR(o, lambda t: 1 / (1 + t)), [1, 1 / 2, 1 / 3, 1 / 4]),
    "StepLR": (lambda o: lrs.StepLR(o, 2, 0.1), [1, 1, 0.1, 0.1, 0.01, 0.01]),
    "MultiStepLR": (lambda o: lrs.MultiStepLR(o, [3, 1, 3], 0.1), [1, 0.1, 0.1, 1e-3, 1e-3]),
    "MultiStepLR at once": (lambda o: lrs.MultiStepLR(o, [0], 0.1), [0.1, 0.1]),
    "ConstantLR": (lambda o: lrs.ConstantLR(o, 0.25, 3), [0.25, 0.25, 0.25, 1, 1]),
    "ConstantLR from 0": (lambda o: lrs.ConstantLR(o, 0, 2), [0, 0, 1, 1]),
    "LinearLR": (lambda o: lrs.LinearLR(o, 0.2, 1, 4), [0.2, 0.4, 0.6, 0.8, 1, 1]),
    "LinearLR to 0": (lambda o: lrs.LinearLR(o, 1, 0, 2), [1, 0.5, 0, 0]),
    "ExponentialLR": (lambda o: lrs.ExponentialLR(o, 0.5), [1, 0.5, 0.25, 0.125]),
    "CosineAnnealingLR": (
        lambda o: lrs.CosineAnnealingLR(o, 3, 0.2),
        [1, 0.8, 0.4, 0.2, 0.4, 0.8, 1, 0.8],
    ),
    "SequentialLR": (
        warm_up,
        [0.25, 0.5, 0.75, 1, (1 + math.sqrt(HALF)) / 2, 0.5, (1 - math.sqrt(HALF)) / 2, 1, 0.1],
    ),
    "SequentialLR, nested": (nested, [0.5, 0.5, 0.25, 0.5, 0.75, 1]),
    "SequentialLR, one left out": (
        lambda o: lrs.SequentialLR(
            o, [lrs.StepLR(o, 1), lrs.StepLR(o, 1), lrs.ConstantLR(o, 0.5, 2)], [1, 1]
        ),
        [1, 0.5, 0.5, 1],
    ),
}

every_schedule = pytest.mark.parametrize("make", [row[0] for row in ROWS.values()], ids=list(ROWS))


@pytest.mark.parametrize(("make", "wanted"), ROWS.values(), ids=list(ROWS))
def test_the_rates_are_those_of_the_formula(make: Make, wanted: list[float]) -> None:
    assert rates_of(make(optimizer()), len(wanted)) == pytest.approx(wanted, rel=1e-12, abs=1e-16)


@every_schedule
def test_each_group_has_its_own_rate(make: Make) -> None:
    schedule = make(optimizer(1.0, 8.0))
    for _ in range(8):
        one, eight = schedule.get_last_lr()
        if not isinstance(schedule, lrs.CosineAnnealingLR):  # its floor is no multiple of a rate
            assert eight == pytest.approx(8 * one)
        schedule.step()


@every_schedule
@given(before=st.integers(0, 12), data=st.data())
def test_resuming_is_exact(make: Make, before: int, data: st.DataObject) -> None:
    unbroken = make(optimizer(0.3))
    rates_of(unbroken, before)
    by_hand = data.draw(st.sampled_from([1.0, 0.7]))
    unbroken.optimizer.param_groups[0]["lr"] *= by_hand
    saved = json.dumps([unbroken.state_dict(), unbroken.optimizer.state_dict()], allow_nan=False)

    resumed = make(optimizer(0.1))
    schedule_state, optimizer_state = json.loads(saved)
    in_this_order = data.draw(st.booleans())
    for part in (0, 1) if in_this_order else (1, 0):
        if part == 0:
            resumed.load_state_dict(schedule_state)
        else:
            resumed.optimizer.load_state_dict(optimizer_state)
    assert resumed.last_epoch == before
    assert rates_of(resumed, 10) == rates_of(unbroken, 10)


def test_schedules_multiply() -> None:
    o = optimizer()
    first, second = lrs.LinearLR(o, 0.5, total_iters=4), lrs.ExponentialLR(o, 0.9)
    for t in range(8):
        wanted = (0.5 + 0.125 * min(t, 4)) * 0.9**t
        assert o.param_groups[0]["lr"] == pytest.approx(wanted, rel=1e-14)
        first.step()
        second.step()


def test_a_rate_written_by_hand_lasts() -> None:
    o = optimizer()
    schedule = lrs.CosineAnnealingLR(o, 10, eta_min=0.2)
    schedule.step()
    by_formula = rates_of(lrs.CosineAnnealingLR(optimizer(), 10, eta_min=0.2), 4)
    o.param_groups[0]["lr"] = 0.2 + (o.param_groups[0]["lr"] - 0.2) / 2
    schedule.step()
    assert schedule.get_last_lr()[0] - 0.2 == pytest.approx((by_formula[2] - 0.2) / 2)


def test_a_lambda_overwrites_what_was_written_by_hand() -> None:
    o = optimizer()
    schedule = lrs.LambdaLR(o, [lambda t: 2**-t])
    o.param_groups[0]["lr"] = 7.0
    schedule.step()
    assert schedule.get_last_lr() == [0.5]


def test_last_epoch_goes_on_with_the_rate_that_belongs_there() -> None:
    o = optimizer()
    o.param_groups[0]["initial_lr"] = 1.0
    assert lrs.StepLR(o, 2, last_epoch=3).get_last_lr() == [pytest.approx(0.01)]
    assert lrs.LambdaLR(o, lambda t: 1 / t, last_epoch=3).get_last_lr() == [0.25]
    with pytest.raises(KeyError, match="last_epoch=3 needs the rate that each group began with"):
        lrs.StepLR(optimizer(), 2, last_epoch=3)


def test_lambda_functions_are_not_saved() -> None:
    schedule = lrs.LambdaLR(optimizer(), abs)
    assert set(schedule.state_dict()) == {"base_lrs", "last_epoch", "last_lr"}


def test_a_group_that_joins_later_is_an_error() -> None:
    o = optimizer()
    schedules = [lrs.StepLR(o, 1), lrs.LambdaLR(o, abs)]
    plateau = lrs.ReduceLROnPlateau(o)
    o.add_param_group({"params": mg.zeros(1).requires_grad_()})
    for step in (schedules[0].step, schedules[1].step, lambda: plateau.step(1.0)):
        with pytest.raises(RuntimeError, match="had 1 parameter groups and now has 2"):
            step()


@every_schedule
def test_saved_and_loaded_state_is_a_copy(make: Make) -> None:
    schedule = make(optimizer())
    saved = schedule.state_dict()
    before = copy.deepcopy(saved)
    for _ in range(2):
        schedule.optimizer.param_groups[0]["lr"] *= 0.5
        schedule.step()
        assert saved == before
        schedule.load_state_dict(saved)


# ---- plateau ----------------------------------------------------------------------------------


def plateau_rates(metrics: list[float], **options: Any) -> list[float]:
    schedule = lrs.ReduceLROnPlateau(optimizer(), **{"factor": 0.5, "patience": 1, **options})
    rates: list[float] = []
    for metric in metrics:
        schedule.step(mg.tensor(metric, dtype="float64"))
        rates += schedule.get_last_lr()
    return rates


@pytest.mark.parametrize(
    ("metrics", "options", "wanted"),
    [
        ([3, 2, 2, 2, 2, 2], {}, [1, 1, 1, 0.5, 0.5, 0.25]),
        ([3, 2, 2, 2, 2, 2], {"patience": 0}, [1, 1, 0.5, 0.25, 0.125, 0.0625]),
        ([3, 2, 2, 2, 2, 2, 2, 2], {"cooldown": 2}, [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]),
        ([3, 2, 2, 2, 2, 2], {"min_lr": 0.4}, [1, 1, 1, 0.5, 0.5, 0.4]),
        ([3, 2, 2, 2, 2, 2], {"min_lr": [0.4], "eps": 0.2}, [1, 1, 1, 0.5, 0.5, 0.5]),
        ([1, 2, 3, 3, 3], {"mode": "max"}, [1, 1, 1, 1, 0.5]),
        ([100, 91, 91, 81], {"threshold": 0.1}, [1, 1, 0.5, 0.5]),
        ([100, 89, 81, 79], {"threshold": 0.1}, [1, 1, 1, 1]),
        ([100, 99, 98.6], {"threshold": 1.5, "threshold_mode": "abs"}, [1, 1, 0.5]),
        ([100, 99, 98.4], {"threshold": 1.5, "threshold_mode": "abs"}, [1, 1, 1]),
        ([1, 2.4, 2.6], {"mode": "max", "threshold": 1.5, "threshold_mode": "abs"}, [1, 1, 1]),
        ([1, 2.4, 2.4], {"mode": "max", "threshold": 1.5, "threshold_mode": "abs"}, [1, 1, 0.5]),
        ([10, 10.9, 10.9], {"mode": "max", "threshold": 0.1}, [1, 1, 0.5]),
        ([10, 10.9, 11.1], {"mode": "max", "threshold": 0.1}, [1, 1, 1]),
        ([math.nan, math.nan, 1], {}, [1, 0.5, 0.5]),
        ([math.inf, math.inf, 1], {}, [1, 0.5, 0.5]),
    ],
)
def test_plateau(metrics: list[float], options: dict[str, Any], wanted: list[float]) -> None:
    assert plateau_rates(metrics, **options) == pytest.approx(wanted)


@given(metrics=st.lists(st.floats(-5, 5), max_size=20), cut=st.integers(0, 20))
def test_plateau_resumes_exactly(metrics: list[float], cut: int) -> None:
    def new() -> lrs.ReduceLROnPlateau:
        return lrs.ReduceLROnPlateau(optimizer(), "max", 0.5, patience=1, cooldown=1)

    unbroken, resumed = new(), new()
    for metric in metrics[:cut]:
        unbroken.step(metric)
    resumed.load_state_dict(json.loads(json.dumps(unbroken.state_dict(), allow_nan=False)))
    resumed.optimizer.load_state_dict(unbroken.optimizer.state_dict())
    for metric in metrics[cut:]:
        unbroken.step(metric)
        resumed.step(metric)
    assert resumed.state_dict() == unbroken.state_dict()
    assert resumed.optimizer.param_groups[0]["lr"] == unbroken.optimizer.param_groups[0]["lr"]


# ---- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda _: lrs.StepLR(3, 1), TypeError, "expected an optimiser, got int"),
        (lambda o: lrs.StepLR(o, 0), ValueError, "step_size to be a whole number of at least 1"),
        (lambda o: lrs.StepLR(o, 1.5), TypeError, "step_size to be a whole number"),
        (lambda o: lrs.StepLR(o, 1, gamma=-1), ValueError, "gamma"),
        (lambda o: lrs.MultiStepLR(o, [1], gamma=math.nan), ValueError, "gamma"),
        (lambda o: lrs.MultiStepLR(o, [1.5]), TypeError, "milestones"),
        (lambda o: lrs.ExponentialLR(o, "0.9"), TypeError, "gamma"),
        (lambda o: lrs.ConstantLR(o, 1.5), ValueError, "factor to be .* at most 1"),
        (lambda o: lrs.ConstantLR(o, total_iters=0), ValueError, "total_iters"),
        (lambda o: lrs.LinearLR(o, 0), ValueError, "start_factor to be a number above 0"),
        (lambda o: lrs.LinearLR(o, 1, 1.1), ValueError, "end_factor"),
        (lambda o: lrs.LinearLR(o, total_iters=0), ValueError, "total_iters"),
        (lambda o: lrs.CosineAnnealingLR(o, 0), ValueError, "T_max"),
        (lambda o: lrs.CosineAnnealingLR(o, 5, -1), ValueError, "eta_min"),
        (lambda o: lrs.LambdaLR(o, [abs, abs]), ValueError, "expected 1 functions, .* got 2"),
        (lambda o: lrs.ReduceLROnPlateau(o, "low"), ValueError, "mode 'min' or 'max', got 'low'"),
        (lambda o: lrs.ReduceLROnPlateau(o, threshold_mode="x"), ValueError, "'rel' or 'abs'"),
        (lambda o: lrs.ReduceLROnPlateau(o, factor=1.0), ValueError, "factor to be .* below 1"),
        (lambda o: lrs.ReduceLROnPlateau(o, patience=-1), ValueError, "patience"),
        (lambda o: lrs.ReduceLROnPlateau(o, min_lr=[0, 0]), ValueError, "expected 1 min_lr"),
        (lambda o: lrs.ReduceLROnPlateau(o, min_lr=-1), ValueError, "min_lr"),
        (
            lambda o: lrs.SequentialLR(o, [lrs.StepLR(o, 1)], [1]),
            ValueError,
            "got 1 schedules and 1 milestones",
        ),
        (
            lambda o: lrs.SequentialLR(o, [lrs.ReduceLROnPlateau(o)], []),
            TypeError,
            r"schedulers\[0\] is ReduceLROnPlateau",
        ),
        (
            lambda o: lrs.SequentialLR(o, [lrs.StepLR(optimizer(), 1)], []),
            ValueError,
            "of another optimiser",
        ),
        (
            lambda o: lrs.SequentialLR(o, [lrs.StepLR(o, 1)] * 3, [2, 1]),
            ValueError,
            r"must rise, got \[2, 1\]",
        ),
    ],
)
def test_bad_options(
    make: Callable[[optim.Optimizer], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(optimizer())


@every_schedule
def test_a_state_that_does_not_fit_changes_nothing(make: Make) -> None:
    schedule = make(optimizer())
    schedule.step()
    before = schedule.state_dict()
    strange = {**before, "last_epoch": 9, "other": 1}
    with pytest.raises(ValueError, match="was it saved by another schedule"):
        schedule.load_state_dict(strange)
    too_many = make(optimizer(1.0, 2.0)).state_dict()
    with pytest.raises(ValueError, match="has 1 parameter groups, the saved state 2"):
        schedule.load_state_dict(too_many)
    assert schedule.state_dict() == before


def test_a_sequence_checks_its_schedules_before_it_loads() -> None:
    schedule = warm_up(optimizer())
    before = schedule.state_dict()
    later = {**warm_up(optimizer()).state_dict(), "last_epoch": 5}
    with pytest.raises(ValueError, match="expected the states of 3 schedules, got 2"):
        schedule.load_state_dict({**later, "schedulers": later["schedulers"][:2]})
    with pytest.raises(ValueError, match="LinearLR: expected a state with"):
        schedule.load_state_dict({**later, "schedulers": later["schedulers"][::-1]})
    assert schedule.state_dict() == before
