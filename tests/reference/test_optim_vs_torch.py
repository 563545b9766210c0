"""Optimisers and schedules give PyTorch's numbers, over every option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim
from tests.optim.table import CASES, ROWS, Row, name_of

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.reference,
    pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning"),
]

SHAPES = [(3, 4), (5,), ()]


def both(seed: int = 0) -> tuple[list[mg.Tensor], list[Any]]:
    """The same float64 parameters for minigrad and for PyTorch."""
    random = np.random.default_rng(seed)
    start = [np.asarray(random.standard_normal(shape)) for shape in SHAPES]
    device = mg.get_default_device()
    ours = [mg.tensor(x, device=device, requires_grad=True) for x in start]
    return ours, [torch.tensor(x, requires_grad=True) for x in start]


def step_both(ours: list[mg.Tensor], theirs: list[Any], seed: int) -> None:
    """Give both the same gradients, and none to the second parameter at every third step."""
    random = np.random.default_rng(seed)
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = np.asarray(random.standard_normal(p.shape))
        absent = i == 1 and seed % 3 == 2
        p.grad = None if absent else mg.tensor(g, device=p.device)
        q.grad = None if absent else torch.tensor(g)


def assert_close(ours: list[mg.Tensor], theirs: list[Any]) -> None:
    for p, q in zip(ours, theirs, strict=True):
        wanted = q.detach().numpy()
        np.testing.assert_allclose(p.detach().cpu().numpy(), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("row", "options"), CASES, ids=name_of)
def test_trajectory(row: Row, options: dict[str, Any]) -> None:
    ours, theirs = both()
    mine = row.make(ours, **options)
    other = getattr(torch.optim, row.make.__name__)(theirs, **_as_torch_takes_them(options))
    for seed in range(12):
        step_both(ours, theirs, seed)
        mine.step()
        other.step()
        assert_close(ours, theirs)


def _as_torch_takes_them(options: dict[str, Any]) -> dict[str, Any]:
    betas = options.get("betas")
    return {**options, "betas": tuple(map(float, betas))} if betas else options


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_defaults_and_the_names_of_the_state(row: Row) -> None:
    ours, theirs = both()
    mine, other = row.make(ours), getattr(torch.optim, row.make.__name__)(theirs)
    assert {k: other.defaults[k] for k in mine.defaults} == mine.defaults
    options = {key: True for key in ("amsgrad", "centered") if key in mine.defaults}
    options |= {"momentum": 0.9} if "momentum" in mine.defaults else {}
    mine = row.make(ours, **options)
    other = getattr(torch.optim, row.make.__name__)(theirs, **options)
    step_both(ours, theirs, 0)
    mine.step()
    other.step()
    own, others = mine.state["param.0"], other.state[theirs[0]]
    assert own.keys() | {"step"} == others.keys() | {"step"}
    for key in own.keys() - {"step"}:
        np.testing.assert_allclose(
            mg.Tensor(own[key]).cpu().numpy(), others[key].numpy(), rtol=1e-12
        )


# ---- schedules --------------------------------------------------------------------------------

SCHEDULES: dict[str, Callable[[Any, Any], Any]] = {
    "LambdaLR": lambda m, o: m.LambdaLR(o, lambda t: 0.95**t + 0.1),
    "LambdaLR, each": lambda m, o: m.LambdaLR(o, [lambda t: 0.95**t, lambda t: 1 / (1 + t)]),
    "StepLR": lambda m, o: m.StepLR(o, 7),
    "StepLR, 1": lambda m, o: m.StepLR(o, 1, gamma=0.93),
    "MultiStepLR": lambda m, o: m.MultiStepLR(o, [0, 5, 5, 30], gamma=0.7),
    "ConstantLR": lambda m, o: m.ConstantLR(o),
    "ConstantLR, long": lambda m, o: m.ConstantLR(o, 0.3, 20),
    "LinearLR": lambda m, o: m.LinearLR(o),
    "LinearLR, down": lambda m, o: m.LinearLR(o, 1.0, 0.05, 40),
    "ExponentialLR": lambda m, o: m.ExponentialLR(o, 0.97),
    "CosineAnnealingLR": lambda m, o: m.CosineAnnealingLR(o, 13),
    "CosineAnnealingLR, floor": lambda m, o: m.CosineAnnealingLR(o, 50, eta_min=0.01),
    "CosineAnnealingLR, 1": lambda m, o: m.CosineAnnealingLR(o, 1, eta_min=0.01),
    "SequentialLR": lambda m, o: m.SequentialLR(
        o,
        [m.LinearLR(o, 0.01, total_iters=10), m.CosineAnnealingLR(o, 30), m.StepLR(o, 3)],
        milestones=[10, 40],
    ),
    "SequentialLR, others": lambda m, o: m.SequentialLR(
        o,
        [m.ConstantLR(o, 0.1, 4), m.MultiStepLR(o, [2]), m.ExponentialLR(o, 0.9)],
        milestones=[6, 12],
    ),
}
CHAINED = ["StepLR", "LinearLR", "ConstantLR", "ExponentialLR", "MultiStepLR", "CosineAnnealingLR"]


def two_optimizers() -> tuple[Any, Any]:
    a, b = mg.zeros(1).requires_grad_(), mg.zeros(1).requires_grad_()
    mine = optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b], "lr": 0.03}])
    p, q = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    other = torch.optim.SGD([{"params": [p], "lr": 0.5}, {"params": [q], "lr": 0.03}])
    return mine, other


def assert_same_rates(mine: Any, other: Any) -> None:
    own, others = ([g["lr"] for g in o.param_groups] for o in (mine, other))
    assert own == pytest.approx(others, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=list(SCHEDULES))
def test_rates(make: Callable[[Any, Any], Any]) -> None:
    mine, other = two_optimizers()
    schedules = make(optim.lr_scheduler, mine), make(torch.optim.lr_scheduler, other)
    for _ in range(120):
        assert_same_rates(mine, other)
        assert schedules[0].last_epoch == schedules[1].last_epoch
        assert schedules[0].get_last_lr() == [g["lr"] for g in mine.param_groups]
        for schedule in schedules:
            schedule.step()


@pytest.mark.parametrize("second", CHAINED)
@pytest.mark.parametrize("first", CHAINED)
def test_two_schedules_at_once(first: str, second: str) -> None:
    mine, other = two_optimizers()
    mines = [SCHEDULES[name](optim.lr_scheduler, mine) for name in (first, second)]
    others = [SCHEDULES[name](torch.optim.lr_scheduler, other) for name in (first, second)]
    for _ in range(13):  # after T_max epochs PyTorch's cosine forgets what others did
        assert_same_rates(mine, other)
        for schedule in (*mines, *others):
            schedule.step()


@pytest.mark.parametrize("name", CHAINED)
def test_a_rate_written_by_hand(name: str) -> None:
    mine, other = two_optimizers()
    schedules = [
        SCHEDULES[name](m, o)
        for m, o in ((optim.lr_scheduler, mine), (torch.optim.lr_scheduler, other))
    ]
    for t in range(12):
        for o in (mine, other):
            o.param_groups[1]["lr"] *= 0.5 if t == 2 else 1
        for schedule in schedules:
            schedule.step()
        assert_same_rates(mine, other)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LambdaLR", {"lr_lambda": lambda t: 0.9**t}),
        ("StepLR", {"step_size": 3}),  # with 2, PyTorch makes the drop at epoch 4 a second time
        ("MultiStepLR", {"milestones": [2, 6]}),
        ("ConstantLR", {"total_iters": 7}),
        ("LinearLR", {"total_iters": 7}),
        ("ExponentialLR", {"gamma": 0.9}),
        ("CosineAnnealingLR", {"T_max": 13, "eta_min": 0.01}),
    ],
)
def test_going_on_after_an_epoch(name: str, options: dict[str, Any]) -> None:
    before, _ = two_optimizers()
    schedule = getattr(optim.lr_scheduler, name)(before, **options)
    for _ in range(4):
        schedule.step()
    mine, other = two_optimizers()
    for o in (mine, other):
        for group, reached in zip(o.param_groups, before.param_groups, strict=True):
            group |= {"lr": reached["lr"], "initial_lr": reached["initial_lr"]}
    schedules = [
        getattr(module, name)(o, **options, last_epoch=3)
        for module, o in ((optim.lr_scheduler, mine), (torch.optim.lr_scheduler, other))
    ]
    for _ in range(8):
        assert_same_rates(mine, other)
        for schedule in schedules:
            schedule.step()


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(
    "options",
    [{}, {"cooldown": 3}, {"min_lr": 0.01}, {"min_lr": [0.1, 0.02]}, {"eps": 0.05}],
    ids=str,
)
def test_plateau(mode: Any, threshold_mode: Any, options: dict[str, Any]) -> None:
    mine, other = two_optimizers()
    options = {"factor": 0.6, "patience": 2, "threshold": 0.05, **options}
    schedules = [
        m.ReduceLROnPlateau(o, mode, threshold_mode=threshold_mode, **options)
        for m, o in ((optim.lr_scheduler, mine), (torch.optim.lr_scheduler, other))
    ]
    random = np.random.default_rng(0)
    for metric in [*random.normal(0, 1, 40), float("nan"), *random.normal(3, 0.2, 40)]:
        for schedule in schedules:
            schedule.step(metric)
        assert_same_rates(mine, other)
