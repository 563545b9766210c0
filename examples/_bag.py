"""What counting alone achieves: a linear classifier on how often each item occurs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

WEIGHT_DECAY = 1e-3


def bag_baseline(
    bags: Sequence[Iterable[str]], classes: np.ndarray, asked: Sequence[Iterable[str]]
) -> np.ndarray:
    """The class that softmax regression gives each bag of `asked`, int64 (len(asked),).

    It sees of each bag which items are in it and how often, log(1 + n), and nothing of their
    order; items that `bags` never hold it does not see.

    Args:
        bags: what to learn from, each an iterable of items (words, pairs of letters, …).
        classes: the class of each of them, int64 (len(bags),).
    """
    kinds = {item: i for i, item in enumerate(sorted({item for bag in bags for item in bag}))}
    x = mg.tensor(count(bags, kinds))
    y = mg.tensor(classes)
    model = nn.Linear(len(kinds), int(classes.max()) + 1)
    optimiser = optim.AdamW(model.named_parameters(), lr=0.05, weight_decay=WEIGHT_DECAY)
    for _ in range(300):
        loss = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with mg.no_grad():
        return model(mg.tensor(count(asked, kinds))).argmax(dim=1).numpy()


def count(bags: Sequence[Iterable[str]], kinds: dict[str, int]) -> np.ndarray:
    """log(1 + how often each kind of item is in each bag), float32 (bags, kinds)."""
    counts = np.zeros((len(bags), len(kinds)), dtype=np.float32)
    for row, bag in zip(counts, bags, strict=True):
        for item in bag:
            if item in kinds:
                row[kinds[item]] += 1
    return np.log1p(counts)
