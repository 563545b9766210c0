"""Measures minigrad against its peers in paired turns: `python -m benchmarks.run --help`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report, startup
from benchmarks.equal import difference, reference_among
from benchmarks.process import PeerError, Process
from benchmarks.rows import TITLES, Row, rows
from benchmarks.turns import Asked, Measured, Plan, measure

ALWAYS = ["minigrad", "native", "hand", "blas"]
ALWAYS += ["minigrad:loop", "minigrad:compile", "minigrad:unroll", "minigrad:fuse"]
ALWAYS += ["minigrad:frozen"]
ALWAYS += ["native:loop", "native:compile", "native:unroll"]
OTHERS = ["torch", "torch:index", "jax", "autograd", "mygrad", "tinygrad"]
# Another way to write a task, named after a colon, is there for these tasks only.
VARIANTS = {
    "loop": ["user_cell"],
    "scan": ["user_cell"],
    "unroll": ["layer", "user_cell"],
    "fuse": ["operation"],
    "frozen": ["chain"],
    "index": ["user_cell"],
    "compile": ["user_cell", "stream", "mlp"],
}
QUICK = Plan(rounds=3, turn_s=0.03, attempts=1)
SLOW = 20.0  # seconds: a peer whose step takes longer is not timed in turns


@dataclass
class Result:
    """What was found in one row."""

    row: Row
    reference: str | None = None
    prepared: dict[str, dict[str, Any]] = field(default_factory=dict[str, Any])
    notes: dict[str, str] = field(default_factory=dict[str, str])  # why a peer was not timed
    measured: Measured | None = None


class Benchmark:
    """Runs rows; a peer that is not installed is asked once, and reported."""

    def __init__(self, peers: list[str], plan: Plan, threads: int, noisy: bool = False) -> None:
        self.peers = peers
        self.plan = plan
        self.threads = threads
        self.noisy = noisy
        self.versions: dict[str, str] = {}
        self.absent: dict[str, str] = {}

    def run(self, row: Row) -> Result:
        """Prepare the row in every peer, compare their results, and time those that are right."""
        result = Result(row)
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            processes = {
                peer: stack.enter_context(self._process(peer, folder))
                for peer in row.peers or _asked(self.peers, row)
                if peer not in self.absent
            }
            prepared = self._prepared(row, self._ready(processes), folder, result)
            right = self._compared(prepared, folder, result)
            if len(right) >= max(1, len(row.peers)):
                asked: dict[str, Asked] = {peer: processes[peer] for peer in right}
                step_s = {peer: result.prepared[peer]["step_s"] for peer in right}
                result.measured = measure(asked, step_s, self.plan)
        return result

    def _process(self, peer: str, folder: Path) -> Process:
        """A new process, with an empty cache: its first step compiles what it needs."""
        return Process(peer, self.threads, self.noisy, XDG_CACHE_HOME=str(folder / peer))

    def _ready(self, processes: dict[str, Process]) -> dict[str, Process]:
        """The peers that could be imported: all have done so before the first of them works."""
        ready: dict[str, Process] = {}
        for peer, process in processes.items():
            try:
                self.versions[peer] = process.ready()
                ready[peer] = process
            except PeerError as error:
                self.absent[peer] = str(error)
        return ready

    def _prepared(
        self, row: Row, processes: dict[str, Process], folder: Path, result: Result
    ) -> list[str]:
        """The peers that have the row's task, each of which has saved its results."""
        request = {"task": row.task, "options": row.options}
        found: list[str] = []
        for peer, process in processes.items():
            try:
                answer = process.ask(do="prepare", row=request, results=str(folder / f"{peer}.npz"))
            except PeerError as error:
                result.notes[peer] = f"failed: {error}"
                continue
            if "missing" not in answer:
                result.prepared[peer] = answer
                found.append(peer)
        return found

    def _compared(self, peers: list[str], folder: Path, result: Result) -> list[str]:
        """The peers whose results equal the reference's, and whose step is not too slow."""
        results = {peer: dict(np.load(folder / f"{peer}.npz")) for peer in peers}
        result.reference = reference_among(peers)
        right: list[str] = []
        for peer in peers:
            unequal = difference(results[peer], results[result.reference or peer])
            if unequal:
                result.notes[peer] = f"refused: {unequal}"
            elif result.prepared[peer]["step_s"] > SLOW:
                result.notes[peer] = f"too slow: {result.prepared[peer]['step_s']:.0f} s a step"
            else:
                right.append(peer)
        return right


def _asked(peers: list[str], row: Row) -> list[str]:
    """Those of the peers that are meant for the row."""
    variants = [(peer, peer.partition(":")[2]) for peer in peers]
    return [peer for peer, name in variants if not name or row.task in VARIANTS[name]]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__)
    parser.add_argument("--rows", default=",".join(TITLES), help="workloads, such as W1,W5")
    parser.add_argument("--only", default="", help="rows whose name contains this, such as LSTM")
    parser.add_argument("--peers", default=",".join(OTHERS), help="beside minigrad, hand, blas")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="calm rounds wanted")
    parser.add_argument("--turn", type=float, default=Plan.turn_s, help="seconds of a turn")
    parser.add_argument("--calm", type=float, default=Plan.calm, help="cores busy for others")
    parser.add_argument("--attempts", type=int, default=Plan.attempts, help="times --rounds, tried")
    parser.add_argument("--threads", type=int, default=2, help="threads of each peer")
    parser.add_argument("--quick", action="store_true", help="a few short turns: does it work?")
    parser.add_argument("--noisy", action="store_true", help="show what the peers print")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    options = parse(argv)
    plan = (
        QUICK
        if options.quick
        else Plan(options.rounds, options.turn, options.calm, options.attempts)
    )
    peers = [*ALWAYS, *filter(None, options.peers.split(","))]
    workloads = options.rows.split(",")
    benchmark = Benchmark(peers, plan, options.threads, options.noisy)
    results: list[Result] = []
    for row in rows(workloads):
        if options.only in row.name:
            results.append(benchmark.run(row))
            print(report.line(results[-1]), flush=True)
    started = startup.measure(peers, plan, options.threads) if "W7" in workloads else []
    about = report.about(benchmark.versions, benchmark.absent, plan, options.threads)
    paths = report.write(options.out, about, results, started)
    if compared := [result for result in results if result.row.peers]:
        print(report.levers(compared))
    print("\n".join(f"wrote {path}" for path in paths), file=sys.stderr)


if __name__ == "__main__":
    main()
