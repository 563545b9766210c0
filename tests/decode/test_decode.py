"""Decoding: against the enumeration of all sequences, rows apart, state moved along, errors."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import decode, nn
from minigrad.nn import functional as F

V, HIDDEN, END = 3, 4, 2


class Model(nn.Module):
    """A cell that reads a token and says how likely each next one is: a step to decode."""

    def __init__(self, cell: Any) -> None:
        self.embed = nn.Embedding(V, 2)
        self.cell = cell(2, HIDDEN)
        self.head = nn.Linear(HIDDEN, V)
        self.double()
        for p in self.parameters():
            p.copy_(mg.randn(p.shape, dtype=mg.float64) * 1.5)

    def forward(self, tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        state = self.cell(self.embed(tokens), state)
        h = state[0] if isinstance(state, tuple) else state
        return F.log_softmax(self.head(h), -1), state


class LayerModel(Model):
    """The same over a layer, in whose state (layers, rows, H) the rows come second."""

    def forward(self, tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        y, state = self.cell(self.embed(tokens).unsqueeze(0), state)
        return F.log_softmax(self.head(y[0]), -1), state


def start_state(kind: str, rows: int) -> Any:
    parts = [mg.randn(rows, HIDDEN, dtype=mg.float64) for _ in range(2)]
    return parts[0] if kind == "gru" else tuple(parts)


CELLS: dict[str, Any] = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}


def row_of(state: Any, r: int) -> Any:
    return tuple(p[r : r + 1] for p in state) if isinstance(state, tuple) else state[r : r + 1]


@mg.no_grad()
def every_sequence(
    model: Model, state: Any, start: int, max_length: int
) -> dict[tuple[int, ...], float]:
    """All sequences of one row with their log-probabilities, each computed on its own."""
    found: dict[tuple[int, ...], float] = {}
    for n in range(1, max_length + 1):
        for body in itertools.product(range(V), repeat=n):
            inner = END in body[:-1]
            if inner or (n < max_length and body[-1] != END):
                continue
            now, total, token = state, 0.0, start
            for following in body:
                log_probs, now = model(mg.tensor([token]), now)
                total += log_probs[0, following].item()
                token = following
            found[body] = total
    return found


def written(tokens: Any, length: int) -> tuple[int, ...]:
    """A decoded row as `every_sequence` names it: up to the first END, which counts."""
    return tuple(tokens[: min(length + 1, len(tokens))])


@given(
    kind=st.sampled_from(list(CELLS)),
    max_length=st.integers(1, 3),
    penalty=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_beam_of_full_width_is_exhaustive_search(
    kind: str, max_length: int, penalty: float, seed: int
) -> None:
    mg.manual_seed(seed)
    model, start = Model(CELLS[kind]), [0, 1]
    state = start_state(kind, 2)
    width = V**max_length
    found = decode.beam_search(
        model,
        state,
        mg.tensor(start),
        end=END,
        max_length=max_length,
        beam_size=width,
        length_penalty=penalty,
    )
    for r, first in enumerate(start):
        all_of_them = every_sequence(model, row_of(state, r), first, max_length)
        best = sorted(all_of_them, key=lambda s: -all_of_them[s] / len(s) ** penalty)
        places = zip(found.tokens[r].tolist(), found.lengths[r].tolist(), strict=True)
        ours = [written(tokens, length) for tokens, length in places][: len(best)]
        assert ours == best
        expected = [all_of_them[s] for s in best]
        scores = [all_of_them[s] / len(s) ** penalty for s in best]
        rest = [-math.inf] * (width - len(best))
        np.testing.assert_allclose(found.log_probs[r].tolist(), expected + rest, rtol=1e-9)
        np.testing.assert_allclose(found.scores[r].tolist(), scores + rest, rtol=1e-9)


@given(
    kind=st.sampled_from(list(CELLS)),
    width=st.integers(1, 4),
    max_length=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_each_beam_is_a_sequence_of_its_own_row(
    kind: str, width: int, max_length: int, seed: int
) -> None:
    """A narrow beam: its sequences are different, and have the probability that is said."""
    mg.manual_seed(seed)
    model, start, state = Model(CELLS[kind]), [1, 0, 1], start_state(kind, 3)
    options: dict[str, Any] = {"end": END, "max_length": max_length, "beam_size": width}
    found = decode.beam_search(model, state, mg.tensor(start), **options)
    for r, first in enumerate(start):
        alone = decode.beam_search(model, row_of(state, r), mg.tensor([first]), **options)
        width_alone = alone.tokens.shape[2]
        assert found.tokens[r, :, :width_alone].tolist() == alone.tokens[0].tolist()
        all_of_them = every_sequence(model, row_of(state, r), first, min(max_length, 4))
        names = [
            written(t, n)
            for t, n in zip(found.tokens[r].tolist(), found.lengths[r].tolist(), strict=True)
        ]
        real = [i for i, p in enumerate(found.log_probs[r].tolist()) if p > -math.inf]
        assert len({names[i] for i in real}) == len(real)
        if max_length <= 4:
            expected = [all_of_them[names[i]] for i in real]
            got = [found.log_probs[r, i].item() for i in real]
            np.testing.assert_allclose(got, expected, rtol=1e-9)
        assert sorted(found.scores[r].tolist(), reverse=True) == found.scores[r].tolist()


@given(kind=st.sampled_from(list(CELLS)), seed=st.integers(0, 99), max_length=st.integers(1, 6))
def test_greedy_takes_the_likeliest_and_a_beam_of_one_is_no_worse(
    kind: str, seed: int, max_length: int
) -> None:
    mg.manual_seed(seed)
    model, start, state = Model(CELLS[kind]), [1, 0], start_state(kind, 2)
    found = decode.greedy(model, state, mg.tensor(start), end=END, max_length=max_length)
    for r, first in enumerate(start):
        now, token, body, total = row_of(state, r), first, [], 0.0
        while len(body) < max_length and END not in body:
            log_probs, now = model(mg.tensor([token]), now)
            token = int(log_probs.argmax())
            total += log_probs[0, token].item()
            body.append(token)
        length = found.lengths[r].item()
        assert list(written(found.tokens[r].tolist(), length)) == body
        assert length == len(body) - (body[-1] == END)
        assert all(t == END for t in found.tokens[r].tolist()[length:])
        assert found.log_probs[r].item() == pytest.approx(total, rel=1e-9)
    beam = decode.beam_search(
        model, state, mg.tensor(start), end=END, max_length=max_length, beam_size=1
    )
    assert (beam.log_probs[:, 0] >= found.log_probs - 1e-12).all()


def test_the_search_goes_on_while_a_longer_sequence_may_win() -> None:
    """The end is likelier at once than any other token, but from there on all is certain."""
    first, later = [0.25, 0.15, 0.6], [0.98, 0.01, 0.01]

    def step(tokens: mg.Tensor, _: Any) -> tuple[mg.Tensor, Any]:
        begins = tokens.eq(1).unsqueeze(1)
        return mg.where(begins, mg.tensor(first).log(), mg.tensor(later).log()), None

    for penalty, expected in ((0.0, [END] * 4), (1.0, [0, 0, 0, 0])):
        found = decode.beam_search(
            step,
            None,
            mg.tensor([1]),
            end=END,
            max_length=4,
            beam_size=1,
            length_penalty=penalty,
        )
        assert found.tokens[0, 0].tolist() == expected[: found.tokens.shape[2]]
        assert found.tokens.shape[2] == (1 if penalty == 0 else 4)


def test_the_state_of_a_layer_moves_along_its_second_axis() -> None:
    model = LayerModel(nn.LSTM)
    state = tuple(mg.randn(1, 2, HIDDEN, dtype=mg.float64) for _ in range(2))
    options: dict[str, Any] = {"end": END, "max_length": 5, "beam_size": 3}
    both = decode.beam_search(model, state, mg.tensor([0, 1]), state_dim=1, **options)
    for r in range(2):
        one = tuple(part[:, r : r + 1] for part in state)
        alone = decode.beam_search(model, one, mg.tensor([r]), state_dim=1, **options)
        assert both.tokens[r].tolist() == alone.tokens[0].tolist()
    without = decode.beam_search(model, None, mg.tensor([0]), state_dim=1, **options)
    zero = tuple(mg.zeros(1, 1, HIDDEN, dtype=mg.float64) for _ in range(2))
    given_zero = decode.beam_search(model, zero, mg.tensor([0]), state_dim=1, **options)
    assert without.tokens.tolist() == given_zero.tokens.tolist()


# ---- sampling --------------------------------------------------------------------------------

P = [0.4, 0.3, 0.2, 0.1]


def dice(tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
    return mg.tensor(P, dtype=mg.float64).log().expand(len(tokens), len(P)), state


def shares(**options: Any) -> np.ndarray:
    """How often each token was drawn, of 40,000."""
    found = decode.sample(
        dice,
        None,
        mg.zeros(400, dtype=mg.int64),
        max_length=100,
        generator=mg.Generator(5),
        **options,
    )
    assert found.lengths.tolist() == [100] * 400
    drawn = found.tokens.flatten().cpu().numpy()
    expected = np.log(P)[drawn].reshape(400, 100).sum(1)
    np.testing.assert_allclose(found.log_probs.cpu().numpy(), expected, rtol=1e-9)
    return np.bincount(drawn, minlength=len(P)) / len(drawn)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, P),
        ({"temperature": 0.5}, np.square(P) / np.square(P).sum()),
        ({"temperature": 1e-3}, [1, 0, 0, 0]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_k": 9}, P),
        ({"top_k": 1}, [1, 0, 0, 0]),
        ({"top_p": 0.65}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.75}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"top_p": 0.01}, [1, 0, 0, 0]),
        ({"top_p": 1.0}, P),
        ({"top_k": 3, "top_p": 0.7}, [4 / 7, 3 / 7, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_should(options: Any, expected: Any) -> None:
    np.testing.assert_allclose(shares(**options), expected, atol=0.01)


def test_tokens_that_are_equally_likely_stay_together() -> None:
    even = mg.zeros(4, dtype=mg.float64) - math.log(4)
    found = decode.sample(
        lambda tokens, state: (even.expand(len(tokens), 4), state),
        None,
        mg.zeros(50, dtype=mg.int64),
        max_length=20,
        top_k=1,
    )
    assert set(found.tokens.flatten().tolist()) == {0, 1, 2, 3}


def test_what_is_forbidden_is_never_drawn_and_the_generator_repeats() -> None:
    def step(tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        log_probs = mg.tensor([math.log(0.5), -math.inf, math.log(0.5)])
        return log_probs.expand(len(tokens), 3), state

    def draw(seed: int) -> decode.Decoded:
        return decode.sample(
            step,
            None,
            mg.zeros(100, dtype=mg.int64),
            end=END,
            max_length=30,
            generator=mg.Generator(seed),
        )

    found = draw(1)
    assert 1 not in found.tokens.flatten().tolist()
    assert found.log_probs.dtype == mg.float32
    np.testing.assert_allclose(
        found.log_probs.cpu().numpy(), (found.lengths + 1).cpu().numpy() * math.log(0.5), rtol=1e-5
    )
    assert draw(1).tokens.tolist() == found.tokens.tolist()
    assert draw(2).tokens.tolist() != found.tokens.tolist()


# ---- bounds ----------------------------------------------------------------------------------


def test_decoding_records_nothing_and_stops_early() -> None:
    calls = []

    def step(tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        calls.append(len(tokens))
        weights = mg.tensor([0.1, 0.1, 0.8], requires_grad=True)
        return weights.log().expand(len(tokens), 3), state

    start = mg.tensor([0, 1])
    for run in (
        lambda: decode.greedy(step, None, start, end=END, max_length=50),
        lambda: decode.beam_search(step, None, start, end=END, max_length=50, beam_size=2),
    ):
        calls.clear()
        found = run()
        assert len(calls) == found.tokens.shape[-1] < 5
        assert not found.log_probs.requires_grad


def test_no_rows() -> None:
    none = mg.zeros(0, dtype=mg.int64)
    assert decode.greedy(dice, None, none, end=END, max_length=3).tokens.shape == (0, 1)
    found = decode.beam_search(dice, None, none, end=END, max_length=3, beam_size=2)
    assert found.scores.shape == (0, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": mg.zeros(2)}, r"integers of shape \(rows,\), got float32"),
        ({"start": mg.zeros(2, 1, dtype=mg.int64)}, r"\(2, 1\)"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"end": 4}, "one of the 4 tokens"),
        ({"step": lambda _t, s: (mg.ones(2, 4), s)}, "got 1, which is none: write F.log_softmax"),
        ({"step": lambda _t, s: (mg.full((2, 4), math.nan), s)}, "got nan"),
        ({"step": lambda _t, s: (mg.zeros(2), s)}, r"\(2, V\) for 2 tokens, got \(2,\)"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
    ],
)
def test_what_decoding_refuses(options: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {
        "step": dice,
        "state": None,
        "start": mg.zeros(2, dtype=mg.int64),
        "max_length": 3,
        "end": 0,
    }
    with pytest.raises(ValueError, match=words):
        decode.sample(**given | options)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"beam_size": 0}, "beam_size"), ({"beam_size": 1, "length_penalty": -1}, "length_penalty")],
)
def test_what_a_beam_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode.beam_search(dice, None, mg.zeros(1, dtype=mg.int64), end=0, max_length=2, **options)
