"""The allocator keeps what arrays leave, unless it is told not to."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import minigrad as mg
def step():
    return [mg.zeros(2**20).exp() for _ in range(8)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt belongs to glibc")
def test_pages_are_kept() -> None:
    def faults(keep: str) -> int:
        env = {**os.environ, "MINIGRAD_KEEP_PAGES": keep}
        done = subprocess.run(
            [sys.executable, "-c", FAULTS], env=env, check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert faults("1") * 4 < faults("0")
