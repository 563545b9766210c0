"""Where attention differs from PyTorch's on purpose: a query that may see no key."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

torch = pytest.importorskip("torch")


def test_a_query_that_sees_nothing_is_nan_there_and_zero_here() -> None:
    """All that the row does not touch is equal; PyTorch's gradients are NaN altogether."""
    theirs = torch.nn.MultiheadAttention(4, 2, batch_first=True).double()
    ours = nn.MultiheadAttention(4, 2, batch_first=True).double()
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    padding = np.array([[True, True, True], [False, False, True]])
    a, b = mg.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, weights = ours(a, a, a, mg.tensor(padding))
    z, there = theirs(b, b, b, torch.tensor(padding))
    y.sum().backward()
    z.sum().backward()

    def host(t: mg.Tensor) -> np.ndarray:
        return t.detach().cpu().numpy()

    np.testing.assert_allclose(host(y)[1], z.detach().numpy()[1], rtol=1e-9)
    np.testing.assert_allclose(host(weights)[1], there.detach().numpy()[1], rtol=1e-9)
    assert (host(weights)[0] == 0).all()
    assert (host(a.grad)[0] == 0).all()
    assert np.isnan(there.detach().numpy()[0]).all()
    assert np.isnan(theirs.in_proj_weight.grad.numpy()).any()
    assert all(np.isfinite(host(p.grad)).all() for p in ours.parameters())
