"""minigrad with native kernels and scans, for the tasks that these change."""

from __future__ import annotations

import minigrad as mg
from benchmarks.peers.minigrad_ import (
    VERSION,
    char_lm,
    host,
    inference,
    layer,
    mlp_compile,
    operation,
    stream,
    stream_compile,
    user_cell,
    user_cell_compile,
)

__all__ = [
    "VERSION",
    "char_lm",
    "host",
    "inference",
    "layer",
    "mlp_compile",
    "operation",
    "stream",
    "stream_compile",
    "user_cell",
    "user_cell_compile",
]

mg.use_native()
