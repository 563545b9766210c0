"""Checks on options of optimisers and schedules: what was expected, what came, what to write."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any


def plain(value: Any) -> Any:
    """Turn NumPy numbers and one-element Tensors into Python numbers, lists into tuples.

    Python numbers never widen the dtype of an array, as a `numpy.float64` would.
    """
    if type(value) in (list, tuple):
        return tuple(map(plain, value))
    return value.item() if hasattr(value, "item") else value


def check_number(
    who: str,
    name: str,
    value: Any,
    instead: float,
    *,
    low: float = 0.0,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> None:
    """Raise unless `value` is finite, low ≤ value ≤ high, and above < value < below.

    Raises:
        TypeError: `value` is not a real number.
        ValueError: it is NaN, infinite or out of range.
    """
    wanted = [f"at least {low:g}"] if above == -math.inf else [f"above {above:g}"]
    wanted += [f"at most {high:g}"] if high < math.inf else []
    wanted += [f"below {below:g}"] if below < math.inf else []
    text = (
        f"{who}: expected {name} to be a number {' and '.join(wanted)}, got {value!r}; "
        f"write, for example, {name}={instead:g}"
    )
    if type(value) is bool or not isinstance(value, Real):
        raise TypeError(text)
    number = float(value)
    if not (math.isfinite(number) and low <= number <= high and above < number < below):
        raise ValueError(text)


def check_not_negative(who: str, options: Mapping[str, Any], **instead: float) -> None:
    """Check that each option named in `instead`, whose values are examples, is 0 or more."""
    for name, example in instead.items():
        check_number(who, name, options[name], example)


def check_count(who: str, name: str, value: Any, instead: int, low: int = 0) -> None:
    """Raise unless `value` is a whole number of at least `low`."""
    text = f"{who}: expected {name} to be a whole number of at least {low}, got {value!r}; "
    if type(value) is bool or not isinstance(value, int):
        raise TypeError(f"{text}write, for example, {name}={instead}")
    if value < low:
        raise ValueError(f"{text}write, for example, {name}={instead}")
