"""What the tests of scans share."""

from __future__ import annotations

import pytest

from minigrad.scans.op import ScanOp


@pytest.fixture
def written(monkeypatch):
    """The scans that ran on arrays."""
    found = []
    run = ScanOp._run
    monkeypatch.setattr(ScanOp, "_run", lambda self, *a: found.append(self) or run(self, *a))
    return found
