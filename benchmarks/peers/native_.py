"""minigrad with native kernels and scans, for the tasks that have fused functions."""

from __future__ import annotations

import minigrad as mg
from benchmarks.peers.minigrad_ import (
    VERSION,
    char_lm,
    host,
    inference,
    layer,
    stream,
    user_cell,
)

__all__ = ["VERSION", "char_lm", "host", "inference", "layer", "stream", "user_cell"]

mg.use_native()
