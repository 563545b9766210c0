"""Beam search: the best sequences that few hypotheses a row, extended side by side, lead to."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from minigrad import ops
from minigrad.autograd import no_grad
from minigrad.creation import arange, full
from minigrad.decode.step import Step, check_end, check_start, checked, taken
from minigrad.tensor import Tensor


class Beams(NamedTuple):
    """Several sequences for each row, the best first."""

    tokens: Tensor  # (rows, beams, n) int64; from a sequence's first `end` on, `end`
    lengths: Tensor  # (rows, beams) int64: how many tokens come before `end`
    log_probs: Tensor  # (rows, beams): the sum over the tokens, the first `end` included
    scores: Tensor  # (rows, beams): log_probs / (number of tokens, `end` included)^length_penalty


@no_grad()
def beam_search(
    step: Step,
    state: Any,
    start: Tensor,
    *,
    end: int,
    max_length: int,
    beam_size: int,
    length_penalty: float = 0.0,
    state_dim: int = 0,
) -> Beams:
    """The best sequences that end within max_length tokens, or are cut off there.

    At each step every hypothesis of a row is extended by every token. The extensions by `end` are
    complete and compete for the beam_size places in the result; the beam_size likeliest of the
    others go on. The score of a sequence of n tokens is its log-probability / n^length_penalty:
    0 is the probability itself, which favours short ones, 1 its mean. The search stops as soon as
    no hypothesis can reach the result any more. A beam as wide as there are sequences finds the
    best of all; with one place it is at least as good as `greedy`.

    step, state, start: as in `greedy`; the step gets beam_size rows for each row of start, side
        by side, and the rows of the state's tensors, their axis state_dim, are copied and moved
        with their hypotheses (1 for the states of `nn.LSTM`, 0 for those of `nn.LSTMCell`).

    Where there are fewer sequences than places, the rest have log-probability -∞. Nothing is
    recorded on the tape. Raises ValueError for what is no such step or start, or out of range.
    Source: Graves, 2012; the normalisation as in Wu et al., 2016, without its constant.

    >>> import minigrad as mg
    >>> chain = mg.tensor([[0.5, 0.4, 0.1], [0.05, 0.05, 0.9], [0.3, 0.3, 0.4]])
    >>> found = mg.decode.beam_search(
    ...     lambda tokens, state: (chain[tokens].log(), state), None, mg.tensor([0]),
    ...     end=2, max_length=3, beam_size=2,
    ... )  # fmt: skip
    >>> found.tokens.tolist(), found.log_probs.exp()
    ([[[1, 2, 2], [0, 1, 2]]], tensor([[0.35999998, 0.17999999]]))
    """
    check_start(start, max_length)
    if beam_size < 1:
        raise ValueError(f"beam_size must be at least 1, got {beam_size}")
    if not length_penalty >= 0:
        raise ValueError(f"length_penalty must be 0 or more, got {length_penalty}")
    rows, device = start.shape[0], start.device
    first = ops.expand(arange(rows, device=device).unsqueeze(1) * beam_size, rows, beam_size)
    state = taken(state, ops.flatten(first // beam_size), state_dim)
    token = ops.flatten(ops.expand(start.unsqueeze(1), rows, beam_size))
    at = arange(max_length, device=device)
    tokens = full((rows, beam_size, max_length), end, device=device)
    nothing = full((rows, beam_size), -math.inf, dtype=np.float32, device=device)
    complete = Beams(tokens, first * 0, nothing, nothing)
    alone = arange(beam_size, device=device).eq(0)  # one hypothesis a row, at first
    log_probs = ops.where(alone, 0.0, nothing)

    n, settled = 0, False
    while n < max_length and not settled:
        n += 1
        gained, state = checked(step, token, state)
        vocabulary = gained.shape[1]
        check_end(end, vocabulary)
        extended = log_probs.unsqueeze(-1) + gained.reshape(rows, beam_size, vocabulary)
        complete = _best(complete, tokens, n - 1, extended[:, :, end], n**length_penalty)
        going = arange(vocabulary, device=device).ne(end)
        likeliest = ops.where(going, extended, -math.inf).flatten(1)
        log_probs, index = ops.topk(likeliest, beam_size, 1)
        parent, token = index // vocabulary, index % vocabulary
        tokens = ops.where(at.eq(n - 1), token.unsqueeze(-1), _rows(tokens, parent))
        state = taken(state, (first + parent).flatten(), state_dim)
        token = token.flatten()
        reachable = log_probs.amax(1) / max_length**length_penalty
        settled = bool((complete.scores.amin(1) >= reachable).all())
    if n == max_length:
        complete = _best(complete, tokens, n, log_probs, n**length_penalty)
    return complete._replace(tokens=complete.tokens[:, :, :n])


def _best(complete: Beams, tokens: Tensor, length: int, log_probs: Tensor, divisor: float) -> Beams:
    """The best of those that are complete and of new ones with these log-probabilities."""
    new = Beams(
        tokens, full(log_probs.shape, length, device=tokens.device), log_probs, log_probs / divisor
    )
    both = Beams(*[ops.cat(pair, 1) for pair in zip(complete, new, strict=True)])
    _, best = ops.topk(both.scores, complete.scores.shape[1], 1)
    return Beams(*[_rows(part, best) for part in both])


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x[r, index[r]] for each row r: x (rows, many, …) by index (rows, few)."""
    return x[arange(x.shape[0], device=x.device).unsqueeze(1), index]
