"""The table of examples is complete, and each program says what its options are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted(p.name for p in (ROOT / "examples").glob("[!_]*.py"))


def test_the_table_lists_every_program() -> None:
    text = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `python examples/(\S+)` \|", text, re.MULTILINE)
    assert sorted(rows) == PROGRAMS


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_comes_from_another_folder_too(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert {"--seed", "--steps", "--device", "--out"} <= set(re.findall(r"--[a-z]+", done.stdout))
