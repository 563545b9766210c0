"""Dropout in recurrent layers, for any cell: on inputs, states and weights, and zoneout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, cast

from minigrad import ops
from minigrad.nn.cell import Cell
from minigrad.nn.replace import replaced
from minigrad.nn.state import State, map_state, parts
from minigrad.op import Op
from minigrad.ops.contract import affine_op, matmul_op
from minigrad.ops.shape import split_op
from minigrad.random import Generator, bernoulli_mask, rand
from minigrad.tensor import Tensor


def probability(name: str, value: Any) -> float:
    """The value as a float; raises ValueError unless it lies in 0…1."""
    if isinstance(value, Real) and 0 <= float(value) <= 1:
        return float(value)
    raise ValueError(f"{name} must be a probability, got {value!r}")


# ---- dropout on what goes into a layer ---------------------------------------------------------


def dropped(x: Tensor, p: float, generator: Generator | None) -> Tensor:
    """Each element of x 0 with probability p, else divided by 1 - p (Srivastava et al., 2014)."""
    return x * bernoulli_mask(x.shape, 1 - p, x, generator) if p else x


def dropped_alike(x: Tensor, p: float, generator: Generator | None) -> Tensor:
    """The same, with one mask for all steps of x (T, I, B) (Gal and Ghahramani, 2016)."""
    return x * bernoulli_mask((1, *x.shape[1:]), 1 - p, x, generator) if p else x


# ---- dropout on the recurrent weights and on what they multiply --------------------------------


def with_dropout(
    cell: Cell, on_weights: float, on_state: float, batch: int, generator: Generator | None
) -> Cell:
    """The cell with other recurrent weights for one sequence; the cell itself where both are 0.

    on_weights: each element of a recurrent weight is 0 with this probability, else divided by
    1 - p. on_state: each product W x with such a weight becomes W (m ∘ x), m one mask (k, batch).
    """
    if not on_weights and not on_state:
        return cell
    others: dict[int, Any] = {}
    for weight in recurrent_weights(cell):
        other = dropped(weight, on_weights, generator)
        if on_state:
            shape = (weight.shape[1], batch)
            other = Masked(other, bernoulli_mask(shape, 1 - on_state, weight, generator))
        others[id(weight)] = other
    return replaced(cell, others)


def recurrent_weights(cell: Cell) -> list[Tensor]:
    """The weights that multiply the state, of the cell and of cells within it, each once."""
    found = {
        id(weight): weight
        for inner in cell.modules()
        if isinstance(inner, Cell)
        for weight in _declared(inner)
    }
    if not found:
        raise ValueError(
            f"dropout on recurrent weights: {type(cell).__name__} has none under the name "
            'weight_hh; name those that multiply the state: recurrent_weights = ("u_f", "u_n")'
        )
    return list(found.values())


def _declared(cell: Cell) -> list[Tensor]:
    names = cell.recurrent_weights
    held = dict(cell.entries())
    missing = [name for name in names if name not in held and names is not Cell.recurrent_weights]
    if missing:
        raise ValueError(f"{type(cell).__name__}: recurrent_weights names {missing}: no such")
    return [held[name] for name in names if name in held]


class Masked(ops.Methods):
    """A weight that sees what it multiplies through a mask: `affine(W, x, b)` is W (m ∘ x) + b.

    Its blocks of rows (`W.chunk(4)`, `W[:n]`) are such weights, too. Whatever else is done with it
    raises TypeError.
    """

    def __init__(self, weight: Tensor, mask: Tensor) -> None:
        self.weight = weight
        self.mask = mask
        self.shape = weight.shape
        self.ndim = weight.ndim
        self.dtype = weight.dtype

    def __run_op__(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        if xs[0] is self and op in (matmul_op, affine_op):
            return op(self.weight, xs[1] * self.mask, *xs[2:], **params)
        if op is split_op and params["dim"] == 0:
            blocks = cast("tuple[Tensor, ...]", op(self.weight, **params))
            return tuple([Masked(block, self.mask) for block in blocks])
        if op.name == "index" and isinstance(params["key"], slice):
            return Masked(op(self.weight, **params), self.mask)
        raise TypeError(
            "recurrent_dropout acts on products affine(W, x, b) and matmul(W, x) with a recurrent "
            f"weight, or a block of its rows, on the left; the cell's step uses it in {op.name}"
        )


# ---- zoneout -----------------------------------------------------------------------------------

Zoneout = float | Mapping[str, float]


def zoneout_rates(cell: Cell, zoneout: Zoneout) -> dict[str, float]:
    """The probability of each part of the cell's state; raises ValueError for what is none."""
    if not isinstance(zoneout, Mapping):
        return dict.fromkeys(cell.state_names, probability("zoneout", zoneout))
    unknown = [name for name in zoneout if name not in cell.state_names]
    if unknown:
        raise ValueError(
            f"zoneout: the state of {type(cell).__name__} has {cell.state_names}, not {unknown}"
        )
    return {name: probability("zoneout", zoneout.get(name, 0.0)) for name in cell.state_names}


def zoneout_shares(rates: Mapping[str, float], state: State) -> State | None:
    """For each tensor of the state, the probability that a unit stays; None where that is 0."""
    if not any(rates.values()):
        return None
    shares = tuple(map(_spread, rates.values(), parts(state)))
    return shares if isinstance(state, tuple) else shares[0]


def _spread(rate: float, part: State) -> State | None:
    """The rate for each tensor of a part of the state."""
    return map_state(lambda _: rate or None, part)


def zoneout_masks(
    shares: State | None, state: State, steps: int, generator: Generator | None
) -> State | None:
    """Which units stay at each step: masks (T, …) for tensors of the state with a share."""
    if shares is None:
        return None
    if isinstance(shares, tuple):
        pairs = zip(cast("tuple[State, ...]", shares), state, strict=True)
        return tuple([zoneout_masks(share, part, steps, generator) for share, part in pairs])
    return rand(steps, *state.shape, device=state.device, generator=generator) < shares
