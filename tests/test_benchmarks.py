"""The benchmark measures what it says: right results only, in turns, on a machine that is calm."""

from __future__ import annotations

import gc
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from benchmarks import process, report, run, startup
from benchmarks.equal import difference, reference_among
from benchmarks.inputs import arrays_of
from benchmarks.load import Load, forget_peak, peak_memory_mb
from benchmarks.peers import hand, minigrad_
from benchmarks.process import PeerError, Process
from benchmarks.rows import KEEPING_NO_PAGES, TITLES, Row, levers, rows
from benchmarks.turns import Measured, Plan, Spread, measure
from benchmarks.worker import Worker

SMALL = (3, 2, 4, 5)
PLAN = run.QUICK
OWN = ["minigrad", "minigrad:loop", "hand", "blas"]


@pytest.fixture(autouse=True)
def on_cpu(backend: str) -> None:
    if backend != "numpy":
        pytest.skip("the benchmark measures the default backend: --backend=numpy")


def layer_row(kind: str = "LSTM") -> Row:
    return Row("W1", f"{kind} {SMALL}", "layer", {"kind": kind, "size": SMALL})


# ---- what is compared --------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["layer", "inference"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_minigrad_computes_what_is_written_by_hand(task: str, kind: str) -> None:
    options: dict[str, Any] = {"kind": kind, "size": SMALL}
    assert not _difference(task, options, task)


@pytest.mark.parametrize("kind", list(minigrad_.CELLS))
def test_the_fused_cell_computes_what_the_loops_compute(kind: str) -> None:
    row = Row("W3", kind, "user_cell", {"kind": kind, "size": SMALL})
    expected = results("minigrad", row)
    for way in ("loop", "scan", "compile", "unroll", "plain", "called", "called_plain"):
        assert not difference(results(f"minigrad:{way}", row), expected)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_layer_computes_the_same_written_out(kind: str) -> None:
    row = Row("W1", kind, "layer", {"kind": kind, "size": SMALL})
    assert not difference(results("minigrad:unroll", row), results("minigrad", row))


def test_a_chain_computes_the_same_with_what_is_imported_frozen() -> None:
    row = Row("W5", "chain", "chain", {"kind": "tanh(x)", "ops": 10, "backward": True})
    try:
        assert not difference(results("minigrad:frozen", row), results("minigrad", row))
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def results(peer: str, row: Row) -> dict[str, Any]:
    """What a peer computes in this process."""
    worker = Worker(peer.rsplit(maxsplit=1)[-1])
    step = getattr(worker.module, row.task + worker.suffix)
    found = step(arrays_of(row.task, row.options), **row.options)()
    return {name: np.array(worker.module.host(x)) for name, x in found.items()}


def small(row: Row) -> Row:
    """The same with less to do."""
    sizes = {"size": SMALL, "shape": (6, 5), "widths": (6, 5, 4), "steps": 3, "hidden": 4}
    return replace(row, options={name: sizes.get(name, x) for name, x in row.options.items()})


def one_of_each_lever() -> list[Row]:
    return list({(row.peers, row.task): small(row) for row in reversed([*levers()])}.values())


@pytest.fixture
def native_kernels() -> Iterator[None]:
    """To be switched on and off, by importing peers, too."""
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("there is no C compiler")
    yield
    mg.use_native(False)


@pytest.mark.usefixtures("native_kernels")
@pytest.mark.parametrize("row", one_of_each_lever(), ids=lambda row: row.name)
def test_a_lever_changes_no_result(row: Row) -> None:
    found: list[dict[str, Any]] = []
    for peer in row.peers:
        mg.use_native("native" in peer)
        found.append(results(peer, row))
    assert not difference(found[1], found[0])


@pytest.mark.usefixtures("native_kernels")
def test_a_loop_that_compiles_too_long_is_left_out() -> None:
    kind, size = "layer-norm LSTM", (100, *SMALL[1:])
    with pytest.raises(NotImplementedError, match="the C compiler takes"):
        results("native:unroll", Row("W3", kind, "user_cell", {"kind": kind, "size": size}))


def _difference(task: str, options: dict[str, Any], name: str) -> str | None:
    steps = [getattr(m, name)(arrays_of(task, options), **options) for m in (minigrad_, hand)]
    found = {k: minigrad_.host(x) for k, x in steps[0]().items()}
    return difference(found, {k: np.asarray(x) for k, x in steps[1]().items()})


def test_the_streams_agree_step_by_step() -> None:
    for kind in ("RNN", "GRU", "LSTM"):
        options: dict[str, Any] = {"kind": kind, "size": (1, 1, 5, 5)}
        ours, theirs = (
            m.stream(arrays_of("stream", options), **options) for m in (minigrad_, hand)
        )
        for _ in range(3):
            np.testing.assert_allclose(ours()["y"].numpy(), theirs()["y"], rtol=1e-5, atol=1e-6)


def test_the_mlps_agree() -> None:
    assert not _difference("mlp", {"widths": (6, 5, 4)}, "mlp")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"x": np.array([1.0, 2.001])}, "x differs by 0.001"),
        ({"x": np.array([1.0, np.nan])}, "x differs by nan"),
        ({"x": np.ones((2, 1))}, r"shape \(2, 1\) instead of \(2,\)"),
        ({"y": np.ones(2)}, r"results \['y'\] instead of \['x'\]"),
    ],
)
def test_a_difference_is_found(found: dict[str, Any], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        assert not difference(found, {"x": np.array([1.0, 2.0])})


def test_equal_results_pass_and_a_yardstick_has_none() -> None:
    expected = {"x": np.array([1.0, 2.0])}
    assert difference({"x": np.array([1.0001, 2.0])}, expected) is None
    assert difference({}, expected) is None
    assert "not finite" in (difference(expected, {"x": np.array([1.0, np.inf])}) or "")


def test_the_reference_is_torch_then_hand() -> None:
    assert reference_among(["minigrad", "hand", "torch"]) == "torch"
    assert reference_among(["minigrad", "blas", "hand"]) == "hand"
    assert reference_among(["native", "native:compile"]) == "native"
    assert reference_among([]) is None


# ---- turns -------------------------------------------------------------------------------------


class Stub:
    """A peer whose steps take `step_s`, on a machine whose load is told beforehand."""

    def __init__(self, name: str, step_s: float, log: list[str], foreign: list[float]) -> None:
        self.name, self.step_s, self.log, self.foreign = name, step_s, log, foreign

    def ask(self, **request: Any) -> dict[str, Any]:
        self.log.append(self.name)
        seconds = self.step_s * request["calls"]
        load = self.foreign.pop(0) if self.foreign else 0.0
        return {"wall": seconds, "cpu": seconds, "foreign": load, "best": self.step_s}


def stubs(foreign: list[float]) -> tuple[dict[str, Stub], list[str]]:
    log: list[str] = []
    return {"a": Stub("a", 2.0, log, foreign), "b": Stub("b", 0.5, log, [])}, log


def measured(foreign: list[float], plan: Plan) -> tuple[Measured, list[str]]:
    peers, log = stubs(foreign)
    return measure(dict(peers), {"a": 2.0, "b": 0.5}, plan), log


def test_turns_are_interleaved_and_paired() -> None:
    found, log = measured([], Plan(rounds=3, turn_s=2.0))
    assert log == ["a", "b", "a", "b", "b", "a", "a", "b"]  # the first two warm up
    assert found.calls == {"a": 1, "b": 4}
    assert found.ratio("a", "b") == Spread(4.0, 4.0, 4.0)
    assert found.processor_ratio("a", "b").median == 4.0
    assert not found.disturbed


def test_a_disturbed_round_is_repeated() -> None:
    found, _ = measured([0, 0.9, 0.0, 0.5, 0.0], Plan(rounds=3, calm=0.1))
    assert (found.dropped, found.disturbed, found.foreign) == (2, False, 0.0)


def test_without_calm_rounds_the_calmest_are_kept_and_marked() -> None:
    found, _ = measured([0, 0.9, 0.8, 0.7, 0.6], Plan(rounds=2, calm=0.1, attempts=2))
    assert (found.dropped, found.disturbed) == (2, True)
    assert sorted(turns["a"]["foreign"] for turns in found.rounds) == [0.6, 0.7]


def test_load_counts_only_what_others_do() -> None:
    load = Load()
    total = sum(k * k for k in range(300_000))
    found = load.stop()
    assert total
    assert found["cpu"] is not None
    assert found["cpu"] > 0
    assert found["foreign"] is None or found["foreign"] >= 0


def test_peak_memory_forgets() -> None:
    held = np.ones(8_000_000)
    before = peak_memory_mb()
    held = None
    forget_peak()
    assert held is None
    assert 0 < peak_memory_mb() <= before + 1  # what ran before may have grown by a page or two


# ---- the whole ---------------------------------------------------------------------------------


def test_a_run_times_compares_and_reports(tmp_path: Path) -> None:
    benchmark = run.Benchmark([*OWN, "nowhere"], PLAN, threads=1)
    result = benchmark.run(layer_row())
    assert result.reference == "hand"
    assert report.timed(result) == ["minigrad", "hand", "blas"]
    assert "nowhere" in benchmark.absent
    about = report.about(benchmark.versions, benchmark.absent, PLAN, threads=1)
    text, everything = report.write(tmp_path, about, [result], [])
    page = text.read_text(encoding="utf-8")
    assert "÷ hand | ÷ blas" in page
    assert "nowhere is not there" in page
    (row,) = json.loads(everything.read_text(encoding="utf-8"))["rows"]
    assert set(row["ratios"]) == {"minigrad / hand", "minigrad / blas"}
    assert "W1" in report.line(result)


def test_an_unequal_result_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def false(peer: Process, **request: Any) -> dict[str, Any]:
        answer = ask(peer, **request)
        if peer.peer == "minigrad" and request["do"] == "prepare":
            results = dict(np.load(request["results"]))
            results["weight_hh"] = results["weight_hh"] * 1.001
            np.savez(request["results"], **results)
        return answer

    ask = Process.ask
    monkeypatch.setattr(Process, "ask", false)
    result = run.Benchmark(OWN, PLAN, threads=1).run(layer_row())
    assert result.notes["minigrad"].startswith("refused: weight_hh differs by")
    assert report.timed(result) == ["hand", "blas"]
    assert "refused" in report.line(result)


def test_a_lever_is_compared_with_its_absence(tmp_path: Path) -> None:
    row = replace(layer_row(), peers=(KEEPING_NO_PAGES, "minigrad"))
    result = run.Benchmark(OWN, PLAN, threads=1).run(row)
    assert report.timed(result) == list(row.peers)
    assert list(report.pairs(result)) == [("minigrad", KEEPING_NO_PAGES)]
    table = report.levers([result, run.Result(row)])
    assert f"| {KEEPING_NO_PAGES}: " in table
    assert table.endswith("| minigrad | – | – | – |")
    about = report.about({}, {}, PLAN, threads=1)
    text, _ = report.write(tmp_path, about, [result], [])
    page = text.read_text(encoding="utf-8")
    assert "| lever | without | with |" in page
    assert "loses" not in page


def test_a_lever_without_its_absence_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[str] = []

    def start(*args: Any, XDG_CACHE_HOME: str) -> Process:
        caches.append(XDG_CACHE_HOME)
        return Process(*args)

    monkeypatch.setattr(run, "Process", start)
    row = replace(layer_row(), peers=("nowhere", "minigrad"))
    assert run.Benchmark([], PLAN, threads=1).run(row).measured is None
    assert len(set(caches)) == 2  # each its own, which is empty


def test_settings_stand_before_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def start(command: list[str], env: dict[str, str], **_options: Any) -> None:
        seen.update(env, command=command)

    monkeypatch.setattr(process.subprocess, "Popen", start)
    Process("A=1 B=2=3 minigrad:loop", 1, C="4")
    assert [seen[name] for name in "ABC"] == ["1", "2=3", "4"]
    assert seen["command"][-1] == "minigrad:loop"


def test_a_peer_that_fails_is_reported() -> None:
    row = Row("W1", "none", "layer", {"kind": "LSTM", "size": (3, 2, 4, -5)})
    result = run.Benchmark(["hand"], PLAN, threads=1).run(row)
    assert result.notes["hand"].startswith("failed: ValueError")
    assert result.measured is None
    with Process("nowhere", 1) as process, pytest.raises(PeerError, match="KeyError"):
        process.ready()


def test_a_peer_that_dies_is_reported() -> None:
    with Process("hand", 1) as process:
        process.ready()
        process.running.kill()
        with pytest.raises(PeerError, match="ended with status"):
            process.ask(do="turn", calls=1)


def test_starting_up_is_measured() -> None:
    numpy, minigrad = startup.measure(["minigrad"], Plan(rounds=1), threads=1)
    assert numpy.first_step() is None
    assert minigrad.import_time().median > 0
    assert minigrad.first_step() is not None
    assert 10 < numpy.size_mb < 1000


def test_every_workload_has_rows_whose_inputs_can_be_drawn() -> None:
    found = rows(list(TITLES))
    assert {row.workload for row in found} == set(TITLES) - {"W7"}
    assert len({row.key for row in found}) == len(found)
    with pytest.raises(SystemExit, match="unknown workloads"):
        rows(["W1", "W10"])
