"""The classifier of a course, nearly word for word: a class inherits, and replaces its memory."""

from __future__ import annotations

from typing import Any

import pytest

import minigrad as mg
from minigrad import nn


class RNNClassifier(nn.Module):
    def __init__(
        self, vocabulary: int, embed_dim: int, hidden_dim: int, classes: int, layers: int
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embed_dim)
        self.rnn_stack: Any = nn.RNN(embed_dim, hidden_dim, layers)
        self.fc = nn.Linear(hidden_dim, classes)

    def forward(self, tokens: mg.Tensor) -> mg.Tensor:
        output, _ = self.rnn_stack(self.embedding(tokens))
        return self.fc(output[-1])


class LSTMClassifier(RNNClassifier):
    def __init__(
        self, vocabulary: int, embed_dim: int, hidden_dim: int, classes: int, layers: int
    ) -> None:
        super().__init__(vocabulary, embed_dim, hidden_dim, classes, layers)
        self.rnn_stack = nn.LSTM(embed_dim, hidden_dim, layers)


class GRUClassifier(RNNClassifier):
    def __init__(
        self, vocabulary: int, embed_dim: int, hidden_dim: int, classes: int, layers: int
    ) -> None:
        super().__init__(vocabulary, embed_dim, hidden_dim, classes, layers)
        self.rnn_stack = nn.GRU(embed_dim, hidden_dim, layers)


@pytest.mark.parametrize(
    ("kind", "gates"), [(RNNClassifier, 1), (LSTMClassifier, 4), (GRUClassifier, 3)]
)
def test_a_classifier_with_any_memory_trains(kind: Any, gates: int) -> None:
    """It learns which of three tokens came first, eight steps ago."""
    model = kind(5, 6, 8, 3, 2)
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == 1 + 2 * 4 + 2  # those of the memory that was replaced are gone
    assert model.rnn_stack.weight_hh_l1.shape == (gates * 8, 8)
    tokens = mg.randint(0, 5, (8, 24))
    labels = mg.randint(0, 3, (24,))
    tokens = mg.cat([labels.unsqueeze(0), tokens])
    optimizer = mg.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        loss = nn.functional.cross_entropy(model(tokens), labels)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9
    assert losses[-1] < 0.2
