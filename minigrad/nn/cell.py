"""The cell protocol: what the input gives is projected, and a step leads to the next state."""

from __future__ import annotations

import inspect
import math
from typing import Any, ClassVar, cast

from minigrad.creation import zeros
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter
from minigrad.nn.state import (
    State,
    checked_state,
    checked_step,
    checked_value,
    leaves,
    map_state,
    transposed,
    unshared,
)
from minigrad.tensor import Tensor


class Cell(Module):
    """A recurrent cell: `project` does what does not depend on the state, `step` the rest.

    Inside a cell features come first, as in textbooks: an input is (I, B), a state (H, B), so the
    equation h = tanh(W x + U h + b) reads `tanh(affine(U, h, p))` with p = `affine(W, x, b)`.
    A subclass defines

        project(x): (…, input_size, B) → p, for one step or for a whole sequence (T, I, B) at once
        step(p, state): p of one step and the state → the next state

    and names its state in `state_names`; a state of one name is a Tensor, of several a tuple.
    `output(state)` is what the layer above sees, by default the first of them. A cell can then be
    called like PyTorch's (`cell(x, state)`, batch first), and `Recurrent` makes a layer of it.
    What is the same for all steps (a block of a weight, say) is a part of p as `Shared(part)`.
    Dropout on recurrent weights acts on the parameters in `recurrent_weights`: those that the step
    multiplies with (a part of) the state. `gates` names the blocks of hidden_size rows of which
    weight_ih, weight_hh and the biases are made, for `nn.presets`.
    """

    state_names: tuple[str, ...] = ("h",)
    recurrent_weights: ClassVar[tuple[str, ...]] = ("weight_hh",)
    gates: ClassVar[tuple[str, ...]] = ()

    def __init__(self, input_size: int, hidden_size: int) -> None:
        if input_size < 1 or hidden_size < 1:
            raise ValueError(
                f"input_size and hidden_size must be positive, got {input_size} and {hidden_size}"
            )
        self.input_size = input_size
        self.hidden_size = hidden_size

    def parameter(self, *shape: int, device: str | None = None, dtype: Any = None) -> Parameter:
        """A new parameter ~ U(±1/√hidden_size), as in PyTorch's recurrent layers."""
        bound = 1 / math.sqrt(self.hidden_size)
        p = Parameter(zeros(*shape, device=device, dtype=dtype))
        init.uniform_(p, -bound, bound)
        return p

    @property
    def output_size(self) -> int:
        """The number of features of the output."""
        return self.hidden_size

    def project(self, x: Tensor) -> Any:
        """What the step needs of the input: (…, input_size, B) to a tensor or a tuple of them."""
        raise NotImplementedError(f"{type(self).__name__} defines no project(self, x)")

    def step(self, p: Any, state: State) -> State:
        """The equations: the projected input of one step and the state to the next state."""
        raise NotImplementedError(f"{type(self).__name__} defines no step(self, p, state)")

    def output(self, state: State) -> Tensor:
        """What the layer gives out at this step: (output_size, B)."""
        return cast("tuple[Tensor, ...]", state)[0] if isinstance(state, tuple) else state

    def readout(self, y: Tensor, x: Tensor) -> Tensor:
        """What the layer above sees: from the outputs (…, output_size, B) and inputs, all steps."""
        return y

    def initial_state(self, batch: int, like: Tensor) -> State:
        """The state before the first step: zeros (hidden_size, B) for each name."""
        parts = [
            zeros(self.hidden_size, batch, dtype=like.dtype, device=like.device)
            for _ in self.state_names
        ]
        return parts[0] if len(parts) == 1 else tuple(parts)

    def forward(self, x: Tensor, hx: State | None = None) -> State:
        """One step, batch first: x (B, I) or (I,), state (B, H) or (H,) each → the next state."""
        checked_value(type(self).__name__, x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"{type(self).__name__}: expected x (batch, {self.input_size}) or "
                f"({self.input_size},), got {x.shape}"
            )
        batched = x.ndim == 2
        columns = x.T if batched else x.unsqueeze(1)
        before = self.initial_state(columns.shape[1], x)
        if hx is not None:
            wanted = [part.shape[::-1] if batched else part.shape[:1] for part in leaves(before)]
            name, legend = type(self).__name__, "(batch, features)" if batched else "(features,)"
            state = checked_state(name, hx, before, wanted, legend)
            before = map_state(transposed if batched else _widened, state)
        after = checked_step(self.step(unshared(self.project(columns)), before), before)
        return map_state(transposed if batched else _narrowed, after)

    def equations(self) -> str:
        """The equations of a step, as text: `project`, `step` and `readout`, run on symbols.

        Values that the code has `named` have a line each, the next state has primes (and the
        output is y where it is another), and a block of rows of a parameter is called after the
        value that it leads to. ∘ is the product of elements, W x that of a matrix.

        >>> import minigrad as mg
        >>> print(mg.nn.MGUCell(4, 3).equations())
        f  = σ(W_if x + b_f + W_hf h)
        n  = tanh(W_in x + b_n + W_hn (f ∘ h))
        h' = h + f ∘ (n - h)
        <BLANKLINE>
        [W_if; W_in] = W_ih
        [W_hf; W_hn] = W_hh
        [b_f; b_n] = b
        """
        from minigrad.nn.equations import equations_of  # needed by those who print

        return equations_of(self)

    def extra_repr(self) -> str:
        """The sizes, and the arguments that are not as they are unless given."""
        shown = [f"{self.input_size}, {self.hidden_size}"]
        for p in inspect.signature(type(self)).parameters.values():
            value: Any = vars(self).get(p.name)
            plain = p.default is not p.empty and isinstance(value, (bool, int, float, str))
            if plain and value != p.default:
                shown.append(f"{p.name}={value}")
        return ", ".join(shown)


def _widened(part: Tensor) -> Tensor:
    """With an axis for the batch: (features,) as (features, 1)."""
    return part.unsqueeze(-1)


def _narrowed(part: Tensor) -> Tensor:
    """Without the axis of the batch."""
    return part.squeeze(-1)


def make_cell(make: Any, input_size: int, hidden_size: int, options: dict[str, Any]) -> Cell:
    """A cell of a class or function, for a layer; raises TypeError for what makes none."""
    made = make if isinstance(make, Module) else make(input_size, hidden_size, **options)
    if made is make or not isinstance(made, Cell):
        got = f"{'one that is made, ' if made is make else ''}{type(made).__name__}"
        raise TypeError(
            "Recurrent: expected what makes an nn.Cell, called with input_size and hidden_size, as "
            f"the class nn.LSTMCell does; got {got}"
        )
    return made
