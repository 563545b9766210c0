"""The schedule that lowers the rate when a metric has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, SupportsFloat

from minigrad.optim.checks import check_count, check_number
from minigrad.optim.lr_scheduler.base import LRScheduler
from minigrad.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by `factor` when a metric has not improved for more than `patience` steps.

    A metric m improves on the best one so far when, for mode "min", m < best · (1 − threshold)
    ("rel") or m < best − threshold ("abs"); for "max", m > best · (1 + threshold) or
    m > best + threshold. NaN is no improvement. "rel" is meant for metrics above 0.

    Args:
        optimizer: the optimiser.
        mode: "min" when the metric shall fall, "max" when it shall rise.
        factor: what the rate is multiplied by, below 1.
        patience: the number of steps without improvement that are let pass.
        threshold: how much better counts as better.
        threshold_mode: "rel" or "abs", see above.
        cooldown: the number of steps after a drop in which nothing is counted.
        min_lr: the lowest rate; or a list, one for each group.
        eps: a drop that is not larger than this is left out.

    Raises:
        TypeError, ValueError: an option is unknown or out of its range.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> rates = []
    >>> for loss in [3.0, 2.0, 2.0, 2.0, 2.0]:
    ...     schedule.step(loss)
    ...     rates += schedule.get_last_lr()
    >>> rates
    [0.5, 0.5, 0.5, 0.25, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(optimizer)
        check_number(self._who, "factor", factor, 0.1, below=1)
        check_count(self._who, "patience", patience, 10)
        check_number(self._who, "threshold", threshold, 1e-4)
        check_count(self._who, "cooldown", cooldown, 0)
        check_number(self._who, "eps", eps, 1e-8)
        if mode not in ("min", "max"):
            raise ValueError(f"{self._who}: expected mode 'min' or 'max', got {mode!r}")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(
                f"{self._who}: expected threshold_mode 'rel' or 'abs', got {threshold_mode!r}"
            )
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = self._for_each_group(min_lr)
        self.eps = eps
        self.best: float | None = None  # none yet: infinity is not JSON
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def _for_each_group(self, min_lr: float | Sequence[float]) -> list[float]:
        groups = len(self.optimizer.param_groups)
        rates: list[float] = [*min_lr] if isinstance(min_lr, Sequence) else [min_lr] * groups
        if len(rates) != groups:
            raise ValueError(
                f"{self._who}: expected {groups} min_lr, one for each parameter group, got "
                f"{len(rates)}; write one number to use it for all"
            )
        for rate in rates:
            check_number(self._who, "min_lr", rate, 1e-6)
        return rates

    def step(self, metrics: SupportsFloat) -> None:
        """Take note of a metric (a number or a one-element Tensor), and lower the rate if due."""
        metric = float(metrics)
        self.last_epoch += 1
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._lower()
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self.last_lr = [group["lr"] for group in self._groups]

    def _lower(self) -> None:
        for group, lowest in zip(self._groups, self.min_lrs, strict=True):
            rate = max(group["lr"] * self.factor, lowest)
            if group["lr"] - rate > self.eps:
                group["lr"] = rate

    def _is_better(self, metric: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.best is None:
            return sign * metric < math.inf
        if self.threshold_mode == "rel":
            return sign * metric < sign * self.best * (1 - sign * self.threshold)
        return sign * metric < sign * self.best - self.threshold
