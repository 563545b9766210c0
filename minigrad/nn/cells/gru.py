"""Gated recurrent units: reset after the product or before it, and with a single gate."""

from __future__ import annotations

from typing import Any

from minigrad.fuse import fuse, named
from minigrad.nn.cell import Cell
from minigrad.nn.cells.gated import GatedCell, GatedLayer, product
from minigrad.nn.state import Shared
from minigrad.ops import affine, sigmoid, split, tanh
from minigrad.tensor import Tensor


@fuse
def gru_gates(p: Any, q: Any, h: Any) -> Any:
    """The GRU's equations, reset after the product; p and q are the blocks r, z, n."""
    p_r, p_z, p_n = p.chunk(3)
    q_r, q_z, q_n = q.chunk(3)
    r, z = named(r=sigmoid(p_r + q_r), z=sigmoid(p_z + q_z))
    n = named(n=tanh(p_n + r * q_n))
    return n + z * (h - n)


@fuse
def gru_reset(a: Any, h: Any) -> Any:
    """The update gate and what the reset gate leaves of the state; a is the blocks r, z."""
    r, z = a.chunk(2)
    r, z = named(r=sigmoid(r), z=sigmoid(z))
    return z, r * h


@fuse
def gru_update(z: Any, n: Any, h: Any) -> Any:
    """The next state, between the candidate and the state."""
    n = named(n=tanh(n))
    return n + z * (h - n)


class GRUCell(GatedCell):
    """Gated recurrent unit (Cho et al., 2014), in both published forms.

        r, z = σ of the first two blocks of W_ih x + b_ih + W_hh h + b_hh
        n = tanh(W_in x + b_in + r ∘ (W_hn h + b_hn))      reset="after" (PyTorch, cuDNN)
        n = tanh(W_in x + b_in + W_hn (r ∘ h) + b_hn)      reset="before" (Cho et al., textbooks)
        h' = (1 - z) ∘ n + z ∘ h

    reset: whether the reset gate acts after the product with W_hn (one product a step) or before
    it (two). The parameters are the same, r, z, n, as in PyTorch.

    >>> import minigrad as mg
    >>> mg.nn.GRUCell(4, 3, reset="before")(mg.zeros(2, 4)).shape
    (2, 3)
    """

    gates = ("r", "z", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        reset: str = "after",
    ) -> None:
        if reset not in ("after", "before"):
            raise ValueError(f"reset must be 'after' or 'before' the product, got {reset!r}")
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.reset = reset

    def project(self, x: Tensor) -> Any:
        if self.reset == "after":  # the other bias stays within the reset gate's reach
            return product(self.weight_ih, x, self.bias_ih)
        sizes = (2 * self.hidden_size, self.hidden_size)
        p_gates, p_n = split(super().project(x), sizes, -2)
        w_gates, w_n = split(self.weight_hh, sizes)
        return p_gates, p_n, Shared(w_gates), Shared(w_n)

    def step(self, p: Any, state: Tensor) -> Tensor:
        h = state
        if self.reset == "after":
            return gru_gates(p, product(self.weight_hh, h, self.bias_hh), h)
        p_gates, p_n, w_gates, w_n = p
        z, kept = gru_reset(affine(w_gates, h, p_gates), h)
        return gru_update(z, affine(w_n, kept, p_n), h)


@fuse
def mgu_forget(f: Any, h: Any) -> Any:
    """The one gate, and what it lets through of the state."""
    f = named(f=sigmoid(f))
    return f, f * h


@fuse
def mgu_update(f: Any, n: Any, h: Any) -> Any:
    """The next state: the gate's share of it is new."""
    n = named(n=tanh(n))
    return h + f * (n - h)


# what the gate of each variant sees: x, h, a bias
_SEES = {
    "MGU": (True, True, True),
    "MGU1": (False, True, True),
    "MGU2": (False, True, False),
    "MGU3": (False, False, True),
}


class MGUCell(Cell):
    """Minimal gated unit (Zhou et al., 2016), and its simplifications (Heck and Salem, 2017).

        f = σ(W_if x + W_hf h + b_f)     variant="MGU"
        f = σ(W_hf h + b_f)              variant="MGU1"
        f = σ(W_hf h)                    variant="MGU2"
        f = σ(b_f)                       variant="MGU3"
        n = tanh(W_in x + W_hn (f ∘ h) + b_n)
        h' = (1 - f) ∘ h + f ∘ n

    Parameters: weight_ih, weight_hh and bias with the blocks f, n, or n alone where the gate has
    none of its own. Raises ValueError for an unknown variant, and for MGU3 without bias.

    >>> import minigrad as mg
    >>> cell = mg.nn.MGUCell(4, 3, variant="MGU2")
    >>> cell.weight_ih.shape, cell.weight_hh.shape, cell.bias.shape
    ((3, 4), (6, 3), (3,))
    """

    gates = ("f", "n")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        variant: str = "MGU",
    ) -> None:
        if variant not in _SEES:
            raise ValueError(f"variant must be one of {', '.join(_SEES)}; got {variant!r}")
        if variant == "MGU3" and not bias:
            raise ValueError("MGU3 has a gate of nothing but a bias: it needs bias=True")
        super().__init__(input_size, hidden_size)
        self.variant = variant
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        of_x, of_h, of_b = ((1 + seen) * hidden_size for seen in _SEES[variant])
        self.weight_ih = self.parameter(of_x, input_size, **place)
        self.weight_hh = self.parameter(of_h, hidden_size, **place)
        self.bias = self.parameter(of_b, **place) if bias else None

    def project(self, x: Tensor) -> Any:
        sees_x, sees_h, sees_b = _SEES[self.variant]
        w_xf, w_xn = _blocks(self.weight_ih, sees_x)
        w_hf, w_hn = _blocks(self.weight_hh, sees_h)
        b_f, b_n = (None, None) if self.bias is None else _blocks(self.bias, sees_b)
        if b_f is not None and w_hf is None:
            b_f = b_f.unsqueeze(1)  # there is no product to which it could be added row by row
        p_f = Shared(b_f) if w_xf is None else product(w_xf, x, b_f)
        return p_f, product(w_xn, x, b_n), Shared(w_hf), Shared(w_hn)

    def step(self, p: Any, state: Tensor) -> Tensor:
        h = state
        p_f, p_n, w_f, w_n = p
        f, kept = mgu_forget(p_f if w_f is None else product(w_f, h, p_f), h)
        return mgu_update(f, affine(w_n, kept, p_n), h)


def _blocks(parameter: Tensor, both: bool) -> tuple[Tensor | None, Tensor]:
    """The rows of f, if there are any, and those of n."""
    if not both:
        return None, parameter
    f, n = parameter.chunk(2)
    return f, n


class GRU(GatedLayer):
    """A layer of `GRUCell`s; arguments and results as in PyTorch's nn.GRU, and `lengths=`.

    >>> import minigrad as mg
    >>> y, h = mg.nn.GRU(4, 3, bidirectional=True, reset="before")(mg.zeros(5, 2, 4))
    >>> y.shape, h.shape
    ((5, 2, 6), (2, 2, 3))
    """

    cell = GRUCell


class MGU(GatedLayer):
    """A layer of `MGUCell`s, with the arguments and results of nn.GRU."""

    cell = MGUCell
