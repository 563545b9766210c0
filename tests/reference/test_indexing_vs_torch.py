"""Indexing beside PyTorch's: integers, slices and index tensors mixed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
X = np.arange(2 * 3 * 4 * 5, dtype=float).reshape(2, 3, 4, 5)
PARTS: dict[str, Any] = {
    "0": lambda _: 0,
    "-1": lambda _: -1,
    ":": lambda _: slice(None),
    "1:": lambda _: slice(1, None),
    "None": lambda _: None,
    "i": lambda library: library.tensor([1, 0, 1]),
    "ij": lambda library: library.tensor([[1, 0, 1], [0, 0, 1]]),
}


@pytest.mark.parametrize("names", [*itertools.product(PARTS, repeat=3)], ids=",".join)
def test_keys_of_three_parts(names: tuple[str, ...]) -> None:
    for tail in ((), (...,), (..., 2)):
        found: list[Any] = []
        for library in (mg, torch):
            x = library.tensor(X, requires_grad=True)
            y = x[(*(PARTS[name](library) for name in names), *tail)]
            (y * y).sum().backward()
            found.append((y.detach().numpy(), x.grad.numpy()))
        for ours, theirs in zip(*found, strict=True):
            np.testing.assert_array_equal(ours, theirs)
