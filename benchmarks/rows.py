"""The rows of the benchmark: which task at which size, in which workload."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

Size = tuple[int, int, int, int]  # steps, batch, inputs, hidden features

SIZES: list[Size] = [(50, 1, 32, 32), (100, 32, 128, 128), (100, 64, 256, 256), (35, 20, 650, 650)]
LARGE = (100, 128, 512, 512)
KINDS = ["RNN", "GRU", "LSTM"]
CELLS = ["peephole", "CIFG", "MGU", "layer-norm LSTM"]
CHAIN = 10_000
KEEPING_NO_PAGES = "MINIGRAD_KEEP_PAGES=0 minigrad"

TITLES = {
    "W1": "One layer, forward and backward: gradients of x and of all weights",
    "W2": "Inference: whole sequences, and streaming one step at B = 1",
    "W3": "Cells written by a user, forward and backward",
    "W4": "Character language model, one training step (embedding 128, LSTM 2×256, clip, Adam)",
    "W5": "Overhead of small operations",
    "W6": "Single operations, forward and backward",
    "W7": "Starting up",
    "W8": "Growth with the number of steps: LSTM, B = 32, I = H = 128, forward and backward",
    "W9": "Levers: minigrad without each, and with it",
}


@dataclass(frozen=True)
class Row:
    """One line of a table: a task that each peer prepares from `options`, and times `per` step."""

    workload: str
    name: str
    task: str  # the name of the function in benchmarks/peers/*.py
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    per: int = 1  # units of work in one step: the table shows the time of one
    peers: tuple[str, ...] = ()  # of a lever: without it and with it; else those asked for

    @property
    def key(self) -> str:
        return f"{self.workload} {self.name}"


def sequences(workload: str, task: str, kinds: Iterable[str], *sizes: Size) -> Iterator[Row]:
    for size in sizes:
        for kind in kinds:
            yield Row(workload, f"{kind} {size}", task, {"kind": kind, "size": size})


def inference() -> Iterator[Row]:
    yield from sequences("W2", "inference", KINDS, *SIZES, LARGE)
    yield from streams("W2", 128, 512)


def streams(workload: str, *widths: int) -> Iterator[Row]:
    for kind in KINDS:
        for hidden in widths:
            options = {"kind": kind, "size": (1, 1, hidden, hidden)}
            yield Row(workload, f"{kind} one step, H = {hidden}", "stream", options)


def language_model() -> Iterator[Row]:
    options = {"steps": 64, "batch": 32, "vocabulary": 65, "embedding": 128, "hidden": 256}
    yield Row("W4", "character model, training step", "char_lm", options)


def overhead() -> Iterator[Row]:
    for kind in ("x * 1.0001 + 0.1", "tanh(x)"):
        for backward in (False, True):
            name = f"{kind}, {'forward + backward' if backward else 'forward'}, one op"
            options = {"kind": kind, "ops": CHAIN, "backward": backward}
            yield Row("W5", name, "chain", options, per=CHAIN)
    yield from perceptron()


def perceptron() -> Iterator[Row]:
    yield Row("W5", "MLP 64-64-10, B = 32, training step", "mlp", {"widths": (64, 64, 10)})


def operations() -> Iterator[Row]:
    shapes: dict[str, tuple[int, ...]] = {
        "matmul": (512, 512),
        "softmax cross-entropy": (4096, 1000),
        "layer norm": (4096, 512),
        "embedding": (10_000, 256),
        "sum": (4096, 1024),
        "sum over axis 0": (4096, 1024),
        "max over axis 1": (4096, 1024),
        "tanh(x)·y + z": (10_000_000,),
    }
    for kind, shape in shapes.items():
        yield from operation("W6", kind, shape)


def operation(workload: str, kind: str, *shapes: tuple[int, ...]) -> Iterator[Row]:
    for shape in shapes:
        yield Row(workload, f"{kind} {shape}", "operation", {"kind": kind, "shape": shape})


def growth() -> Iterator[Row]:
    for steps in (50, 100, 200, 400, 800, 1600, 3200):
        options = {"kind": "LSTM", "size": (steps, 32, 128, 128)}
        yield Row("W8", f"T = {steps}", "layer", options)


def levers() -> Iterator[Row]:
    """The rows of each lever: a line is its name, the peers without it and with it, and where."""
    tiny, _, wide = SIZES[:3]
    layers = [*sequences("W9", "layer", KINDS, tiny)]
    cells = [*sequences("W9", "user_cell", CELLS, tiny)]
    gates = operation("W9", "LSTM gates", (32, 1), (128, 32), (256, 64))
    columns = [*operation("W9", "standardize columns", (512, 32), (128, 1))]
    rows = [
        *operation("W9", "softmax cross-entropy", (4096, 1000)),
        *operation("W9", "softmax", (4096, 1000)),
        *operation("W9", "log-softmax", (4096, 1000)),
        *operation("W9", "layer norm", (4096, 512), (32, 64)),
    ]
    calls = [*streams("W9", 32, 128, 512), *perceptron()]
    long = sequences("W9", "layer", ["LSTM"], (100, 32, 128, 128), (3200, 32, 128, 128))
    table: list[tuple[str, str, str, Iterable[Row]]] = [
        ("mg.scan", "minigrad:loop", "minigrad:scan", [*layers, *cells]),
        ("@fuse, cell by cell", "minigrad:called_plain", "minigrad:called", cells),
        ("@fuse, in a scan", "minigrad:plain", "minigrad", cells),
        ("@fuse, in a native scan", "native:plain", "native", cells),
        ("features first", "minigrad:scan", "minigrad", sequences("W9", "layer", KINDS, wide)),
        ("compiled step", "minigrad:loop", "minigrad:compile", cells),
        ("compiled step, native", "minigrad:loop", "native:compile", cells),
        ("compiled loop", "minigrad:loop", "minigrad:unroll", cells),
        ("compiled loop, native", "minigrad:loop", "native:unroll", cells),
        ("compiled", "minigrad", "minigrad:compile", calls),
        ("compiled, native", "minigrad", "native:compile", calls),
        ("pages kept", KEEPING_NO_PAGES, "minigrad", [*language_model(), *long]),
        ("native kernel", "minigrad", "native", gates),
        ("native scan", "minigrad", "native", [*layers, *cells, *masked()]),
        ("native scan", "minigrad", "native", sequences("W9", "layer", KINDS, wide)),
        ("native rows", "minigrad", "native", [*rows, *columns]),
        ("columns where they lie", "minigrad:rows", "minigrad", columns),
    ]
    for lever, without, with_it, where in table:
        for row in where:
            name = f"{lever}: {row.name}"
            yield replace(row, workload="W9", name=name, peers=(without, with_it))


def masked() -> Iterator[Row]:
    for mask in ("lengths", "resets", "zoneout"):
        options = {"kind": "LSTM", "size": (50, 8, 64, 64), "mask": mask}
        yield Row("W9", f"LSTM (50, 8, 64, 64), {mask}", "masked", options)


def rows(workloads: list[str]) -> list[Row]:
    """The rows of some workloads, in their order; W7 has none, it is measured from outside."""
    makers = {
        "W1": lambda: sequences("W1", "layer", KINDS, *SIZES, LARGE),
        "W2": inference,
        "W3": lambda: sequences("W3", "user_cell", CELLS, *SIZES[:3]),
        "W4": language_model,
        "W5": overhead,
        "W6": operations,
        "W7": lambda: iter(()),
        "W8": growth,
        "W9": levers,
    }
    unknown = sorted(set(workloads) - set(makers))
    if unknown:
        raise SystemExit(f"unknown workloads {unknown}: there are {', '.join(makers)}")
    return [row for workload in workloads for row in makers[workload]()]
