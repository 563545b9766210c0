"""Schedules whose rate is a function of the epoch: steps, ramps, decays and the cosine."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence

from minigrad.optim.checks import check_count, check_number
from minigrad.optim.lr_scheduler.base import EpochLR, FactorLR
from minigrad.optim.optimizer import Optimizer


class LambdaLR(EpochLR):
    """Multiply the first rate by a function of the epoch: η_t = η₀ · f(t).

    Rates that others write are overwritten. `state_dict()` does not hold the functions: give the
    same ones when you resume.

    Args:
        optimizer: the optimiser.
        lr_lambda: f, from the epoch to a factor; or a list of functions, one for each group.
        last_epoch: see `EpochLR`.

    Raises:
        ValueError: a list has another length than there are groups.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    unsaved = EpochLR.unsaved | {"lr_lambdas"}

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        super().__init__(optimizer, last_epoch)
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"LambdaLR: expected {groups} functions, one for each parameter group, got "
                f"{len(self.lr_lambdas)}; write one function to use it for all"
            )
        self._write(self.rates())

    def rates(self) -> list[float]:
        """Give the rate of each group in the epoch `last_epoch`."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [base * function(self.last_epoch) for base, function in pairs]


class StepLR(FactorLR):
    """Multiply the rate by `gamma` every `step_size` epochs: η_t = η₀ · gamma^⌊t / step_size⌋.

    Args:
        optimizer: the optimiser.
        step_size: the number of epochs between two drops.
        gamma: the factor of a drop.
        last_epoch: see `FactorLR`.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for epoch in range(5):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_count("StepLR", "step_size", step_size, 30, low=1)
        check_number("StepLR", "gamma", gamma, 0.1)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.gamma ** (epoch // self.step_size)


class MultiStepLR(FactorLR):
    """Multiply the rate by `gamma` at each milestone: η_t = η₀ · gamma^#{m ≤ t}.

    Args:
        optimizer: the optimiser.
        milestones: epochs; one that comes twice counts twice.
        gamma: the factor of a drop.
        last_epoch: see `FactorLR`.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 4], gamma=0.5)
    >>> rates = []
    >>> for epoch in range(5):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.25, 0.25, 0.25, 0.125]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        check_number("MultiStepLR", "gamma", gamma, 0.1)
        self.milestones = sorted(milestones)
        for milestone in self.milestones:
            check_count("MultiStepLR", "milestones", milestone, 30)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.gamma ** bisect_right(self.milestones, epoch)


class ConstantLR(FactorLR):
    """Multiply the rate by `factor` until epoch `total_iters`, and by 1 from there on.

    Args:
        optimizer: the optimiser.
        factor: between 0 and 1.
        total_iters: the first epoch with the whole rate.
        last_epoch: see `FactorLR`.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.25, 0.25, 0.5, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_number("ConstantLR", "factor", factor, 0.5, high=1)
        check_count("ConstantLR", "total_iters", total_iters, 5, low=1)
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.factor if epoch < self.total_iters else 1.0


class LinearLR(FactorLR):
    """Move the factor on a straight line from `start_factor` to `end_factor`: a warm-up.

    With T = total_iters:  η_t = η₀ · (start_factor + (end_factor − start_factor) · min(t, T) / T)

    Args:
        optimizer: the optimiser.
        start_factor: the factor of epoch 0, above 0 and at most 1.
        end_factor: the factor from epoch `total_iters` on, between 0 and 1.
        total_iters: the number of epochs that the way takes.
        last_epoch: see `FactorLR`.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.25, 0.375, 0.5, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_number("LinearLR", "start_factor", start_factor, 0.1, above=0, high=1)
        check_number("LinearLR", "end_factor", end_factor, 1.0, high=1)
        check_count("LinearLR", "total_iters", total_iters, 5, low=1)
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        done = min(epoch, self.total_iters) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * done


class ExponentialLR(FactorLR):
    """Multiply the rate by `gamma` every epoch: η_t = η₀ · gammaᵗ.

    Args:
        optimizer: the optimiser.
        gamma: the factor of an epoch.
        last_epoch: see `FactorLR`.

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        check_number("ExponentialLR", "gamma", gamma, 0.95)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def factor_at(self, epoch: int) -> float:
        return self.gamma**epoch


class CosineAnnealingLR(FactorLR):
    """Let the rate fall along half a cosine from its first value to `eta_min`.

        η_t = eta_min + (η₀ − eta_min) · (1 + cos(π t / T_max)) / 2

    After T_max epochs it rises again, as in PyTorch.

    Args:
        optimizer: the optimiser.
        T_max: the number of epochs that the fall takes.
        eta_min: the lowest rate.
        last_epoch: see `FactorLR`.

    Source: Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017
    (the cosine; without the restarts).

    >>> import minigrad as mg
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = mg.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2, eta_min=0.25)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.375, 0.25, 0.375]
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        check_count("CosineAnnealingLR", "T_max", T_max, 50, low=1)
        check_number("CosineAnnealingLR", "eta_min", eta_min, 1e-5)
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def floor(self) -> float:
        return self.eta_min

    def factor_at(self, epoch: int) -> float:
        return (1 + math.cos(math.pi * epoch / self.T_max)) / 2
