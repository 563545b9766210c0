"""What a peer costs before it works: its import, its first training step, and its size on disk."""

from __future__ import annotations

import contextlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata, util
from pathlib import Path
from typing import Any

from benchmarks.inputs import arrays_of
from benchmarks.load import Load
from benchmarks.process import ROOT, environment
from benchmarks.turns import Plan, Spread
from benchmarks.worker import Worker

FIRST_STEP = "import sys; from benchmarks.startup import first_step; first_step(sys.argv[1])"


@dataclass
class Started:
    """What one peer needed."""

    peer: str
    size_mb: float
    import_s: list[float] = field(default_factory=list[float])
    first_step_s: list[float] = field(default_factory=list[float])
    foreign: list[float] = field(default_factory=list[float])

    def import_time(self) -> Spread:
        return Spread.of(self.import_s)

    def first_step(self) -> Spread | None:
        return Spread.of(self.first_step_s) if self.first_step_s else None

    def load(self) -> float:
        return statistics.median(self.foreign)


def measure(peers: Iterable[str], plan: Plan, threads: int) -> list[Started]:
    """Start each installed peer anew in every round; Python's own start is in every time."""
    names = ["numpy", *(peer for peer in peers if ":" not in peer and util.find_spec(peer))]
    started = [Started(name, size_mb(name)) for name in names]
    for _ in range(plan.rounds):
        for one in started:
            one.import_s.append(_wall(one, [f"import {one.peer}"], threads))
            if one.peer != "numpy":
                _first_step(one, threads)
    return started


def first_step(peer: str) -> None:
    """One training step of an LSTM, as a program that is run once would do it."""
    options: dict[str, Any] = {"kind": "LSTM", "size": (100, 32, 128, 128)}
    Worker(peer).module.layer(arrays_of("layer", options), **options)()


def _first_step(one: Started, threads: int) -> None:
    # A peer without a recurrent layer fails: the table shows a dash.
    with contextlib.suppress(subprocess.CalledProcessError):
        one.first_step_s.append(_wall(one, [FIRST_STEP, one.peer], threads))


def _wall(one: Started, code: list[str], threads: int) -> float:
    load = Load()
    subprocess.run(
        [sys.executable, "-c", *code],
        check=True,
        cwd=ROOT,
        env=environment(threads),
        stderr=subprocess.DEVNULL,
    )
    during = load.stop()
    one.foreign.append(during["foreign"] or 0.0)
    return during["wall"] or 0.0


def size_mb(name: str) -> float:
    """Installed size of a distribution and of everything it requires."""
    return sum(_own_size(one) for one in _closure(name)) / 1e6


def _closure(name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop().lower().replace("_", "-")
        if one in found or not _installed(one):
            continue
        found.add(one)
        for text in metadata.requires(one) or []:
            requirement, _, marker = text.partition(";")
            match = re.match(r"[\w.-]+", requirement)
            if match and "extra" not in marker:
                waiting.append(match[0])
    return found


def _installed(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None


def _own_size(name: str) -> int:
    files: list[Any] = list(metadata.distribution(name).files or [])
    if name == "minigrad":  # installed editable: its files are here
        return sum(path.stat().st_size for path in (ROOT / name).rglob("*.py"))
    paths = [Path(str(file.locate())) for file in files]
    return sum(path.stat().st_size for path in paths if path.is_file())
