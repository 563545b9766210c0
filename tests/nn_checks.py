"""What must hold for every row of `nn_table`, whatever the cell."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.replace import replaced
from minigrad.scans import by_steps
from minigrad.testing import gradcheck
from tests.nn_table import Row, reference, state_sizes


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """The product of the driver's options, sizes small enough for finite differences."""
    steps, batch = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    some = st.lists(st.integers(0, steps), min_size=batch, max_size=batch)
    return {
        "steps": steps,
        "batch": batch,
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "lengths": draw(st.none() | some),
        "given_state": draw(st.booleans()),
        "into_loss": draw(st.sampled_from(["y", "first", "last", "all"])),
        "seed": draw(st.integers(0, 99)),
    }


def build(row: Row, case: dict[str, Any]) -> tuple[nn.Recurrent, mg.Tensor, Any]:
    mg.manual_seed(case["seed"])
    names = ("num_layers", "bidirectional", "batch_first", "bias")
    options = {k: case[k] for k in names}
    options["bias"] |= row.needs_bias
    layer = nn.Recurrent(row.cell, 3, 2, **options).double()
    x = mg.randn(case["steps"], case["batch"], 3, dtype=mg.float64)
    count = case["num_layers"] * (1 + case["bidirectional"])
    state = None
    if case["given_state"]:
        sizes = state_sizes(layer)
        parts = [mg.randn(count, case["batch"], size, dtype=mg.float64) for size in sizes]
        state = parts[0] if row.parts == 1 else tuple(parts)
    return layer, x, state


def parts_of(state: Any) -> list[mg.Tensor]:
    return list(state) if isinstance(state, tuple) else [] if state is None else [state]


def call_with(layer: nn.Recurrent, values: list[mg.Tensor], *args: Any, **kwargs: Any) -> Any:
    """Run the layer with other tensors in the place of its parameters."""
    others = {id(p): value for p, value in zip(layer.parameters(), values, strict=True)}
    return replaced(layer, others)(*args, **kwargs)


def check_values(row: Row, case: dict[str, Any]) -> None:
    layer, x, state = build(row, case)
    given_x = x.transpose(0, 1) if case["batch_first"] else x
    y, last = layer(given_x, state, lengths=case["lengths"])
    y = y.transpose(0, 1) if case["batch_first"] else y
    lengths = case["lengths"] or [case["steps"]] * case["batch"]
    if case["lengths"] == []:
        lengths = []
    start = [p.detach().cpu().numpy() for p in parts_of(state)] or None
    want_y, want_last = reference(row, layer.cpu(), x.cpu().numpy(), lengths, start)
    np.testing.assert_allclose(y.detach().cpu().numpy(), want_y, rtol=0, atol=1e-12)
    for got, want in zip(parts_of(last), want_last, strict=True):
        np.testing.assert_allclose(got.detach().cpu().numpy(), want, rtol=0, atol=1e-12)


def loss_parts(y: mg.Tensor, last: Any, which: str) -> tuple[mg.Tensor, ...]:
    finals = parts_of(last)
    return {"y": (y,), "first": (finals[0],), "last": (finals[-1],), "all": (y, *finals)}[which]


def check_gradients(row: Row, case: dict[str, Any], order: int) -> None:
    layer, x, state = build(row, case)
    x = x.transpose(0, 1) if case["batch_first"] else x
    start = parts_of(state)
    inputs = [t.detach().clone().requires_grad_() for t in (x, *start, *layer.parameters())]

    def run(x: mg.Tensor, *rest: mg.Tensor) -> tuple[mg.Tensor, ...]:
        given = rest[: len(start)]
        state = None if not given else given[0] if len(given) == 1 else tuple(given)
        weights = list(rest[len(start) :])
        y, last = call_with(layer, weights, x, state, lengths=case["lengths"])
        return loss_parts(y, last, case["into_loss"])

    gradcheck(run, inputs, order=order)


def check_second_order(row: Row) -> None:
    case = {
        "steps": 3,
        "batch": 2,
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": False,
        "bias": True,
        "lengths": [3, 1],
        "given_state": True,
        "into_loss": "all",
        "seed": 3,
    }
    check_gradients(row, case, order=2)


def gradients(layer: nn.Recurrent, x: mg.Tensor, lengths: Any) -> list[np.ndarray]:
    """Outputs, states and all gradients of a loss on everything."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y, last = layer(x, lengths=lengths)
    loss = (y * y).sum()
    for part in parts_of(last):
        loss = loss + part.tanh().sum()
    loss.backward()
    tensors = [y, *parts_of(last), x.grad, *(p.grad for p in layer.parameters())]
    return [t.detach().cpu().numpy() for t in tensors if t is not None]


def check_poison(row: Row, value: float) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2, bidirectional=True)
    lengths = [5, 0, 2, 6, 3]
    x = mg.randn(6, 5, 3)
    padding = mg.arange(6).reshape(-1, 1, 1) >= mg.tensor(lengths).reshape(1, -1, 1)
    clean = gradients(layer, mg.where(padding, 0.25, x), lengths)
    poisoned = gradients(layer, mg.where(padding, value, x), lengths)
    for a, b in zip(clean, poisoned, strict=True):
        assert a.tobytes() == b.tobytes()


def check_a_row_alone(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2, bidirectional=True).double()
    lengths = [4, 1, 6]
    x = mg.randn(6, 3, 3, dtype=mg.float64)
    y, last = layer(x, lengths=lengths)
    for b, n in enumerate(lengths):
        alone, state = layer(x[:n, b : b + 1])
        assert mg.allclose(alone[:, 0], y[:n, b], rtol=1e-12, atol=1e-14)
        for one, all_of_them in zip(parts_of(state), parts_of(last), strict=True):
            assert mg.allclose(one[:, 0], all_of_them[:, b], rtol=1e-12, atol=1e-14)


def check_unbatched(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2, bidirectional=True, batch_first=True)
    x = mg.randn(5, 3)
    y, last = layer(x)
    wide_y, wide_last = layer(x.unsqueeze(0))
    sizes = state_sizes(layer)
    assert y.shape == (5, 2 * sizes[0])
    assert (y == wide_y[0]).all()
    assert [part.shape[1] for part in parts_of(last)] == sizes
    for part, wide in zip(parts_of(last), parts_of(wide_last), strict=True):
        assert part.shape[0] == 4
        assert (part == wide[:, 0]).all()
    again, _ = layer(x, last)
    assert again.shape == y.shape


def check_streaming(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2).double()
    x = mg.randn(6, 2, 3, dtype=mg.float64)
    whole, last = layer(x)
    state, outputs = None, []
    for x_t in x:
        y, state = layer(x_t.unsqueeze(0), state)
        outputs.append(y)
    assert mg.allclose(mg.cat(outputs), whole, rtol=1e-13, atol=1e-15)
    for a, b in zip(parts_of(state), parts_of(last), strict=True):
        assert mg.allclose(a, b, rtol=1e-13, atol=1e-15)


def check_cell_alone(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4)
    cell = layer.cells[0][0]
    x = mg.randn(2, 3)
    _, last = layer(x.unsqueeze(0))
    for a, b in zip(parts_of(cell(x)), parts_of(last), strict=True):
        assert mg.allclose(a, b[0], rtol=1e-6, atol=1e-7)
    for a, b in zip(parts_of(cell(x[0])), parts_of(last), strict=True):
        assert a.shape == b.shape[2:]
        assert mg.allclose(a, b[0, 0], rtol=1e-6, atol=1e-7)


def nodes_behind(tensor: mg.Tensor) -> int:
    seen, stack = set(), [tensor.edge[0]]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            stack += [edge[0] for edge in getattr(node, "edges", ()) if edge is not None]
    return len(seen)


def nodes_per_step(cell: Any) -> int:
    """What the loop over tensors records; the layer's scan is one node, whatever the steps."""
    layer = nn.Recurrent(cell, 3, 4)

    def nodes(steps: int) -> int:
        return nodes_behind(layer(mg.randn(steps, 2, 3))[0].sum())

    assert nodes(5) == nodes(6)
    with mock.patch("minigrad.nn.scan.scan_steps", by_steps):
        return nodes(6) - nodes(5)
