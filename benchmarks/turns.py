"""Paired turns: each round times every peer once, and a round that others disturbed is repeated."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

PAUSE = 0.15  # OpenBLAS lets idle threads spin for 0.1 s, and the next turn would suffer


class Asked(Protocol):
    """A peer's process, or a stand-in for one."""

    def ask(self, **request: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Plan:
    """How to measure a row."""

    rounds: int = 9
    turn_s: float = 0.3  # a turn repeats the step until it has taken about so long
    calm: float = 0.15  # cores that others may keep busy during a turn
    attempts: int = 3  # times `rounds`: how many rounds to try for that many calm ones


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> Spread:
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
        return Spread(median, low, high)


@dataclass
class Measured:
    """The rounds of one row: for each the turn of every peer."""

    calls: dict[str, int]
    rounds: list[dict[str, dict[str, Any]]] = field(default_factory=list[Any])
    dropped: int = 0
    disturbed: bool = False  # whether the rounds that were kept are not all calm

    @property
    def foreign(self) -> float:
        """Cores that others kept busy in the worst turn of a round: the median of those kept."""
        return float(np.median([foreign_in(turns) for turns in self.rounds]))

    def times(self, peer: str) -> list[float]:
        """Seconds of one step, in each round."""
        return [turns[peer]["wall"] / self.calls[peer] for turns in self.rounds]

    def time(self, peer: str) -> Spread:
        return Spread.of(self.times(peer))

    def processor_ratio(self, peer: str, other: str) -> Spread:
        """The same in processor time: with one thread each, what foreign load touches least."""
        scale = self.calls[other] / self.calls[peer]
        return Spread.of([scale * t[peer]["cpu"] / t[other]["cpu"] for t in self.rounds])

    def best(self, peer: str) -> float:
        """Seconds of the fastest single step."""
        return min(turns[peer]["best"] for turns in self.rounds)

    def ratio(self, peer: str, other: str) -> Spread:
        """The time of one peer over another's, of the same round."""
        pairs = zip(self.times(peer), self.times(other), strict=True)
        return Spread.of([a / b for a, b in pairs])


def foreign_in(turns: dict[str, dict[str, Any]]) -> float:
    """How many cores others kept busy in the worst turn of a round."""
    return max((turn["foreign"] or 0.0 for turn in turns.values()), default=0.0)


def measure(peers: dict[str, Asked], step_s: dict[str, float], plan: Plan) -> Measured:
    """Time every peer in turns until `plan.rounds` rounds were calm, or the attempts are used up.

    The peers are prepared; `step_s` is about what a step takes. A first round warms up, and
    corrects how many steps make a turn.
    """
    calls = {peer: _calls(plan, step_s[peer]) for peer in peers}
    warm = _round(peers, calls, 0)
    calls = {peer: _calls(plan, warm[peer]["wall"] / calls[peer]) for peer in peers}
    tried: list[dict[str, dict[str, Any]]] = []
    calm = 0
    while calm < plan.rounds and len(tried) < plan.rounds * plan.attempts:
        tried.append(_round(peers, calls, len(tried)))
        calm += foreign_in(tried[-1]) <= plan.calm
    kept = sorted(tried, key=foreign_in)[: plan.rounds]
    return Measured(calls, kept, len(tried) - len(kept), calm < plan.rounds)


def _calls(plan: Plan, step_s: float) -> int:
    return max(1, math.ceil(plan.turn_s / max(step_s, 1e-7)))


def _round(peers: dict[str, Asked], calls: dict[str, int], start: int) -> dict[str, dict[str, Any]]:
    """One turn of each peer; another peer begins each round."""
    names = list(peers)
    first = start % len(names)
    turns: dict[str, dict[str, Any]] = {}
    for peer in [*names[first:], *names[:first]]:
        time.sleep(PAUSE)
        turns[peer] = peers[peer].ask(do="turn", calls=calls[peer])
    return turns
