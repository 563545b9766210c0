"""The kernels that NumPy's OpenBLAS takes, chosen before NumPy is loaded where it would miss them.

OpenBLAS up to 0.3.31 does not know AMD's Zen 5 and takes kernels for AVX2 there, half as fast as
those for AVX-512: 512³ in float32, one thread, 2.2 → 1.2 ms. Its own variable OPENBLAS_CORETYPE
decides; it is set while NumPy is imported, unless somebody has set it or NumPy is loaded already.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

VARIABLE = "OPENBLAS_CORETYPE"
KERNELS = "SKYLAKEX"
NEEDED = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
ZEN_5 = 26  # the family


def is_missed(cpu: str) -> bool:
    """Whether a processor, as /proc/cpuinfo describes it, has kernels that OpenBLAS misses."""
    family = re.search(r"^cpu family\s*: (\d+)", cpu, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)", cpu, re.MULTILINE)
    return (
        "AuthenticAMD" in cpu
        and family is not None
        and int(family[1]) >= ZEN_5
        and flags is not None
        and NEEDED.issubset(flags[1].split())
    )


def _processor() -> str:
    """What Linux says of the first processor; nothing elsewhere."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""


def import_numpy() -> None:
    """Import NumPy with the kernels that fit the processor."""
    if "numpy" in sys.modules or VARIABLE in os.environ or not is_missed(_processor()):
        return
    os.environ[VARIABLE] = KERNELS
    try:
        importlib.import_module("numpy")
    finally:
        del os.environ[VARIABLE]


import_numpy()
