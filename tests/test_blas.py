"""OpenBLAS takes the kernels that fit, and the environment is as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from minigrad import blas

ZEN_5 = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
flags\t\t: fpu avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl
"""


@pytest.mark.parametrize(
    ("cpu", "missed"),
    [
        (ZEN_5, True),
        (ZEN_5.replace(": 26", ": 25"), False),
        (ZEN_5.replace("AuthenticAMD", "GenuineIntel"), False),
        (ZEN_5.replace(" avx512vl", ""), False),
        ("", False),
    ],
)
def test_which_processors_are_missed(cpu: str, missed: bool) -> None:
    assert blas.is_missed(cpu) is missed


PROGRAM = """
import builtins, importlib, os, sys
{before}
seen = []
find = importlib.import_module
def watched(name):
    if name == "numpy":
        seen.append(os.environ.get("OPENBLAS_CORETYPE"))
    return find(name)
importlib.import_module = watched
import pathlib
pathlib.Path.open = lambda *a, **k: __import__("io").StringIO({cpu!r})
import minigrad
print(seen, os.environ.get("OPENBLAS_CORETYPE"))
"""


@pytest.mark.parametrize(
    ("before", "given", "printed"),
    [
        ("", None, "['SKYLAKEX'] None"),
        ("import numpy", None, "[] None"),
        ("", "ZEN", "[] ZEN"),
    ],
)
def test_the_variable_is_set_for_the_import_alone(
    before: str, given: str | None, printed: str
) -> None:
    env = {k: v for k, v in os.environ.items() if k != blas.VARIABLE}
    if given:
        env[blas.VARIABLE] = given
    program = PROGRAM.format(before=before, cpu=ZEN_5)
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == printed
