"""Every cell: its equations in plain NumPy, its gradients, its cost, and its layer."""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import minigrad as mg
from minigrad import nn
from minigrad.backend import Kernel, get_backend
from minigrad.fuse import Fused
from minigrad.nn.cells import grid, gru, lstm, norm, wrappers
from tests.nn_checks import (
    cases,
    check_a_row_alone,
    check_cell_alone,
    check_gradients,
    check_poison,
    check_second_order,
    check_streaming,
    check_unbatched,
    check_values,
    nodes_per_step,
)
from tests.nn_table import ROWS, VARIANTS, Row
from tests.ops.c_kernels import COMPILER, Library

variants = pytest.mark.parametrize("row", VARIANTS, ids=lambda row: row.name)
few = settings(max_examples=max(4, settings.default.max_examples // 5))


@variants
@few
@given(case=cases())
def test_layer_equals_plain_loops(row: Row, case: dict[str, Any]) -> None:
    check_values(row, case)


@variants
@few
@given(case=cases())
def test_gradients_over_every_option(row: Row, case: dict[str, Any]) -> None:
    check_gradients(row, case, order=1)


@variants
def test_second_order(row: Row) -> None:
    check_second_order(row)


@variants
def test_what_holds_for_every_cell(row: Row) -> None:
    check_poison(row, float("nan"))
    check_a_row_alone(row)
    check_streaming(row)
    check_unbatched(row)
    check_cell_alone(row)


def test_every_cell_has_a_row() -> None:
    """In the table, so that what holds for every cell is tested of it."""
    made = {type(cell) for row in (*ROWS, *VARIANTS) for cell in row.cell(3, 2).modules()}
    cells = {c for c in vars(nn).values() if inspect.isclass(c) and issubclass(c, nn.Cell)}
    assert cells - made == {nn.Cell}


def test_every_cell_has_a_layer() -> None:
    """But for those that wrap any cell, and the grid's column: nn.GridLSTM is all of the grid."""
    layers = {c.cell for c in vars(nn).values() if inspect.isclass(c) and hasattr(c, "cell")}
    cells = {c for c in vars(nn).values() if inspect.isclass(c) and issubclass(c, nn.Cell)}
    assert cells - layers == {nn.Cell, nn.Residual, nn.Highway, nn.GridLSTMCell}


# ---- what a step costs ---------------------------------------------------------------------------


@pytest.mark.parametrize("row", [*ROWS, *VARIANTS], ids=lambda row: row.name)
def test_a_step_records_its_products_and_fused_parts(row: Row) -> None:
    """No more nodes than the arithmetic needs: the LSTM a product and the gates."""
    assert nodes_per_step(row.cell) == row.nodes


@mg.fuse
def my_reset(a: Any, h: Any) -> Any:
    r, z = a.chunk(2)
    return mg.sigmoid(z), mg.sigmoid(r) * h


@mg.fuse
def my_update(z: Any, n: Any, h: Any) -> Any:
    n = mg.tanh(n)
    return n + z * (h - n)


class MyGRU(nn.Cell):
    """A GRU that resets before the product, as a user writes it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = self.parameter(3 * hidden_size, input_size)
        self.u = self.parameter(3 * hidden_size, hidden_size)

    def project(self, x: mg.Tensor) -> Any:
        p_gates, p_n = mg.matmul(self.w, x).split((2 * self.hidden_size, self.hidden_size), -2)
        u_gates, u_n = self.u.split((2 * self.hidden_size, self.hidden_size))
        return p_gates, p_n, nn.Shared(u_gates), nn.Shared(u_n)

    def step(self, p: Any, h: mg.Tensor) -> mg.Tensor:
        p_gates, p_n, u_gates, u_n = p
        z, kept = my_reset(mg.affine(u_gates, h, p_gates), h)
        return my_update(z, mg.affine(u_n, kept, p_n), h)


def test_a_users_copy_costs_and_computes_the_same() -> None:
    ours = nn.GRU(3, 4, 2, bias=False, reset="before")
    users = nn.Recurrent(MyGRU, 3, 4, 2)
    users.load_state_dict(
        {
            name.replace("weight_ih", "w").replace("weight_hh", "u"): p
            for name, p in ours.state_dict().items()
        }
    )
    assert nodes_per_step(MyGRU) == 4
    x = mg.randn(5, 2, 3)
    results = []
    for layer in (ours, users):
        y, _ = layer(x)
        (y * y).sum().backward()
        results.append([y, *(p.grad for p in layer.parameters())])
    assert all((a == b).all() for a, b in zip(*results, strict=True))


# ---- what a GPU runs -----------------------------------------------------------------------------

FUSED = {
    name: value
    for module in (gru, lstm, norm, wrappers, grid)
    for name, value in vars(module).items()
    if isinstance(value, Fused)
}


def host_results(kernel: Kernel, lanes: list[np.ndarray]) -> list[np.ndarray]:
    """The kernel's output lanes, by its Python text."""
    given = iter(lanes)
    arrays = [np.concatenate([next(given) for _ in group.names]) for group in kernel.inputs]
    results = get_backend("cpu").compile(kernel)(*arrays)
    return [
        part
        for group, y in zip(kernel.outputs, results, strict=True)
        for part in np.split(y, len(group.names))
    ]


@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler")
def test_the_gpus_text_of_every_fused_function_is_numpys(tmp_path: Path) -> None:
    kernels: dict[str, Kernel] = {}
    for name, fused in FUSED.items():
        op = fused.op
        wanted = [True] * len(op.program.inputs)
        visible = [k < op.visible for k in range(len(op.full.outputs))]
        kernels |= {
            name: op.kernel(saving=True),
            f"d {name}": op.pullback(visible, wanted).kernel(),
        }
    assert len(kernels) == 2 * len(FUSED) > 20
    library = Library(kernels, tmp_path, {})
    random = np.random.default_rng(0)
    for name, kernel in kernels.items():
        count = sum(len(group.names) for group in kernel.inputs)
        lanes = [random.standard_normal((3, 4)) for _ in range(count)]
        for y, wanted in zip(library(name, lanes), host_results(kernel, lanes), strict=True):
            np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-14, err_msg=name)


# ---- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.LSTM(3, 4, proj_size=4), "smaller than hidden_size 4"),
        (lambda: nn.LSTMCell(3, 4, proj_size=-1), "proj_size"),
        (lambda: nn.GRU(3, 4, reset="later"), "'after' or 'before'"),
        (lambda: nn.RNN(3, 4, nonlinearity="gelu"), "'tanh', 'relu', 'sigmoid'"),
        (lambda: nn.MGU(3, 4, variant="MGU4"), "MGU, MGU1, MGU2, MGU3"),
        (lambda: nn.MGU(3, 4, bias=False, variant="MGU3"), "needs bias=True"),
        (lambda: nn.MGUCell(0, 4), "positive"),
    ],
)
def test_errors_say_what_was_expected(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_a_layer_passes_every_option_on() -> None:
    """Those of the driver, those of the cell, and where its parameters lie."""
    layer: Any = nn.LSTM(
        3, 4, 2, False, True, 0.1, True, proj_size=2, zoneout=0.2, dtype=mg.float64, device="cpu"
    )
    assert (layer.batch_first, layer.dropout, layer.zoneout) == (True, 0.1, 0.2)
    assert layer.weight_hr_l1_reverse.shape == (2, 4)
    assert layer.weight_ih_l1.shape == (16, 4)
    assert layer.weight_hh_l1.dtype == mg.float64
    assert not any("bias" in name for name, _ in layer.named_parameters())
    rnn: Any = nn.RNN(3, 4, 2, "relu", False)
    assert rnn.cells[1][0].nonlinearity == "relu"


def test_wrappers_hold_any_cell_and_carry_most_of_x_at_first() -> None:
    layer = nn.Recurrent(nn.Highway, 6, 6, 2, around=nn.LSTMCell, proj_size=2, bidirectional=True)
    y, (h, c) = layer(mg.randn(5, 3, 6))
    assert (y.shape, h.shape, c.shape) == ((5, 3, 4), (4, 3, 2), (4, 3, 6))
    names = dict(layer.named_parameters())
    assert names["cell.weight_hr_l1_reverse"].shape == (2, 6)
    assert names["weight_skip_l0"].shape == (2, 6)
    assert names["bias_t_l0"].tolist() == [-1.0, -1.0]
    plain = nn.Recurrent(nn.Residual, 6, 6, around=nn.GRUCell)
    x = mg.randn(5, 3, 6)
    inner = nn.GRU(6, 6)
    inner.load_state_dict({n.removeprefix("cell."): p for n, p in plain.state_dict().items()})
    assert mg.allclose(plain(x)[0], inner(x)[0] + x)
    assert (plain(x)[1] == inner(x)[1]).all()
    nested = nn.Recurrent(nn.Residual, 6, 6, around=partial(nn.Highway, around=MyGRU))
    assert nested(x)[0].shape == (5, 3, 6)
    assert "cell.cell.u_l0" in dict(nested.named_parameters())
