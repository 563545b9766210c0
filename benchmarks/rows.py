"""The rows of the benchmark: which task at which size, in which workload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

SIZES = [(50, 1, 32, 32), (100, 32, 128, 128), (100, 64, 256, 256), (35, 20, 650, 650)]
LARGE = (100, 128, 512, 512)
KINDS = ["RNN", "GRU", "LSTM"]
CELLS = ["peephole", "CIFG", "MGU", "layer-norm LSTM"]
CHAIN = 10_000

TITLES = {
    "W1": "One layer, forward and backward: gradients of x and of all weights",
    "W2": "Inference: whole sequences, and streaming one step at B = 1",
    "W3": "Cells written by a user, forward and backward",
    "W4": "Character language model, one training step (embedding 128, LSTM 2×256, clip, Adam)",
    "W5": "Overhead of small operations",
    "W6": "Single operations, forward and backward",
    "W7": "Starting up",
    "W8": "Growth with the number of steps: LSTM, B = 32, I = H = 128, forward and backward",
}


@dataclass(frozen=True)
class Row:
    """One line of a table: a task that each peer prepares from `options`, and times `per` step."""

    workload: str
    name: str
    task: str  # the name of the function in benchmarks/peers/*.py
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    per: int = 1  # units of work in one step: the table shows the time of one

    @property
    def key(self) -> str:
        return f"{self.workload} {self.name}"


def sequences(workload: str, task: str) -> Iterator[Row]:
    for size in [*SIZES, LARGE]:
        for kind in KINDS:
            yield Row(workload, f"{kind} {size}", task, {"kind": kind, "size": size})


def inference() -> Iterator[Row]:
    yield from sequences("W2", "inference")
    for kind in KINDS:
        for hidden in (128, 512):
            options = {"kind": kind, "size": (1, 1, hidden, hidden)}
            yield Row("W2", f"{kind} one step, H = {hidden}", "stream", options)


def cells() -> Iterator[Row]:
    for size in SIZES[:3]:
        for kind in CELLS:
            yield Row("W3", f"{kind} {size}", "user_cell", {"kind": kind, "size": size})


def language_model() -> Iterator[Row]:
    options = {"steps": 64, "batch": 32, "vocabulary": 65, "embedding": 128, "hidden": 256}
    yield Row("W4", "training step", "char_lm", options)


def overhead() -> Iterator[Row]:
    for kind in ("x * 1.0001 + 0.1", "tanh(x)"):
        for backward in (False, True):
            name = f"{kind}, {'forward + backward' if backward else 'forward'}, one op"
            options = {"kind": kind, "ops": CHAIN, "backward": backward}
            yield Row("W5", name, "chain", options, per=CHAIN)
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
        yield Row("W6", f"{kind} {shape}", "operation", {"kind": kind, "shape": shape})


def growth() -> Iterator[Row]:
    for steps in (50, 100, 200, 400, 800, 1600, 3200):
        options = {"kind": "LSTM", "size": (steps, 32, 128, 128)}
        yield Row("W8", f"T = {steps}", "layer", options)


def rows(workloads: list[str]) -> list[Row]:
    """The rows of some workloads, in their order; W7 has none, it is measured from outside."""
    makers = {
        "W1": lambda: sequences("W1", "layer"),
        "W2": inference,
        "W3": cells,
        "W4": language_model,
        "W5": overhead,
        "W6": operations,
        "W7": lambda: iter(()),
        "W8": growth,
    }
    unknown = sorted(set(workloads) - set(makers))
    if unknown:
        raise SystemExit(f"unknown workloads {unknown}: there are {', '.join(makers)}")
    return [row for workload in workloads for row in makers[workload]()]
