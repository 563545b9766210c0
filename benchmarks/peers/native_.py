"""minigrad with native kernels and scans, for the tasks that these change."""

from __future__ import annotations

import minigrad as mg
from benchmarks.peers import minigrad_
from benchmarks.peers.minigrad_ import (
    VERSION,
    Arrays,
    Size,
    Step,
    char_lm,
    host,
    inference,
    layer,
    layer_unroll,
    masked,
    mlp_compile,
    operation,
    stream,
    stream_compile,
    user_cell,
    user_cell_compile,
    user_cell_loop,
    user_cell_plain,
)

__all__ = [
    "VERSION",
    "char_lm",
    "host",
    "inference",
    "layer",
    "layer_unroll",
    "masked",
    "mlp_compile",
    "operation",
    "stream",
    "stream_compile",
    "user_cell",
    "user_cell_compile",
    "user_cell_loop",
    "user_cell_plain",
    "user_cell_unroll",
]

mg.use_native()


def user_cell_unroll(arrays: Arrays, kind: str, size: Size) -> Step:
    if kind == "layer-norm LSTM" and size[0] > 50:
        raise NotImplementedError("the C compiler takes 25 s for its 100 steps")
    return minigrad_.user_cell_unroll(arrays, kind, size)
