"""A progress bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
from time import monotonic

try:
    from tqdm import tqdm
except ImportError:  # it belongs to the extra `train`
    tqdm = None


class Lines:
    """The part of tqdm's interface used here, in plain lines: for log files, and without tqdm."""

    every = 10.0  # seconds

    def __init__(self, total: int, initial: int = 0, unit: str = "it") -> None:
        self.total, self.initial, self.n, self.unit = total, initial, initial, unit
        self.start = self.last = monotonic()
        self.note = ""

    def set_postfix_str(self, note: str, refresh: bool = False) -> None:
        self.note = note

    def update(self, n: int) -> None:
        self.n += n
        now = monotonic()
        if now - self.last >= self.every:
            self.last = now
            rate = (self.n - self.initial) / (now - self.start)
            left = int((self.total - self.n) / rate)
            print(
                f"{self.n / self.total:4.0%}  {self.note}  {rate:,.0f} {self.unit}/s"
                f"  {left // 60}:{left % 60:02} left",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        pass


def progress(total: int, initial: int = 0, unit: str = "it") -> Lines:
    """A bar over `total` units of work, `initial` of which are done already."""
    if tqdm is None or not sys.stderr.isatty():
        return Lines(total, initial, unit)
    return tqdm(total=total, initial=initial, unit=unit, unit_scale=True, dynamic_ncols=True)
