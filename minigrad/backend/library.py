"""C compiled to shared libraries, which are kept in the user's cache folder."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

FLAGS = (
    "-O3",
    "-march=native",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
    "-w",
)


def compiler() -> str:
    """The C compiler: `cc`, or what the variable CC names; raises RuntimeError without one."""
    wanted = os.environ.get("CC") or "cc"
    found = shutil.which(wanted)
    if found is None:
        raise RuntimeError(
            f"native kernels need a C compiler, and there is no `{wanted}`: install one (gcc or "
            "clang), name it in the variable CC, or go on without native kernels"
        )
    return found


def built(source: str) -> Path:
    """The shared library of a source, from the cache if it was built before on such a machine."""
    features = [name for name, has in _cpu_features().items() if has]
    key = "\n".join([source, *FLAGS, *features, compiler(), np.__version__])
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    built = _cache() / name
    if not built.exists():
        if not os.access(built.parent, os.W_OK):
            built = Path(_of_this_run().name, name)
        with tempfile.TemporaryDirectory(dir=built.parent) as folder:
            text, made = Path(folder, "kernel.c"), Path(folder, "kernel.so")
            text.write_text(source, encoding="utf-8")
            _compile([compiler(), *FLAGS, "-o", str(made), str(text)])
            made.replace(built)  # whole or not at all, whoever else builds it meanwhile
    return built


def _compile(command: list[str]) -> None:
    """Run the compiler, with vector functions if the C library has them."""
    vector = ["-mprefer-vector-width=512", "-DVECTOR_MATH"]
    vector += ["-Wl,--no-undefined", "-lmvec", "-lm"]
    if subprocess.run([*command, *vector], capture_output=True, check=False).returncode:
        done = subprocess.run([*command, "-lm"], capture_output=True, check=False, text=True)
        if done.returncode:
            raise RuntimeError(f"the C compiler failed on a fused function:\n{done.stderr}")


def _cpu_features() -> dict[str, bool]:
    inner: Any = np
    return inner._core._multiarray_umath.__cpu_features__


def _cache() -> Path:
    """Where libraries are kept, for this user only."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(root, "minigrad", "native")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a home that is read-only, or none
        return Path(_of_this_run().name)
    return folder


@functools.cache
def _of_this_run() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes with this process."""
    return tempfile.TemporaryDirectory(prefix="minigrad-", ignore_cleanup_errors=True)
