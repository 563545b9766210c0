"""Padding and packing beside an installed PyTorch: fields, order of rows and states, gradients."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import rnn

torch = pytest.importorskip("torch")
theirs = torch.nn.utils.rnn


def values(result: Any) -> Any:
    """The numbers of a result of either library."""
    if isinstance(result, (list, tuple)) or type(result).__name__ == "PackedSequence":
        return [values(part) for part in result]
    if result is None or isinstance(result, int):
        return result
    return (result.shape if isinstance(result, mg.Tensor) else tuple(result.shape)), result.tolist()


def agree(ours: Any, wanted: Any) -> None:
    assert values(ours) == values(wanted)


@st.composite
def batches(draw: st.DrawFn) -> dict[str, Any]:
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    if draw(st.booleans()):
        lengths.sort(reverse=True)
    return {
        "lengths": lengths,
        "features": draw(st.lists(st.integers(1, 2), max_size=2)),
        "batch_first": draw(st.booleans()),
        "dtype": draw(st.sampled_from(["float64", "float32", "int64"])),
        "padding_value": draw(st.sampled_from([0.0, -1.0, 2.0])),
        "extra": draw(st.integers(0, 2)),
        "seed": draw(st.integers(0, 99)),
    }


@given(case=batches())
def test_every_function(case: dict[str, Any]) -> None:
    rng, lengths, first = np.random.default_rng(case["seed"]), case["lengths"], case["batch_first"]
    xs = [(10 * rng.standard_normal((n, *case["features"]))).astype(case["dtype"]) for n in lengths]
    a, b = [mg.tensor(x) for x in xs], [torch.tensor(x) for x in xs]
    value = case["padding_value"]
    for side in ("right", "left"):
        agree(rnn.pad_sequence(a, first, value, side), theirs.pad_sequence(b, first, value, side))
    padded_a, padded_b = rnn.pad_sequence(a, first), theirs.pad_sequence(b, first)
    agree(
        rnn.unpad_sequence(padded_a, mg.tensor(lengths), first),
        theirs.unpad_sequence(padded_b.clone(), torch.tensor(lengths), first),
    )
    is_sorted = lengths == sorted(lengths, reverse=True)
    for enforce_sorted in (False, True)[: 1 + is_sorted]:
        p = rnn.pack_padded_sequence(padded_a, lengths, first, enforce_sorted)
        q = theirs.pack_padded_sequence(padded_b, lengths, first, enforce_sorted)
        agree(p, q)
        agree(rnn.pack_sequence(a, enforce_sorted), theirs.pack_sequence(b, enforce_sorted))
        total = max(lengths) + case["extra"]
        agree(
            rnn.pad_packed_sequence(p, not first, value, total),
            theirs.pad_packed_sequence(q, not first, value, total),
        )
        agree(rnn.unpack_sequence(p), theirs.unpack_sequence(q))
        r, s = rnn.PackedSequence(*p), theirs.PackedSequence(*q)
        agree(r, s)
        agree(rnn.pad_packed_sequence(r), theirs.pad_packed_sequence(s))
        agree(
            rnn.PackedSequence(p.data * 2, p.batch_sizes),
            theirs.PackedSequence(q.data * 2, q.batch_sizes),
        )
        agree(rnn.invert_permutation(p.sorted_indices), theirs.invert_permutation(q.sorted_indices))


@given(
    kind=st.sampled_from(["RNN", "LSTM", "GRU"]),
    lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    seed=st.integers(0, 99),
)
def test_layers_over_packed_sequences(
    kind: str,
    lengths: list[int],
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    seed: int,
) -> None:
    """PyTorch's code as it is: embed the data, run, pad; the states in the order of the rows."""
    rng = np.random.default_rng(seed)
    options = {
        "num_layers": num_layers,
        "bidirectional": bidirectional,
        "batch_first": batch_first,
    }
    peer = getattr(torch.nn, kind)(3, 2, **options).double()
    layer = getattr(nn, kind)(3, 2, **options).double()
    layer.load_state_dict(peer.state_dict())
    count = num_layers * (1 + bidirectional)
    x = rng.standard_normal((max(lengths), len(lengths), 3))
    h = rng.standard_normal((count, len(lengths), 2))

    def run(utils: Any, layer: Any, x: Any, h: Any) -> tuple[list[Any], Any]:
        packed = utils.pack_padded_sequence(x, lengths, enforce_sorted=False)
        packed = utils.PackedSequence(packed.data.tanh(), *list(packed)[1:])
        packed, last = layer(packed, (h, h) if kind == "LSTM" else h)
        y, ends = utils.pad_packed_sequence(packed, batch_first=True, total_length=7)
        finals = list(last) if kind == "LSTM" else [last]
        loss = (y * y).sum() + sum(part.sin().sum() for part in finals)
        loss.backward()
        return [
            packed.data,
            y,
            *finals,
            x.grad,
            h.grad,
            *(p.grad for p in layer.parameters()),
        ], ends

    ours, ends = run(rnn, layer, mg.tensor(x, requires_grad=True), mg.tensor(h, requires_grad=True))
    wanted, same = run(
        theirs, peer, torch.tensor(x, requires_grad=True), torch.tensor(h, requires_grad=True)
    )
    assert ends.tolist() == same.tolist() == lengths
    for a, b in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(
            a.detach().cpu().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda u, x, t: u.pack_padded_sequence(x, t([3, 1, 2])),
        lambda u, x, t: u.pack_padded_sequence(x, t([3, 2, 0])),
        lambda u, x, t: u.pack_padded_sequence(x, t([3, 2])),
        lambda u, _x, _t: u.pad_sequence([]),
        lambda u, x, _t: u.pad_sequence([x, x[:, :2]]),
        lambda u, x, _t: u.pad_sequence([x], padding_side="middle"),
        lambda u, x, _t: u.pack_sequence([x[:1], x[:2]]),
        lambda u, x, _t: u.pad_packed_sequence(u.pack_sequence([x]), total_length=2),
    ],
)
def test_both_refuse(call: Any) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        call(theirs, torch.zeros(4, 3, 3), torch.tensor)
    with pytest.raises(ValueError, match=r"expected|must be|fall|less"):
        call(rnn, mg.zeros(4, 3, 3), mg.tensor)


def test_signatures_are_the_same() -> None:
    for name in rnn.__dict__.keys() & set(theirs.__all__):
        ours = list(inspect.signature(getattr(rnn, name)).parameters)
        assert ours == list(inspect.signature(getattr(theirs, name)).parameters)
    assert set(theirs.__all__) <= rnn.__dict__.keys()
