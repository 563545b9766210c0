"""Slopes of a function of one number, by differences, each with an estimate of its error."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

# From steps that rounding does not harm to steps that pass a kink which is not at the point itself.
FIRST_STEP, LAST_STEP = 2.0**-6, 2.0**-18
SIDE_STEP = 2.0**-16
LEVELS_AT_LEAST = 3
ROUNDING = 4 * 2.0**-52  # of one value of f, relative to `size`


class Slope(NamedTuple):
    """A derivative, and how far it may be from the true one."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.10g} ± {self.error:.1g}"


def slope(f: Callable[[float], float], size: float) -> Slope:
    """f′(0) by central differences, extrapolated to step 0 (Ridders, 1982).

    D(h) = (f(h) - f(-h)) / 2h = f′(0) + a h² + b h⁴ + …: halving h and combining removes one term
    after the other. The estimate is where neighbours in that table agree best; rounding, which
    grows as h shrinks, counts as `size` · ε / h, with `size` that of the terms summed in f.
    """
    best = Slope(math.nan, math.inf)
    row: list[float] = []
    step, level = FIRST_STEP, 0
    while step >= LAST_STEP:
        above, row = row, [(f(step) - f(-step)) / (2 * step)]
        for k, coarse in enumerate(above):
            fine, power = row[k], 4.0 ** (k + 1)
            value = (power * fine - coarse) / (power - 1)
            error = max(abs(value - fine), abs(value - coarse))
            error += ROUNDING * (size / step + abs(value))
            if error < best.error:
                best = Slope(value, error)
            row.append(value)
        level += 1
        if level >= LEVELS_AT_LEAST and best.error <= 1e-10 * (size + abs(best.value)):
            break
        step /= 2
    return best


def reach(f: Callable[[float], float]) -> float:
    """How steep f is over the longest step: what a slope of about 0 is small against."""
    at_0 = f(0.0)
    return (abs(f(FIRST_STEP) - at_0) + abs(f(-FIRST_STEP) - at_0)) / FIRST_STEP


def is_kink(f: Callable[[float], float], size: float, says: float) -> bool:
    """Whether f has no slope at 0: none to one side, or two, with `says` between them."""
    steep = reach(f)
    sides: list[float] = []
    for step in (-SIDE_STEP, SIDE_STEP):
        at_0 = f(0.0)
        coarse, fine = (f(step) - at_0) / step, 2 * (f(step / 2) - at_0) / step
        if not abs(fine - coarse) <= 0.01 * (abs(fine) + steep) + ROUNDING * size / SIDE_STEP:
            return True
        sides.append(2 * fine - coarse)
    low, high = min(sides), max(sides)
    slack = (high - low) / 20
    smooth = high - low <= 1e-6 * (abs(low) + abs(high)) + 16 * ROUNDING * size / SIDE_STEP
    return not smooth and low - slack <= says <= high + slack
