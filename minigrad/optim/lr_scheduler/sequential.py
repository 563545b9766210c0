"""Schedules one after another: a warm-up, say, and then a decay."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from minigrad.optim.checks import check_count
from minigrad.optim.lr_scheduler.base import EpochLR, LRScheduler
from minigrad.optim.optimizer import Optimizer


class SequentialLR(LRScheduler):
    """Run schedules one after another; at a milestone the next one begins, with its epoch 0.

    Args:
        optimizer: the optimiser.
        schedulers: schedules of this optimiser, in their order.
        milestones: the epochs at which the second, the third … begins.

    Raises:
        TypeError: one of them is not a schedule by epochs; `ReduceLROnPlateau` is not, because
            its `step` needs a metric.
        ValueError: a schedule is of another optimiser, or the milestones are not one less than
            the schedules, in rising order.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> warm_up = mg.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> decay = mg.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule = mg.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, decay], milestones=[2])
    >>> rates = []
    >>> for epoch in range(5):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.25, 0.375, 0.5, 0.25, 0.125]
    """

    unsaved = LRScheduler.unsaved | {"schedulers"}

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[EpochLR | SequentialLR],
        milestones: Sequence[int],
    ) -> None:
        super().__init__(optimizer)
        self.schedulers = list(schedulers)
        self.milestones = list(milestones)
        self._check()
        self.restart()

    def _check(self) -> None:
        for i, schedule in enumerate(self.schedulers):
            if not isinstance(schedule, EpochLR | SequentialLR):  # pyright: ignore[reportUnnecessaryIsInstance] -- users without a type checker
                raise TypeError(
                    f"SequentialLR: expected schedules by epochs, but schedulers[{i}] is "
                    f"{type(schedule).__name__}; step that one by itself"
                )
            if schedule.optimizer is not self.optimizer:
                raise ValueError(
                    f"SequentialLR: schedulers[{i}] writes the rates of another optimiser; make "
                    "all of them with the same one"
                )
        for milestone in self.milestones:
            check_count("SequentialLR", "milestones", milestone, 10)
        if len(self.milestones) != len(self.schedulers) - 1:
            raise ValueError(
                "SequentialLR: expected a milestone between every two schedules, got "
                f"{len(self.schedulers)} schedules and {len(self.milestones)} milestones"
            )
        if any(a > b for a, b in pairwise(self.milestones)):
            raise ValueError(f"SequentialLR: milestones must rise, got {self.milestones}")

    def step(self) -> None:
        """Go to the next epoch of the schedule whose turn it is, or begin the next one."""
        self.last_epoch += 1
        schedule = self._current()
        if self.last_epoch in self.milestones:
            schedule.restart()
        else:
            schedule.step()
        self.last_lr = schedule.get_last_lr()

    def restart(self) -> None:
        """Go back to epoch 0 of the first schedule."""
        self.last_epoch = 0
        schedule = self._current()
        schedule.restart()
        self.last_lr = schedule.get_last_lr()

    def _current(self) -> EpochLR | SequentialLR:
        return self.schedulers[bisect_right(self.milestones, self.last_epoch)]

    def state_dict(self) -> dict[str, Any]:
        """Copy what is needed to continue later, the states of the schedules included."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        own, schedules = _split(state_dict)
        super()._check_state(own)
        if len(schedules) != len(self.schedulers):
            raise ValueError(
                f"SequentialLR: expected the states of {len(self.schedulers)} schedules, got "
                f"{len(schedules)}"
            )
        for schedule, saved in zip(self.schedulers, schedules, strict=True):
            schedule._check_state(saved)

    def _fill(self, state_dict: dict[str, Any]) -> None:
        own, schedules = _split(state_dict)
        super()._fill(own)
        for schedule, saved in zip(self.schedulers, schedules, strict=True):
            schedule._fill(saved)


def _split(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Part the state of a sequence from those of its schedules."""
    own = {key: value for key, value in state_dict.items() if key != "schedulers"}
    return own, state_dict.get("schedulers", [])
