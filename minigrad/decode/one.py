"""One sequence a row, token by token: the likeliest each time, or one drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minigrad import ops
from minigrad.autograd import no_grad
from minigrad.creation import ones, zeros
from minigrad.decode.step import Step, check_end, check_start, checked
from minigrad.random import Generator, rand
from minigrad.tensor import Tensor


class Decoded(NamedTuple):
    """A sequence for each row, and how likely the model finds it."""

    tokens: Tensor  # (rows, n) int64; from a row's first `end` on, `end`
    lengths: Tensor  # (rows,) int64: how many tokens come before `end`
    log_probs: Tensor  # (rows,): the sum over the tokens, the first `end` included


@no_grad()
def greedy(
    step: Step, state: Any, start: Tensor, *, end: int | None = None, max_length: int
) -> Decoded:
    """The likeliest token at each step, until `end` or max_length tokens.

    step(tokens, state): the token (rows,) that each row read last and the state to
        log-probabilities (rows, V) and the next state.
    state: what the first step gets, nested tuples of tensors or None. start: (rows,) integers.

    Nothing is recorded on the tape. Raises ValueError for what is no such step or start.

    >>> import minigrad as mg
    >>> chain = mg.tensor([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.3, 0.3, 0.4]])
    >>> found = mg.decode.greedy(
    ...     lambda tokens, state: (chain[tokens].log(), state), None, mg.tensor([0, 1]),
    ...     end=2, max_length=5,
    ... )  # fmt: skip
    >>> found.tokens.tolist(), found.lengths.tolist()
    ([[1, 2], [2, 2]], [1, 0])
    """
    return _decode(step, state, start, end, max_length, lambda log_probs: log_probs.argmax(1))


@no_grad()
def sample(
    step: Step,
    state: Any,
    start: Tensor,
    *,
    end: int | None = None,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generator | None = None,
) -> Decoded:
    """A token drawn at each step, see `draw`, until `end` or max_length tokens.

    step, state, start: as in `greedy`; temperature, top_k, top_p, generator: as in `draw`. The
    result's log_probs are those of the model itself, whatever is drawn from.

    >>> import minigrad as mg
    >>> coin = mg.tensor([0.5, 0.5]).log()
    >>> found = mg.decode.sample(
    ...     lambda tokens, state: (coin.expand(len(tokens), 2), state), None, mg.tensor([0, 0]),
    ...     max_length=3, generator=mg.Generator(0),
    ... )  # fmt: skip
    >>> found.tokens.shape, found.lengths.tolist()
    ((2, 3), [3, 3])
    """

    def choose(log_probs: Tensor) -> Tensor:
        return draw(log_probs, temperature, top_k, top_p, generator)

    return _decode(step, state, start, end, max_length, choose)


@no_grad()
def draw(
    log_probs: Tensor,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """A token (rows,) for each row of log-probabilities (rows, V), from p^(1/temperature).

    top_k: only the k likeliest tokens are drawn from (Fan et al., 2018); top_p: then, only the
    fewest likeliest that have this probability together (Holtzman et al., 2020). Tokens as likely
    as the last of them count as well.

    Raises ValueError unless temperature > 0, top_k ≥ 1 and 0 < top_p ≤ 1.

    >>> import minigrad as mg
    >>> p = mg.tensor([[0.6, 0.4, 0.0], [0.1, 0.0, 0.9]])
    >>> mg.decode.draw((p + 1e-9).log(), temperature=0.01)
    tensor([0, 2])
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be in (0, 1], got {top_p}")
    relative = log_probs - ops.amax(log_probs, 1, keepdim=True)  # the best stays at any temperature
    scores: Any = ops.log_softmax(relative / temperature, -1)
    if top_k is not None:
        scores = _at_least(scores, ops.topk(scores, min(top_k, scores.shape[1]))[0][:, -1:])
    if top_p is not None:
        scores = _at_least(scores, _last_of_nucleus(scores, top_p))
    # The largest of scores + Gumbel noise is each token as often as its probability says.
    u = rand(scores.shape, dtype=np.float64, device=scores.device, generator=generator)
    noise: Any = -ops.log(-ops.log(u.clamp(min=1e-300)))
    return ops.argmax(scores + noise, 1)


def _at_least(scores: Tensor, least: Tensor) -> Tensor:
    return ops.where(scores >= least, scores, -math.inf)


def _last_of_nucleus(scores: Tensor, top_p: float) -> Tensor:
    """The score of the last token that is needed for the probability top_p, (rows, 1)."""
    descending, _ = ops.sort(scores, 1, descending=True)
    p = ops.softmax(descending, 1)
    before = ops.cumsum(p, 1) - p
    inside = ops.where(before < top_p, descending, math.inf)
    return ops.amin(inside, 1, keepdim=True)


def _decode(
    step: Step,
    state: Any,
    start: Tensor,
    end: int | None,
    max_length: int,
    choose: Callable[[Tensor], Tensor],
) -> Decoded:
    check_start(start, max_length)
    rows, device = start.shape[0], start.device
    going: Any = ones(rows, dtype=np.bool_, device=device)
    lengths = zeros(rows, dtype=np.int64, device=device)
    token, total, chosen = start, zeros(rows, dtype=np.float32, device=device), list[Tensor]()
    while len(chosen) < max_length and (not chosen or bool(going.any())):
        log_probs, state = checked(step, token, state)
        check_end(end, log_probs.shape[1])
        token = choose(log_probs)
        if end is not None:
            token: Any = ops.where(going, token, end)
        gained = ops.gather(log_probs, 1, token.unsqueeze(1)).squeeze(1)
        total = total + ops.where(going, gained, 0.0)
        chosen.append(token)
        if end is not None:
            going = going & token.ne(end)
        lengths = lengths + going.long()
    return Decoded(ops.stack(chosen, 1), lengths, total)
