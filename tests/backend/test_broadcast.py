"""Arrays are broadcast alike, whether they have few numbers or many."""

from __future__ import annotations

import pytest

import minigrad as mg

SHAPES = pytest.mark.parametrize("shape", [(2, 3), (1025, 3)])


@SHAPES
def test_values(shape: tuple[int, ...]) -> None:
    x = mg.tensor([1.0, 2.0, 3.0])
    y = mg.Tensor(x.backend.broadcast_to(x.data, shape))
    assert y.shape == shape
    assert (y == x).all()


@SHAPES
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    x = mg.tensor([[1.0, 2.0, 3.0]])
    for wrong in (shape[1:], (*shape[:-1], 4)):
        with pytest.raises(ValueError, match=r"broadcast|remapp"):
            x.backend.broadcast_to(x.data, wrong)
