"""PyTorch as a library of cases, and the drawing of a run's weights and cotangents."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tests.reference.case import Array, Case, Library, Run, leaves, run


def _over_lengths(layer: Any, x: Any, state: Any, lengths: list[int]) -> Any:
    first = layer.batch_first
    packed = pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted=False)
    y, last = layer(packed, state)
    steps = x.shape[1 if first else 0]
    return pad_packed_sequence(y, first, total_length=steps)[0], last


def _load(module: Any, weights: dict[str, Array]) -> None:
    module.load_state_dict({name: torch.tensor(x) for name, x in weights.items()})


TORCH = Library(
    torch.nn,
    torch.nn.functional,
    tensor=lambda x, requires_grad: torch.tensor(x, requires_grad=requires_grad),
    numpy=lambda x: x.detach().numpy(),
    load=_load,
    over_lengths=_over_lengths,
    dtype=lambda module, dtype: module.to(getattr(torch, np.dtype(dtype).name)),
)


def run_torch(case: Case, seed: int) -> Run:
    """Draw a case's inputs, weights and cotangents, and compute it with PyTorch in float64."""
    random = np.random.default_rng(seed)
    given = Run(case.draw(seed))
    layer = None
    if case.module is not None:
        layer = case.module(TORCH).double()
        given.weights = {
            name: random.standard_normal(tuple(x.shape)) for name, x in layer.state_dict().items()
        }
        _load(layer, given.weights)
    tensors = {name: TORCH.tensor(x, False) for name, x in given.inputs.items()}
    with torch.no_grad():
        ys = leaves(case.call(TORCH, layer, tensors))
    given.cotangents = [np.asarray(random.standard_normal(tuple(y.shape))) for y in ys]
    return run(case, TORCH, given)
