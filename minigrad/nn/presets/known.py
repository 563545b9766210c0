"""The presets that the field knows: PyTorch's, Keras's, orthogonal, forget bias, chrono."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from minigrad.creation import zeros
from minigrad.nn import init
from minigrad.nn.cell import Cell
from minigrad.nn.presets.preset import Draw, Preset, Rule, blocks_of, own_parameters
from minigrad.ops import cat, log
from minigrad.random import Generator
from minigrad.tensor import Tensor

_BIASES = ("bias_ih", "bias_hh", "bias")
_PYTORCHS = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")


def constant(value: float) -> Draw:
    """The same number everywhere."""
    return Draw(f"{value:g}", lambda tensor, _generator: init.constant_(tensor, value))


def uniform(bound: float, why: str = "") -> Draw:
    """U(±bound)."""
    return Draw(f"U(±{bound:.3g}){why}", lambda t, g: init.uniform_(t, -bound, bound, g))


def _orthogonal(gain: float, how: str) -> Draw:
    return Draw(f"orthogonal {how}, gain {gain:g}", lambda t, g: init.orthogonal_(t, gain, g))


def torch() -> Preset:
    """PyTorch's: U(±1/√hidden_size) for all weights and both biases, as a new layer has them.

    >>> import minigrad as mg
    >>> print(mg.nn.presets.torch().describe(mg.nn.GRU(4, 16, bias=False)))
    torch
    weight_ih_l0  r z n  U(±0.25)
    weight_hh_l0  r z n  U(±0.25)
    """

    def rules(cell: Cell) -> Iterator[Rule]:
        draw = uniform(1 / math.sqrt(cell.hidden_size))
        return (Rule(name, (), draw) for name in own_parameters(cell) if name in _PYTORCHS)

    return Preset("torch", rules)


def keras(unit_forget_bias: bool = True) -> Preset:
    """Keras's: Glorot's uniform kernel, an orthogonal recurrent one, biases 0, an LSTM's forget 1.

    Both kernels are drawn whole, as Keras does: fan_out is (gates · hidden_size), and of the
    recurrent one all columns together are orthonormal.

    >>> import minigrad as mg
    >>> print(mg.nn.presets.keras().describe(mg.nn.GRU(4, 16, bias=False)))
    keras
    weight_ih_l0  r z n  U(±0.34), Glorot's with fan 4 + 48
    weight_hh_l0  r z n  orthogonal as one matrix, gain 1
    """

    def rules(cell: Cell) -> Iterator[Rule]:
        own = own_parameters(cell)
        if "weight_ih" in own:
            fan_in, fan_out = init.fans(own["weight_ih"])
            bound = math.sqrt(6 / (fan_in + fan_out))
            yield Rule("weight_ih", (), uniform(bound, f", Glorot's with fan {fan_in} + {fan_out}"))
        draw = _orthogonal(1.0, "as one matrix")
        yield from (Rule(name, (), draw) for name in cell.recurrent_weights if name in own)
        biases = [name for name in _BIASES if name in own]
        yield from (Rule(name, (), constant(0.0)) for name in biases)
        if unit_forget_bias and biases and {"i", "f"} <= set(cell.gates):
            yield Rule(biases[0], ("f",), constant(1.0))

    return Preset("keras", rules)


def orthogonal(gain: float = 1.0) -> Preset:
    """For each gate an orthogonal matrix times `gain` as recurrent weights (Saxe et al., 2013).

    >>> import minigrad as mg
    >>> print(mg.nn.presets.orthogonal().describe(mg.nn.LSTM(4, 16)))
    orthogonal
    weight_hh_l0  i f g o  orthogonal each, gain 1
    """

    def rules(cell: Cell) -> Iterator[Rule]:
        own, draw = own_parameters(cell), _orthogonal(gain, "each")
        for name in [name for name in cell.recurrent_weights if name in own]:
            blocks = blocks_of(cell, own[name])
            yield from [Rule(name, (gate,), draw) for gate in blocks] or [Rule(name, (), draw)]

    return Preset("orthogonal" if gain == 1 else f"orthogonal({gain:g})", rules)


def bias(**gates: float) -> Preset:
    """Where the gates' biases start: of PyTorch's two, the first has it and the second is 0.

    >>> import minigrad as mg
    >>> layer = mg.nn.presets.bias(z=2.0)(mg.nn.GRU(4, 3))
    >>> (layer.bias_ih_l0 + layer.bias_hh_l0)[3:6].tolist()
    [2.0, 2.0, 2.0]
    """

    def rules(cell: Cell) -> Iterator[Rule]:
        for gate, value in gates.items():
            yield from _of_biases(cell, (gate,), constant(value))

    return Preset(f"bias({', '.join(f'{g}={v:g}' for g, v in gates.items())})", rules)


def forget_bias(value: float = 1.0) -> Preset:
    """The forget gate's bias: 1 keeps the cell state at first (Jozefowicz et al., 2015).

    PyTorch's layers add two biases up: b_ih is then `value` and b_hh 0, so the sum is what you say.

    >>> import minigrad as mg
    >>> print(mg.nn.presets.forget_bias().describe(mg.nn.LSTM(4, 3)))
    bias(f=1)
    bias_ih_l0  f  1
    bias_hh_l0  f  0
    """
    return bias(f=value)


# Which gate keeps the state, and which lets the new in.
_Roles = tuple[str | None, str | None]
_ROLES: dict[tuple[str, ...], _Roles] = {
    ("i", "f", "g", "o"): ("f", "i"),
    ("r", "z", "n"): ("z", None),
    ("i", "g", "o"): (None, "i"),
    ("f", "n"): (None, "f"),
}


def chrono(t_max: float, keep: str | None = None, write: str | None = None) -> Preset:
    """Biases for memories of up to `t_max` steps (Tallec and Ollivier, 2018).

        b_keep = log U(1, t_max - 1),   b_write = -b_keep

    so that a unit forgets after 1 … t_max - 1 steps. t_max: the longest dependency, or the length
    of the sequences; more than 2. keep, write: the gates that keep the state, and let the new in;
    by default f and i of an LSTM, z of a GRU, i of coupled gates, f of a minimal gated unit.

    Raises ValueError, when it is applied, for cells of other gates unless they are named.

    >>> import minigrad as mg
    >>> layer = mg.nn.presets.chrono(784)(mg.nn.LSTM(28, 128))
    >>> b_i, b_f, *_ = (layer.bias_ih_l0 + layer.bias_hh_l0).chunk(4)
    >>> 0 <= float(b_f.min()) <= float(b_f.max()) <= math.log(783), bool((b_i == -b_f).all())
    (True, True)
    """
    if not t_max > 2:
        raise ValueError(f"chrono: t_max must be more than 2 steps, got {t_max}")

    def rules(cell: Cell) -> Iterable[Rule]:
        named: _Roles = (keep, write)
        if named == (None, None):
            named = _ROLES.get(cell.gates, named)
        if named == (None, None):
            raise ValueError(
                f"chrono: which gates of {type(cell).__name__} {cell.gates} keep the state and "
                "let the new in? write chrono(t_max, keep='f', write='i')"
            )
        gates = tuple(gate for gate in named if gate is not None)
        signs = [sign for gate, sign in zip(named, (1, -1), strict=True) if gate is not None]
        return _of_biases(cell, gates, _log_uniform(t_max - 1, gates, signs))

    return Preset(f"chrono({t_max:g})", rules)


def _log_uniform(top: float, gates: tuple[str, ...], signs: Sequence[int]) -> Draw:
    """± log U(1, top) for each gate, the same numbers."""

    def fill(tensor: Tensor, generator: Generator | None) -> None:
        first = tensor.chunk(len(gates))[0]
        u = init.uniform_(
            zeros(first.shape, dtype=tensor.dtype, device=tensor.device), 1, top, generator
        )
        tensor.copy_(cat([sign * log(u) for sign in signs]))

    text = f"{gates[0]} = {'-' * (signs[0] < 0)}log U(1, {top:g})"
    return Draw(text + "".join(f", {gate} = -{gates[0]}" for gate in gates[1:]), fill)


def _of_biases(cell: Cell, gates: tuple[str, ...], draw: Draw) -> list[Rule]:
    """A draw for the sum of a cell's biases: for the first of them, and 0 for the other."""
    biases = [name for name in _BIASES if name in own_parameters(cell)] or ["bias_ih"]
    return [Rule(biases[0], gates, draw), *(Rule(b, gates, constant(0.0)) for b in biases[1:])]
