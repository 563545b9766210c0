"""Recurrent layers and cells over their options, under PyTorch's names and shapes."""

from __future__ import annotations

from itertools import product
from typing import Any

from tests.reference.case import Case, normal

STEPS, BATCH, INPUT, HIDDEN = 4, 3, 2, 3
LENGTHS = [2, 4, 1]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "RNN-tanh": ("RNN", {}),
    "RNN-relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM": ("LSTM", {}),
    "LSTM-projected": ("LSTM", {"proj_size": HIDDEN - 1}),
    "GRU": ("GRU", {}),
}
CELLS = [kind for kind in KINDS if kind != "LSTM-projected"]  # PyTorch's cell has no projection

# Every kind, depth and direction meets every variant; each option also comes together with others.
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch_first": {"batch_first": True},
    "no-bias": {"bias": False},
    "unbatched": {"batched": False},
    "unbatched-state": {"batched": False, "state": True, "batch_first": True},
    "state": {"state": True},
    "lengths": {"lengths": True},
    "all": {"batch_first": True, "bias": False, "state": True, "lengths": True},
}


def layer_case(
    kind: str,
    num_layers: int,
    bidirectional: bool,
    title: str = "",
    *,
    batched: bool = True,
    batch_first: bool = False,
    bias: bool = True,
    state: bool = False,
    lengths: bool = False,
    sizes: tuple[int, int, int, int] = (STEPS, BATCH, INPUT, HIDDEN),
    given_lengths: list[int] | None = None,
) -> Case:
    """A layer: x, perhaps an initial state and lengths, to outputs and the last state."""
    name, options = KINDS[kind]
    steps, batch, width, hidden = sizes
    if "proj_size" in options:
        options = {"proj_size": hidden - 1}  # the largest; none for a hidden size of 1
    lead = (batch, steps) if batch_first else (steps, batch)
    inputs = {"x": normal(*lead, width) if batched else normal(steps, width)}
    if state:
        count = num_layers * (1 + bidirectional)
        lead = (count, batch) if batched else (count,)
        inputs["h"] = normal(*lead, options.get("proj_size") or hidden)
        if name == "LSTM":
            inputs["c"] = normal(*lead, hidden)
    rows = (given_lengths or LENGTHS) if lengths else None

    def build(library: Any) -> Any:
        return getattr(library.nn, name)(
            width,
            hidden,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            bidirectional=bidirectional,
            **options,
        )

    def call(library: Any, layer: Any, xs: dict[str, Any]) -> Any:
        before = xs.get("h") if "c" not in xs else (xs["h"], xs["c"])
        if rows is None:
            return layer(xs["x"], before)
        return library.over_lengths(layer, xs["x"], before, rows)

    shown = f"{kind}({num_layers} layers, {'both ways' if bidirectional else 'forwards'}) {title}"
    return Case(shown, inputs, call, build)


def cell_case(kind: str, bias: bool, batched: bool, state: bool) -> Case:
    """A cell: x and perhaps a state, to the next state."""
    name, options = KINDS[kind]
    lead = (BATCH,) if batched else ()
    inputs = {"x": normal(*lead, INPUT)}
    if state:
        inputs["h"] = normal(*lead, HIDDEN)
        if name == "LSTM":
            inputs["c"] = normal(*lead, HIDDEN)

    def build(library: Any) -> Any:
        return getattr(library.nn, f"{name}Cell")(INPUT, HIDDEN, bias=bias, **options)

    def call(_library: Any, cell: Any, xs: dict[str, Any]) -> Any:
        before = xs.get("h") if "c" not in xs else (xs["h"], xs["c"])
        return cell(xs["x"], before)

    shown = [word for word, said in (("no bias", not bias), ("unbatched", not batched)) if said]
    return Case(f"{kind} cell {', '.join([*shown, *['state'] * state])}", inputs, call, build)


RECURRENT = [
    layer_case(kind, num_layers, bidirectional, title, **variant)
    for kind, num_layers, bidirectional in product(KINDS, (1, 2, 3), (False, True))
    for title, variant in VARIANTS.items()
]
RECURRENT += [
    cell_case(kind, bias, batched, state)
    for kind, bias, batched, state in product(CELLS, *[(True, False)] * 3)
]
