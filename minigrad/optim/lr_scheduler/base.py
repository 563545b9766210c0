"""What all schedules share: the optimiser whose rates they write, and saved state."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from minigrad.optim.optimizer import Optimizer
from minigrad.optim.params import Group


class LRScheduler:
    """The base of the schedules: each `step()` writes the "lr" of every parameter group.

    Call `step()` once per epoch (or per batch), after `optimizer.step()`. To resume, load the
    optimiser's state as well: the rates are in there.

    Args:
        optimizer: the optimiser.

    Attributes:
        last_epoch: how many steps the schedule has made.

    Raises:
        TypeError: `optimizer` is not an `Optimizer`.
    """

    unsaved: ClassVar[frozenset[str]] = frozenset({"optimizer"})

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):  # pyright: ignore[reportUnnecessaryIsInstance] -- users without a type checker
            raise TypeError(
                f"{self._who}: expected an optimiser, got {type(optimizer).__name__}; write "
                f"{self._who}(optimizer, ...)"
            )
        self.optimizer = optimizer
        self.last_epoch = 0
        self.last_lr: list[float] = [group["lr"] for group in optimizer.param_groups]

    @property
    def _who(self) -> str:
        return type(self).__name__

    @property
    def _groups(self) -> list[Group]:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.last_lr):
            raise RuntimeError(
                f"{self._who}: the optimiser had {len(self.last_lr)} parameter groups and now has "
                f"{len(groups)}; make the schedule after the last add_param_group"
            )
        return groups

    def get_last_lr(self) -> list[float]:
        """Give the rates that this schedule wrote last, one for each parameter group."""
        return list(self.last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Copy what is needed to continue later: plain Python, so that it can be JSON."""
        state = {key: value for key, value in vars(self).items() if key not in self.unsaved}
        return copy.deepcopy(state)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy in what `state_dict()` gave; on an error nothing is changed.

        Raises:
            ValueError: it is the state of another kind of schedule, or for other groups.
        """
        self._check_state(state_dict)
        self._fill(copy.deepcopy(dict(state_dict)))

    def _check_state(self, state_dict: Mapping[str, Any]) -> None:
        wanted = vars(self).keys() - self.unsaved
        if set(state_dict) != wanted:
            raise ValueError(
                f"{self._who}: expected a state with {', '.join(sorted(wanted))}, got "
                f"{', '.join(sorted(state_dict))}; was it saved by another schedule?"
            )
        count, saved = len(self.optimizer.param_groups), len(state_dict["last_lr"])
        if saved != count:
            raise ValueError(
                f"{self._who}: the optimiser has {count} parameter groups, the saved state {saved}"
            )

    def _fill(self, state_dict: dict[str, Any]) -> None:
        vars(self).update(state_dict)

    def _write(self, rates: list[float]) -> None:
        for group, rate in zip(self._groups, rates, strict=True):
            group["lr"] = rate
        self.last_lr = rates


class EpochLR(LRScheduler, ABC):
    """The base of schedules whose rates follow from the number of the epoch.

    Args:
        optimizer: the optimiser; a group's "initial_lr", or its "lr" where there is none, is the
            rate it begins with.
        last_epoch: −1 begins; another number goes on after that epoch, with the rates that belong
            to epoch `last_epoch + 1` whatever they are now. `load_state_dict` is the surer way.

    Raises:
        TypeError: `optimizer` is not an `Optimizer`.
        KeyError: `last_epoch` is given, and a group has no "initial_lr".
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        super().__init__(optimizer)
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{self._who}: last_epoch={last_epoch} needs the rate that each group began "
                    "with; write {'params': ..., 'initial_lr': 0.1}, or leave last_epoch out and "
                    "use load_state_dict"
                )
        self.base_lrs = self._initial_lrs()
        self.last_epoch = last_epoch + 1

    @abstractmethod
    def rates(self) -> list[float]:
        """Give the rate of each group in the epoch `last_epoch`."""

    def step(self) -> None:
        """Go to the next epoch.

        Raises:
            RuntimeError: the optimiser has been given further parameter groups.
        """
        self.last_epoch += 1
        self._write(self.rates())

    def restart(self) -> None:
        """Go back to epoch 0, and to the rates that the groups began with."""
        self.last_epoch = 0
        self.base_lrs = self._initial_lrs()
        self._write(self.rates())

    def _initial_lrs(self) -> list[float]:
        return [group["initial_lr"] for group in self._groups]


class FactorLR(EpochLR):
    """The base of schedules that multiply the rate by a factor: a subclass is that factor.

    With the base rate η and the floor η_f (0 unless a subclass has another one):

        η_t = η_f + (η − η_f) · factor_at(t)

    The rate is computed from t and not from the rate before, so that resuming is exact. When
    somebody else writes a group's "lr", by hand or by another schedule, the base rate takes up
    the change: as in PyTorch such schedules multiply, and what was written by hand lasts.

    Args:
        optimizer: the optimiser.
        last_epoch: see `EpochLR`.

    >>> import minigrad as mg
    >>> class Hyperbolic(mg.optim.lr_scheduler.FactorLR):
    ...     def factor_at(self, epoch):
    ...         return 1 / (1 + epoch)
    >>> optimizer = mg.optim.SGD([mg.tensor([1.0], requires_grad=True)], lr=0.5)
    >>> schedule = Hyperbolic(optimizer)
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        super().__init__(optimizer, last_epoch)
        if last_epoch == -1:
            self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._write(self.rates())

    @abstractmethod
    def factor_at(self, epoch: int) -> float:
        """Give what the rate is multiplied by in an epoch."""

    def floor(self) -> float:
        """Give the part of the rate that the factor leaves alone."""
        return 0.0

    def rates(self) -> list[float]:
        """Give the rate of each group in the epoch `last_epoch`."""
        low, factor = self.floor(), self.factor_at(self.last_epoch)
        return [low + (base - low) * factor for base in self.base_lrs]

    def step(self) -> None:
        """Go to the next epoch, from the rates that the groups have now."""
        low = self.floor()
        for i, (group, last) in enumerate(zip(self._groups, self.last_lr, strict=True)):
            if group["lr"] != last and last != low:
                change = (group["lr"] - low) / (last - low)
                self.base_lrs[i] = low + (self.base_lrs[i] - low) * change
        super().step()
