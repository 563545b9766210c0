"""minigrad with native kernels and scans, for the tasks that have fused functions."""

from __future__ import annotations

import minigrad as mg
from benchmarks.peers.minigrad_ import VERSION as VERSION
from benchmarks.peers.minigrad_ import char_lm as char_lm
from benchmarks.peers.minigrad_ import host as host
from benchmarks.peers.minigrad_ import inference as inference
from benchmarks.peers.minigrad_ import layer as layer
from benchmarks.peers.minigrad_ import stream as stream
from benchmarks.peers.minigrad_ import user_cell as user_cell

mg.use_native()
