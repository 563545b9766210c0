"""Padding and packing: what goes in comes out, and layers take a PackedSequence as lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import leaves
from minigrad.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

some_lengths = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def sequences(lengths: list[int], *features: int) -> list[mg.Tensor]:
    return [mg.randn(n, *features, dtype=mg.float64, requires_grad=True) for n in lengths]


def equal(ours: list[mg.Tensor], theirs: list[mg.Tensor]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


@given(lengths=some_lengths, features=st.lists(st.integers(1, 2), max_size=2), first=st.booleans())
def test_sequences_come_back(lengths: list[int], features: list[int], first: bool) -> None:
    xs = sequences(lengths, *features)
    padded = pad_sequence(xs, batch_first=first, padding_value=7.0)
    assert equal(unpad_sequence(padded, lengths, batch_first=first), xs)
    packed = pack_padded_sequence(padded, mg.tensor(lengths), first, enforce_sorted=False)
    assert equal(unpack_sequence(packed), xs)
    assert equal(unpack_sequence(pack_sequence(xs, enforce_sorted=False)), xs)
    again, ends = pad_packed_sequence(packed, first, padding_value=7.0)
    assert equal([again], [padded])
    assert ends.tolist() == lengths
    longer, _ = pad_packed_sequence(packed, total_length=9, padding_value=-1.0)
    assert longer.shape == (9, len(lengths), *features)
    assert (longer[max(lengths) :] == -1).all()


@given(lengths=some_lengths)
def test_the_four_fields_make_the_sequence_again(lengths: list[int]) -> None:
    xs = sequences(lengths, 2)
    packed = pack_sequence(xs, enforce_sorted=False)
    data, sizes, order, back = packed
    assert data.shape == (sum(lengths), 2)
    assert sizes.tolist() == [sum(n > t for n in lengths) for t in range(max(lengths))]
    assert (invert_permutation(order) == back).all()
    assert [lengths[i] for i in order.tolist()] == sorted(lengths, reverse=True)
    doubled = [2 * x for x in xs]
    for other in (PackedSequence(data * 2, sizes, order, back), packed._replace(data=data * 2)):
        assert equal(unpack_sequence(other), doubled)
        assert (other.data == data * 2).all()
    in_order = PackedSequence(data, sizes)
    assert in_order.sorted_indices is None
    assert equal(unpack_sequence(in_order), [xs[i] for i in order.tolist()])


def test_gradients_flow_through_all_of_it() -> None:
    xs = sequences([2, 4, 1], 2)
    packed = pack_sequence(xs, enforce_sorted=False)
    again = packed._replace(data=packed.data.sin())
    padded, _ = pad_packed_sequence(again)
    (padded * padded).sum().backward()
    for x in xs:
        assert mg.allclose(x.grad, 2 * x.sin() * mg.cos(x))


def test_integers_and_booleans_stay_what_they_are() -> None:
    whole = pad_sequence([mg.tensor([1, 2]), mg.tensor([3])], padding_value=9.0)
    assert whole.tolist() == [[1, 3], [2, 9]]
    assert whole.dtype == np.int64
    packed = pack_padded_sequence(whole, [2, 1])
    assert pad_packed_sequence(packed, padding_value=8)[0].dtype == np.int64
    assert packed._replace(data=packed.data).padded.dtype == np.int64
    assert pad_sequence([mg.tensor([True, True]), mg.tensor([True])]).dtype == np.bool_
    assert packed.to(mg.float32).data.dtype == np.float32
    left = pad_sequence([mg.tensor([1, 2]), mg.tensor([3])], padding_side="left")
    assert left.tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
@pytest.mark.parametrize("batch_first", [False, True])
def test_layers_take_and_give_packed_sequences(kind: Any, batch_first: bool) -> None:
    """The same values as with lengths=, in the order of the rows, whatever the layer's layout."""
    layer = kind(3, 2, 2, batch_first=batch_first, bidirectional=True).double()
    lengths, x = [2, 5, 1, 5], mg.randn(6, 4, 3, dtype=mg.float64)
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    state = mg.detach(layer(x.transpose(0, 1) if batch_first else x)[1])
    reset = np.random.default_rng(0).random((5, 4)) < 0.3
    y, last = layer(packed, state, reset=reset)
    layer.batch_first = False
    wanted, same = layer(x[:5], state, lengths=lengths, reset=reset)
    assert equal([pad_packed_sequence(y)[0]], [wanted])
    assert equal(leaves(last), leaves(same))
    assert (y.sorted_indices == packed.sorted_indices).all()
    _, _, trace = layer(packed, trace=True)
    assert len(trace) == 4
    assert equal(unpack_sequence(y), [wanted[:n, b] for b, n in enumerate(lengths)])


def test_nothing_is_packed_inside() -> None:
    """A layer records nothing for a PackedSequence that it does not record for lengths."""
    layer, x = nn.LSTM(3, 2), mg.randn(5, 3, 3)

    def nodes(run: Any) -> int:
        before = mg.tape.now()
        run()
        return mg.tape.now() - before

    packed = pack_padded_sequence(x, [5, 2, 1])
    assert nodes(lambda: layer(packed)) == nodes(lambda: layer(x, lengths=[5, 2, 1]))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: pack_padded_sequence(x, [3, 1, 2]), "enforce_sorted=False"),
        (lambda x: pack_padded_sequence(x, [3, 2, 0]), "lengths= of a recurrent layer may be 0"),
        (lambda x: pack_padded_sequence(x, [3, 2]), "lengths of 3 integers"),
        (lambda x: pack_padded_sequence(x, [5, 2, 1]), "0…4"),
        (lambda x: pack_padded_sequence(x, [3.5, 2, 1]), "integers"),
        (lambda x: pack_padded_sequence(x[0, 0], [3]), "two axes"),
        (lambda x: pack_padded_sequence(x[:, :0], np.zeros(0, int)), "at least one row"),
        (lambda x: unpad_sequence(x, [5, 2, 1]), "0…4"),
        (lambda _: pad_sequence([]), r"got \[\]"),
        (lambda x: pad_sequence([x, x[:, 0]]), "same shape after the length"),
        (lambda _: pad_sequence([mg.tensor(1.0)]), "same shape after the length"),
        (lambda x: pad_sequence([x], padding_side="middle"), "'right' or 'left'"),
        (lambda x: pack_sequence([x[:1, 0], x[:2, 0]]), "do not fall"),
        (lambda x: pad_packed_sequence(pack_sequence([x]), total_length=2), "longest length 4"),
        (lambda x: PackedSequence(x, mg.tensor([1, 2])), "falling integers"),
        (lambda x: PackedSequence(x, mg.tensor([2, 1])), "sum 4"),
        (lambda x: nn.LSTM(3, 2)(pack_padded_sequence(x, [4, 2, 1]), lengths=[4, 2, 1]), "its own"),
        (lambda x: nn.LSTM(2, 2)(pack_padded_sequence(x, [4, 2, 1])), "input = 2"),
    ],
)
def test_errors_say_what_was_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(mg.zeros(4, 3, 3))
