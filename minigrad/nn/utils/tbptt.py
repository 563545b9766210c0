"""Truncated backpropagation through time, with windows that may overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minigrad import ops
from minigrad.autograd import detach, no_grad
from minigrad.nn.state import State, leaves, map_state
from minigrad.tensor import Tensor


class Window(NamedTuple):
    """The steps to learn from now, the outputs there, and the state after them."""

    steps: slice
    y: Any
    state: State


def tbptt(
    fn: Callable[[Any, State | None], tuple[Any, State]],
    x: Any,
    state: State | None = None,
    *,
    k1: int,
    k2: int | None = None,
    dim: int = 0,
) -> Iterator[Window]:
    """BPTT(k1, k2): every k1 steps, outputs whose gradient reaches k2 steps back.

    fn(x, state) → (y, state) is a recurrent layer or a model of one. x is a long sequence, or a
    tuple of such (inputs and resets, say), with time along `dim`; y has time along `dim`, too.
    Yields a window (steps, y, state) for the steps 0…k1, k1…2·k1, …; a loss on its y, and only on
    it, takes part in no other window, so each step counts once:

        for steps, y, state in tbptt(model, x, k1=20, k2=60):
            loss = criterion(y, target[steps])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    The gradient of a window that ends at step e is that of fn run over the steps e - k2…e from a
    constant state (from the given one, as it came, if e ≤ k2). With k2 > k1 the windows overlap:
    fn runs again over the k2 - k1 steps before the new ones, with the weights as they are then,
    from the state that the window before had at step e - k2; dropout draws anew in every run. With
    k2 < k1 only the last k2 outputs of a window have a gradient. k2 is k1 unless given; k1 = k2 = T
    is plain backpropagation (Williams and Peng, 1990).

    Raises ValueError unless k1 and k2 are positive, and all of x has the same number of steps.

    >>> import minigrad as mg
    >>> layer, x = mg.nn.GRU(3, 4), mg.randn(10, 2, 3)
    >>> [w.steps for w in mg.nn.utils.tbptt(layer, x, k1=4, k2=6)]
    [slice(0, 4, None), slice(4, 8, None), slice(8, 10, None)]
    """
    k2 = k1 if k2 is None else k2
    lengths = {part.shape[dim] for part in leaves(x)}
    if k1 < 1 or k2 < 1 or len(lengths) != 1:
        raise ValueError(
            f"tbptt: expected k1 ≥ 1, k2 ≥ 1, and as many steps in every part of x; got k1 = {k1}, "
            f"k2 = {k2}, and {sorted(lengths)} steps along dim {dim}"
        )
    return _windows(fn, x, state, k1, k2, dim, lengths.pop())


def _windows(
    fn: Callable[[Any, State | None], tuple[Any, State]],
    x: Any,
    state: State | None,
    k1: int,
    k2: int,
    dim: int,
    total: int,
) -> Iterator[Window]:
    ys: list[Any] = []

    def run(start: int, end: int, state: State | None) -> State | None:
        """fn over some steps, if there are any: its outputs into ys, and the state after them."""
        if start < end:
            y, state = fn(map_state(lambda part: _between(part, start, end, dim), x), state)
            ys.append(y)
        return state

    def reach(end: int) -> int:
        """The first step that the gradient of a window reaches."""
        return max(min(end, total) - k2, 0)

    at = 0  # `state` is the one before this step
    for begin in range(0, total, k1):
        end = min(begin + k1, total)
        ys.clear()
        with no_grad():
            state = run(at, reach(end), state)
        at = min(reach(end + k1), end)  # where the next window starts, or as far as this one goes
        middle = run(reach(end), at, state)
        last = run(at, end, middle)
        state = state if at == 0 else detach(middle)
        yield Window(slice(begin, end), _last_steps(ys, end - begin, dim), detach(last))


def _between(x: Tensor, start: int, end: int, dim: int) -> Tensor:
    if end - start == x.shape[dim]:
        return x
    return x[(*[slice(None)] * dim, slice(start, end))]


def _last_steps(ys: list[Any], count: int, dim: int) -> Any:
    """The last steps of outputs that come one after the other."""

    def joined(*parts: Tensor) -> Tensor:
        y = parts[0] if len(parts) == 1 else ops.cat(parts, dim)
        return _between(y, y.shape[dim] - count, y.shape[dim], dim)

    return map_state(joined, *ys)
