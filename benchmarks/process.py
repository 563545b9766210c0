"""A peer's process as its parent sees it: started, asked, and ended."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class PeerError(RuntimeError):
    """A peer that could not do what was asked; the text says why."""


def environment(threads: int) -> dict[str, str]:
    """The environment of a process whose pools have so many threads each."""
    limits = dict.fromkeys(THREAD_LIMITS, str(threads))
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, **limits, "BENCH_THREADS": str(threads), "PYTHONPATH": path}


class Process:
    """A worker in a `with` block; it starts at once, and `ready` waits for it.

    Settings of the environment may stand before the peer, as in a shell: `NAME=value minigrad`.
    """

    def __init__(self, peer: str, threads: int, noisy: bool = False, **settings: str) -> None:
        self.peer = peer
        *own, name = peer.split()
        settings |= dict(setting.split("=", 1) for setting in own)
        self.running = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name],
            cwd=ROOT,
            env={**environment(threads), **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if noisy else subprocess.DEVNULL,
            text=True,
        )

    def ready(self) -> str:
        """Wait until the peer is imported; its version. Raises PeerError if it is not there."""
        return self._answer()["version"]

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.running.stdin is not None
        try:
            self.running.stdin.write(json.dumps(request) + "\n")
            self.running.stdin.flush()
        except BrokenPipeError:
            raise PeerError(f"ended with status {self.running.wait()}") from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        if not line:
            raise PeerError(f"ended with status {self.running.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.running.stdin is not None
        assert self.running.stdout is not None
        self.running.kill()  # a worker holds nothing that would need an orderly end
        self.running.wait()
        self.running.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # what it had not read yet
            self.running.stdin.close()
