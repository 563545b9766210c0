"""Ctrl-C as a question that the loop answers between two steps."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ctrl_c_asks() -> Iterator[list[int]]:
    """Within, Ctrl-C only fills the list, so that no step is torn; a second one stops at once.

    >>> with ctrl_c_asks() as asked:
    ...     while work and not asked:
    ...         step()
    """
    asked: list[int] = []

    def ask(number: int, _frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
