"""The report of a run: ratios in Markdown, everything in JSON, and where minigrad loses."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rows import TITLES
from benchmarks.turns import Measured, Plan, Spread

if TYPE_CHECKING:
    from benchmarks.run import Result
    from benchmarks.startup import Started

OURS = "minigrad"
YARDSTICKS = ("native", "hand", "blas")


def about(
    versions: dict[str, str], absent: dict[str, str], plan: Plan, threads: int
) -> dict[str, Any]:
    """What the figures were measured on, and with what."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "threads": threads,
        "versions": versions,
        "absent": absent,
        "plan": dataclasses.asdict(plan),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def is_ours(peer: str) -> bool:
    return peer.partition(":")[0] == OURS


def timed(result: Result) -> list[str]:
    return list(result.measured.calls) if result.measured else []


def line(result: Result) -> str:
    """One row in one line, for the terminal."""
    head = result.row.key
    if result.measured is None:
        return f"{head}: not timed; {result.notes}"
    measured = result.measured
    times = [f"{p} {duration(measured.time(p).median / result.row.per)}" for p in timed(result)]
    ratios = [f"{a}/{b} {spread(measured.ratio(a, b))}" for a, b in pairs(result)]
    if measured.disturbed:
        ratios += [
            f"cpu {a}/{b} {spread(measured.processor_ratio(a, b))}" for a, b in pairs(result)
        ]
    notes = [f"{peer} {note}" for peer, note in result.notes.items()]
    return "\n    ".join([head, " · ".join(times), " · ".join(ratios), load(measured), *notes])


def pairs(result: Result) -> Iterator[tuple[str, str]]:
    """Each way of minigrad with each peer that is none; of a lever, with it and without."""
    peers = timed(result)
    ours = peers[1:] if result.row.peers else [peer for peer in peers if is_ours(peer)]
    return ((one, other) for one in ours for other in peers if other not in ours)


def load(measured: Measured) -> str:
    """How disturbed the rounds were."""
    text = f"others' load {measured.foreign:.2f} cores, {measured.dropped} rounds dropped"
    return text + (", NOT CALM" if measured.disturbed else "")


def spread(ratio: Spread) -> str:
    return f"{ratio.median:.2f} [{ratio.low:.2f}–{ratio.high:.2f}]"


def duration(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


# ---- Markdown ----------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def markdown(about: dict[str, Any], results: list[Result], started: list[Started]) -> str:
    parts = ["# minigrad and its peers", _preface(about)]
    for workload, title in TITLES.items():
        chosen = [result for result in results if result.row.workload == workload]
        if chosen:
            parts += [f"## {workload}. {title}", *_tables(chosen)]
        elif workload == "W7" and started:
            parts += [f"## {workload}. {title}", _startup(started)]
    if losses := _losses(results):
        parts += ["## Where minigrad loses", "\n".join(losses)]
    if notes := _notes(about, results):
        parts += ["## Not timed", "\n".join(notes)]
    return "\n\n".join(parts) + "\n"


def _preface(about: dict[str, Any]) -> str:
    plan = about["plan"]
    return (
        f"{about['date']}, {about['machine']}, {about['threads']} threads each, "
        f"Python {about['python']}: {', '.join(sorted(set(about['versions'].values())))}.\n\n"
        "Time of minigrad over time of the peer, of the same round: below 1 minigrad is faster. "
        f"Medians and [quartiles] over {plan['rounds']} rounds in turns. `hand` is NumPy written "
        "by hand, `blas` the BLAS calls that the work cannot avoid. Load is how many cores other "
        f"processes kept busy; a `!` marks rows for which too few rounds stayed below "
        f"{plan['calm']}."
    )


def _tables(results: list[Result]) -> list[str]:
    if results[0].row.peers:
        return [levers(results)]
    peers = _union(results)
    others = [peer for peer in peers if not is_ours(peer)]
    parts = [
        _ratios(results, others, Measured.ratio),
        "Time of one, median:",
        table(
            ["row", *peers], [[r.row.name, *(_time(r, peer) for peer in peers)] for r in results]
        ),
    ]
    if disturbed := [r for r in results if r.measured and r.measured.disturbed]:
        parts += [
            "Disturbed rows once more, in processor time:",
            _ratios(disturbed, others, Measured.processor_ratio),
        ]
    if results[0].row.workload == "W3":
        parts += [
            "The first step, compiling included:",
            table(["row", *peers], [[r.row.name, *(_first(r, p) for p in peers)] for r in results]),
        ]
    if results[0].row.workload in ("W4", "W8"):
        parts += [
            "Peak memory above that of the loaded peer, MB:",
            table(["row", *peers], [[r.row.name, *(_peak(r, p) for p in peers)] for r in results]),
        ]
    return parts


def _ratios(
    results: list[Result], others: list[str], ratio: Callable[[Measured, str, str], Spread]
) -> str:
    def cell(result: Result, ours: str, other: str) -> str:
        found = result.measured
        return spread(ratio(found, ours, other)) if found and other in found.calls else "–"

    return table(
        ["row", "of", *(f"÷ {other}" for other in others), "load"],
        [
            [r.row.name, ours, *(cell(r, ours, other) for other in others), _load(r)]
            for r in results
            for ours in filter(is_ours, timed(r))
        ],
    )


def levers(results: list[Result]) -> str:
    """What each lever gains: the times without it and with it, and their ratio."""

    def cells(result: Result) -> list[str]:
        found = result.measured
        if found is None:
            return [*result.row.peers, "–", "–", "–"]
        without, with_it = result.row.peers
        ratios = [f(found, with_it, without) for f in (Measured.ratio, Measured.processor_ratio)]
        times = [f"{peer}: {_time(result, peer)}" for peer in (without, with_it)]
        return [*times, *map(spread, ratios), _load(result)]

    head = ["lever", "without", "with", "ratio", "in processor time", "load"]
    return table(head, [[result.row.name, *cells(result)] for result in results])


def _union(results: list[Result]) -> list[str]:
    peers: dict[str, None] = {}
    for result in results:
        peers |= dict.fromkeys(timed(result))
    return list(peers)


def _load(result: Result) -> str:
    assert result.measured is not None
    return f"{result.measured.foreign:.2f}" + ("!" if result.measured.disturbed else "")


def _time(result: Result, peer: str) -> str:
    if result.measured is None or peer not in result.measured.calls:
        return "–"
    return duration(result.measured.time(peer).median / result.row.per)


def _first(result: Result, peer: str) -> str:
    return duration(result.prepared[peer]["first_s"]) if peer in result.prepared else "–"


def _peak(result: Result, peer: str) -> str:
    return f"{result.prepared[peer]['peak_mb']:.0f}" if peer in result.prepared else "–"


def _startup(started: list[Started]) -> str:
    def first(one: Started) -> str:
        found = one.first_step()
        return "–" if found is None else spread(found)

    return table(
        ["", "import, s", "first training step, s", "installed, MB", "load"],
        [
            [o.peer, spread(o.import_time()), first(o), f"{o.size_mb:.0f}", f"{o.load():.2f}"]
            for o in started
        ],
    )


def _losses(results: list[Result]) -> list[str]:
    """Rows in which a peer was faster in three rounds of four, the worst first."""
    found: list[tuple[float, str]] = []
    for result in results:
        for ours, other in pairs(result):
            assert result.measured is not None
            ratio = result.measured.ratio(ours, other)
            if not result.row.peers and not other.startswith(YARDSTICKS) and ratio.low > 1:
                found.append(
                    (ratio.median, f"- {result.row.key}: {ours} ÷ {other}, {spread(ratio)}")
                )
    return [text for _, text in sorted(found, reverse=True)]


def _notes(about: dict[str, Any], results: list[Result]) -> list[str]:
    absent = [f"- {peer} is not there: {why}" for peer, why in about["absent"].items()]
    rows = [
        f"- {result.row.key}: {peer} {why}"
        for result in results
        for peer, why in result.notes.items()
    ]
    return [*absent, *rows]


# ---- JSON and files ----------------------------------------------------------------------------


def _record(result: Result) -> dict[str, Any]:
    record: dict[str, Any] = {
        **dataclasses.asdict(result.row),
        "reference": result.reference,
        "notes": result.notes,
        "prepared": result.prepared,
    }
    if result.measured is None:
        return record
    measured = result.measured
    return {
        **record,
        "seconds": {peer: dataclasses.asdict(measured.time(peer)) for peer in timed(result)},
        "fastest_step": {peer: measured.best(peer) for peer in timed(result)},
        "ratios": {
            f"{ours} / {other}": {
                **dataclasses.asdict(measured.ratio(ours, other)),
                "processor": dataclasses.asdict(measured.processor_ratio(ours, other)),
                "of_fastest_steps": measured.best(ours) / measured.best(other),
            }
            for ours, other in pairs(result)
        },
        "calls": measured.calls,
        "foreign": measured.foreign,
        "dropped": measured.dropped,
        "disturbed": measured.disturbed,
        "rounds": measured.rounds,
    }


def write(
    folder: Path, about: dict[str, Any], results: list[Result], started: list[Started]
) -> list[Path]:
    """Write report.md and report.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "about": about,
        "rows": [_record(result) for result in results],
        "startup": [dataclasses.asdict(one) for one in started],
    }
    text, everything = folder / "report.md", folder / "report.json"
    text.write_text(markdown(about, results, started), encoding="utf-8")
    everything.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return [text, everything]
