"""One peer's process: prepares a row, gives its results for comparison, and times turns of it.

It reads a JSON object a line from stdin and answers each with one on stdout:
    {"do": "prepare", "row": …, "results": PATH}  →  {"first_s", "step_s", "peak_mb"}
    {"do": "turn", "calls": N}                    →  {"wall", "cpu", "foreign", "best"}
An answer with "error" says what went wrong, one with "missing" that the peer has no such task.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.inputs import arrays_of

MODULES = {
    "minigrad": "minigrad_",
    "native": "native_",
    "torch": "torch_",
    "jax": "jax_",
    "autograd": "autograd_",
    "mygrad": "mygrad_",
    "tinygrad": "tinygrad_",
    "hand": "hand",
    "blas": "blas",
}


class Worker:
    """Answers requests about one peer: a name, or name:variant for another way to write a task."""

    def __init__(self, peer: str) -> None:
        name, _, variant = peer.partition(":")
        self.suffix = f"_{variant}" if variant else ""
        self.module = importlib.import_module(f"benchmarks.peers.{MODULES[name]}")
        self.step: Callable[[], dict[str, Any]] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if request["do"] == "prepare":
            return self.prepare(request["row"], request["results"])
        return self.turn(request["calls"])

    def prepare(self, row: dict[str, Any], results: str) -> dict[str, Any]:
        task = getattr(self.module, row["task"] + self.suffix, None)
        if task is None:
            return {"missing": True}
        try:
            step = task(arrays_of(row["task"], row["options"]), **row["options"])
        except NotImplementedError:  # the peer has no such task, or not of this kind
            return {"missing": True}
        self.step = step
        gc.collect()
        base = load.memory_mb()
        found, first_s = _timed(step)
        np.savez(results, **{name: np.asarray(self.module.host(x)) for name, x in found.items()})
        del found
        gc.collect()
        load.forget_peak()
        _, step_s = _timed(step)
        return {"first_s": first_s, "step_s": step_s, "peak_mb": load.peak_memory_mb() - base}

    def turn(self, calls: int) -> dict[str, Any]:
        step = self.step
        assert step is not None, "a turn before a row was prepared"
        clock, best = time.perf_counter, float("inf")
        during = load.Load()
        before = clock()
        for _ in range(calls):
            step()
            after = clock()
            best = min(best, after - before)
            before = after
        return {**during.stop(), "best": best}


def _timed(step: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = step()
    return result, time.perf_counter() - start


def main() -> None:
    # What a framework prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def reply(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        worker = Worker(sys.argv[1])
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        return
    reply({"ready": True, "version": getattr(worker.module, "VERSION", "")})
    for line in sys.stdin:
        try:
            reply(worker.answer(json.loads(line)))
        except Exception as error:
            traceback.print_exc()
            reply({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
