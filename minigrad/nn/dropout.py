"""Layers without parameters that move or drop elements: Dropout and Flatten."""

from __future__ import annotations

from minigrad import functional as F
from minigrad.nn.module import Module
from minigrad.random import Generator
from minigrad.tensor import Tensor


class Dropout(Module):
    """In training each element is 0 with probability p, else divided by 1 - p.

    In evaluation (`module.eval()`) the input comes out as it is. `generator`: where the random
    numbers come from, the default one unless given (Srivastava et al., 2014).

    >>> import minigrad as mg
    >>> layer = mg.nn.Dropout(0.5, generator=mg.Generator(3))
    >>> layer.eval()(mg.ones(4))
    tensor([1., 1., 1., 1.])
    """

    def __init__(self, p: float = 0.5, generator: Generator | None = None) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be a probability, got {p}")
        self.p = p
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, self.training, self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Flatten(Module):
    """The axes from start_dim to end_dim as one; the batch axis 0 stays.

    >>> import minigrad as mg
    >>> mg.nn.Flatten()(mg.zeros(5, 2, 3)).shape
    (5, 6)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
