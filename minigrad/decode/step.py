"""What a model must be to be decoded: a step from tokens and a state to log-probabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.nn.state import State, map_state
from minigrad.tensor import Tensor

# step(tokens, state): the token (rows,) that each row read last, int64, and the state, nested
# tuples of tensors (or None at the start), to log-probabilities (rows, V) and the next state.
Step = Callable[[Tensor, Any], tuple[Tensor, Any]]
TOLERANCE = 1e-3  # a log-probability is at most 0, up to rounding


def checked(step: Step, tokens: Tensor, state: State) -> tuple[Tensor, State]:
    """Take one step; raise ValueError where it gives something else than log-probabilities."""
    log_probs, state = step(tokens, state)
    rows = tokens.shape[0]
    if log_probs.ndim != 2 or log_probs.shape[0] != rows:
        raise ValueError(
            f"step: expected log-probabilities ({rows}, V) for {rows} tokens, got {log_probs.shape}"
        )
    if rows and not float(log_probs.max()) <= TOLERANCE:
        raise ValueError(
            f"step: expected log-probabilities, got {float(log_probs.max()):g}, which is none: "
            "write F.log_softmax(logits, -1)"
        )
    return log_probs, state


def check_start(start: Tensor, max_length: int) -> None:
    """Raise unless decoding can begin with these tokens."""
    if start.ndim != 1 or start.dtype.kind not in "iu":
        raise ValueError(
            "start: expected one token a row, integers of shape (rows,), got "
            f"{start.dtype} of shape {start.shape}"
        )
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")


def check_end(end: int | None, vocabulary: int) -> None:
    """Raise unless `end` is one of so many tokens."""
    if end is not None and not 0 <= end < vocabulary:
        raise ValueError(f"end must be one of the {vocabulary} tokens of the step, got {end}")


def taken(state: State, index: Tensor, dim: int) -> State:
    """The rows of a state that `index` names, along axis `dim` of every tensor."""
    if state is None:
        return None
    return map_state(lambda part: part.index_select(dim, index), state)
