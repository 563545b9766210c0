"""Which rows of a batch run at each step: those within their length, and those that restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.tensor import Tensor

Host = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Masks:
    """Masks (T, B) on the host: `valid` steps, and steps before which a row's state restarts.

    None for all valid and for no restart; a restart in the padding has no effect, and is left out.
    """

    valid: Host | None
    restart: Host | None

    def restarts(self, backwards: bool) -> Host | None:
        """Before which steps, in the order in which they are run, the state starts anew."""
        if self.restart is None or not backwards:
            return self.restart
        # cut before t, a sequence that is run backwards enters another segment at t - 1
        return np.concatenate([self.restart[1:], np.zeros_like(self.restart[:1])])


def masks_of(
    name: str, lengths: Any, reset: Any, lead: tuple[int, ...], batch_first: bool
) -> Masks:
    """The masks of lengths (B,), and of reset, laid out as `lead`: x's shape without features.

    Raises ValueError, for the layer `name`, where they do not fit.
    """
    steps, batch = (*lead, 1) if len(lead) == 1 else lead[::-1] if batch_first else lead
    one = (1,) if len(lead) == 1 else ()  # a sequence without a batch may have a number
    rows = None if lengths is None else on_host(lengths)
    valid = (
        None if rows is None else valid_steps(name, rows.reshape(rows.shape or one), steps, batch)
    )
    if reset is None:
        return Masks(valid, None)
    host = on_host(reset)
    if host.shape != lead or host.dtype.kind != "b":
        raise ValueError(
            f"{name}: expected reset of booleans {lead}, as x without its features; got "
            f"{host.dtype} of shape {host.shape}"
            + ("" if host.dtype.kind == "b" else "; write reset != 0")
        )
    restart = host.T if len(lead) == 2 and batch_first else host.reshape(steps, batch)
    return Masks(valid, restart if valid is None else restart & valid)


def on_host(given: Any) -> np.ndarray[Any, Any]:
    """A tensor, an array or a list as an array on the host."""
    return given.backend.to_host(given.data) if isinstance(given, Tensor) else np.asarray(given)


def valid_steps(name: str, lengths: np.ndarray[Any, Any], steps: int, batch: int) -> Host:
    """The mask (T, B) of steps within the lengths; raises ValueError where they do not fit."""
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected lengths of {batch} integers, one a row, got {lengths.dtype} of "
            f"shape {lengths.shape}"
        )
    if batch and (lengths.min() < 0 or lengths.max() > steps):
        raise ValueError(
            f"{name}: lengths must lie in 0…{steps} (the time steps of x), got {lengths.tolist()}"
        )
    return np.arange(steps)[:, None] < lengths


def on_device(mask: Host, like: Tensor) -> Tensor:
    """The mask (T, 1, B), to broadcast over features, where `like` is."""
    return Tensor(like.backend.from_host(mask[:, None, :]))


def unless_idle(mask: Host | None, idle: bool, like: Tensor) -> Tensor | None:
    """The mask where `like` is; None where it has the value everywhere that changes nothing."""
    return None if mask is None or (mask == idle).all() else on_device(mask, like)
