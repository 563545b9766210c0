"""`import minigrad` is quick, and brings nothing along but NumPy, safetensors and Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 50.0  # ms of processor time beyond NumPy's
ROOT = Path(__file__).parents[1]
ALLOWED = sys.stdlib_module_names | {"minigrad", "numpy", "safetensors"}
# Made by compiled modules of NumPy for their own use; they come from no file.
INTERNAL = ("_cython_", "cython_runtime")

NEW_MODULES = """
import sys, numpy
before = set(sys.modules)
import {name}
print(*(set(sys.modules) - before))
"""
PROCESSOR_TIME = """
import time, numpy
start = time.process_time()
import {name}
print(1e3 * (time.process_time() - start))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where bytecode is kept: without it, most of the time would go into compiling."""
    return tmp_path_factory.mktemp("bytecode")


def fresh(program: str, cache: Path, paths: tuple[Path, ...] = ()) -> str:
    """Run a program in a new interpreter; give what it prints."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(cache)}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (ROOT, *paths)))
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True
    )
    return done.stdout


def import_time(name: str, cache: Path, *paths: Path) -> float:
    """The least of several measurements, in ms of processor time: what a busy machine adds goes."""
    least = float("inf")
    for _ in range(10):
        least = min(least, float(fresh(PROCESSOR_TIME.format(name=name), cache, paths)))
        if least <= LIMIT:
            break
    return least


def foreign(name: str, cache: Path, *paths: Path) -> set[str]:
    """The top-level modules that an import brings along and that are not allowed."""
    loaded = fresh(NEW_MODULES.format(name=name), cache, paths).split()
    tops = {module.partition(".")[0] for module in loaded if not module.startswith(INTERNAL)}
    return tops - ALLOWED - {name}


def test_import_takes_little_time(cache: Path) -> None:
    assert import_time("minigrad", cache) <= LIMIT


def test_import_brings_nothing_foreign(cache: Path) -> None:
    assert foreign("minigrad", cache) == set()


# The checks themselves must be able to fail.


def test_a_slow_and_foreign_import_is_caught(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "slow.py").write_text(f"import helper\nsum(range({10**7}))")
    assert foreign("slow", cache, tmp_path) == {"helper"}
    assert import_time("slow", cache, tmp_path) > LIMIT
