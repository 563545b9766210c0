"""What the machine did meanwhile for others: processor time that this process did not use."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_STAT = Path("/proc/stat")
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def _busy_seconds() -> float | None:
    """Processor time used on this machine since it started, all cores and processes together."""
    if not _STAT.exists():
        return None
    fields = _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Processor time of this process, and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


class Load:
    """Measures between its making and `stop`: wall time, own processor time, and others' load."""

    def __init__(self) -> None:
        self.busy = _busy_seconds()
        self.own = _own_seconds()
        self.wall = time.perf_counter()

    def stop(self) -> dict[str, float | None]:
        """Seconds of wall and of own processor time, and how many cores others kept busy."""
        wall = time.perf_counter() - self.wall
        own = _own_seconds() - self.own
        busy = _busy_seconds()
        foreign = None
        if busy is not None and self.busy is not None:
            foreign = max(0.0, busy - self.busy - own) / wall
        return {"wall": wall, "cpu": own, "foreign": foreign}


def memory_mb() -> float:
    """Memory that this process holds now, in MB."""
    return _status_mb("VmRSS") if _STATUS.exists() else peak_memory_mb()


def forget_peak() -> None:
    """Let `peak_memory_mb` count from now on, where the system can do so."""
    if _CLEAR.exists():
        _CLEAR.write_text("5", encoding="ascii")


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB."""
    if _STATUS.exists():
        return _status_mb("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _status_mb(name: str) -> float:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(name)
