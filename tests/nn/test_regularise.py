"""Dropout and zoneout: plain NumPy with the masks that were drawn; exact in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import parts
from tests.nn_table import ROWS, Row, sigmoid

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
DROPOUTS = ("dropout", "variational_dropout", "recurrent_dropout", "weight_dropout")
EVERY = [*DROPOUTS, "zoneout"]
options = pytest.mark.parametrize("option", EVERY)


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def layer_of(row: Row, **options: Any) -> nn.Recurrent:
    return nn.Recurrent(row.cell, 3, 4, **options).double()


def inputs(steps: int = 6, batch: int = 3) -> mg.Tensor:
    return mg.randn(steps, batch, 3, dtype=mg.float64)


def run_by_hand(row: Row, weights: list[dict[str, np.ndarray]], x: np.ndarray) -> np.ndarray:
    """Outputs (T, B, H) in plain NumPy, each row of the batch with weights of its own."""
    y = np.zeros((*x.shape[:2], 4))
    for b, w in enumerate(weights):
        state = (np.zeros(4),) * row.parts
        for t in range(x.shape[0]):
            state = row.step(w, x[t, b], state)
            y[t, b] = state[0]
    return y


def own_weights(layer: nn.Recurrent) -> dict[str, np.ndarray]:
    return {name.removesuffix("_l0"): host(p) for name, p in layer.state_dict().items()}


# ---- what each does ------------------------------------------------------------------------------


@rows
def test_weight_dropout_is_one_mask_for_all_steps_and_rows(row: Row) -> None:
    layer, x = layer_of(row, weight_dropout=0.4), inputs()
    y, _, (trace,) = layer(x, trace=True)
    thin, whole = host(trace.cell.weight_hh), own_weights(layer)
    ratio = thin / whole["weight_hh"]
    assert {0.0} < set(np.round(ratio, 12).ravel()) <= {0.0, round(1 / 0.6, 12)}
    wanted = run_by_hand(row, [whole | {"weight_hh": thin}] * 3, host(x))
    np.testing.assert_allclose(host(y), wanted, rtol=0, atol=1e-12)


@rows
def test_recurrent_dropout_is_one_mask_a_row_on_what_the_weight_multiplies(row: Row) -> None:
    """W (m ∘ h) = (W diag m) h: the state itself, which a GRU carries over, keeps all its units."""
    layer, x = layer_of(row, recurrent_dropout=0.4), inputs()
    y, _, (trace,) = layer(x, trace=True)
    mask, whole = host(trace.cell.weight_hh.mask), own_weights(layer)
    assert mask.shape == (4, 3)
    assert {0.0} < set(np.round(mask, 6).ravel()) <= {0.0, round(1 / 0.6, 6)}
    weights = [whole | {"weight_hh": whole["weight_hh"] * mask[:, b]} for b in range(3)]
    np.testing.assert_allclose(host(y), run_by_hand(row, weights, host(x)), rtol=0, atol=1e-6)


@rows
def test_variational_dropout_is_one_mask_for_all_steps(row: Row) -> None:
    layer, x = layer_of(row, variational_dropout=0.4), inputs().requires_grad_()
    y, _ = layer(x)
    (gx,) = mg.autograd.grad(y.sum(), x)
    seen = host(gx) != 0
    assert (seen == seen.any(axis=0)).all()
    assert 0 < seen.mean() < 1
    thinned = mg.where(mg.tensor(seen), x.detach(), 0.0) / np.float64(np.float32(0.6))
    assert mg.allclose(layer.eval()(thinned)[0], y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 3, 3), (500, 20, 3)])
def test_dropout_between_layers_draws_anew_each_step(shape: tuple[int, ...]) -> None:
    layer = nn.GRU(3, 4, num_layers=2, dropout=0.4)
    _, _, (_, upper) = layer(mg.randn(*shape), trace=True)
    weight, bias = upper.cell.weight_ih, upper.cell.bias_ih
    gone = np.stack([host((p - bias.unsqueeze(1)).abs().sum(0)) for p in upper.projected])
    assert weight.shape == (12, 4)
    if shape[0] == 500:  # all four features of a step go with probability 0.4⁴ = 0.0256
        assert 0.015 < (gone < 1e-6).mean() < 0.035


@rows
def test_zoneout_keeps_units_in_training(row: Row) -> None:
    layer, x = layer_of(row, zoneout=0.3), inputs(40)
    y, last, (trace,) = layer(x, trace=True)
    following = [*trace.before[1:], parts_at_end(last)]
    shares = []
    for before, after, then in zip(trace.before, trace.after, following, strict=True):
        for b, a, c in zip(*map(parts, (before, after, then)), strict=True):
            stays, moves = host(c == b), host(c == a)
            assert (stays | moves).all()
            shares.append((stays & ~moves).mean() / max((host(a != b)).mean(), 1e-9))
    assert 0.2 < np.mean(shares) < 0.4
    for t, then in enumerate(following):
        assert (y[t] == parts(then)[0].T).all()


def parts_at_end(last: Any) -> Any:
    """The last state (1, B, H) as cells hold it, (H, B)."""
    found = tuple(part[0].T for part in parts(last))
    return found if isinstance(last, tuple) else found[0]


@rows
def test_zoneout_is_its_expectation_in_evaluation(row: Row) -> None:
    layer, x = layer_of(row, zoneout=0.3).eval(), inputs()
    y, _ = layer(x)
    weights, wanted = own_weights(layer), np.zeros(y.shape)
    for b in range(3):
        state = (np.zeros(4),) * row.parts
        for t in range(6):
            after = row.step(weights, host(x)[t, b], state)
            state = tuple(0.3 * s + 0.7 * a for s, a in zip(state, after, strict=True))
            wanted[t, b] = state[0]
    np.testing.assert_allclose(host(y), wanted, rtol=0, atol=1e-12)


def test_zoneout_of_one_part_of_the_state() -> None:
    x = inputs(20)
    frozen = nn.Recurrent(nn.LSTMCell, 3, 4, zoneout={"c": 1.0}).double()
    _, (h, c) = frozen(x)
    assert (c == 0).all()
    assert not (h == 0).any()
    _, (h, c) = frozen.eval()(x)
    assert (c == 0).all()
    assert not (h == 0).any()
    both = nn.Recurrent(nn.LSTMCell, 3, 4, zoneout={"c": 1.0, "h": 1.0}).double()
    assert all((part == 0).all() for part in both(x)[1])


# ---- what all have in common -----------------------------------------------------------------


@rows
@pytest.mark.parametrize("option", DROPOUTS)
def test_evaluation_is_exact(row: Row, option: str) -> None:
    plain = nn.Recurrent(row.cell, 3, 4, 2, bidirectional=True).eval()
    other = nn.Recurrent(row.cell, 3, 4, 2, bidirectional=True, **{option: 0.5})
    other.load_state_dict(plain.state_dict())
    x = mg.randn(5, 2, 3)
    assert not (other(x)[0] == plain(x)[0]).all()
    assert (other.eval()(x)[0] == plain(x)[0]).all()


@options
@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell])
def test_masks_come_from_the_generator_and_can_be_replayed(cell: Any, option: str) -> None:
    generator = mg.Generator(5)
    layer = nn.Recurrent(cell, 3, 4, 3, bidirectional=True, generator=generator, **{option: 0.5})
    x = mg.randn(5, 2, 3)
    mg.manual_seed(1)
    expected = mg.rand(3)
    mg.manual_seed(1)
    start = generator.get_state()
    first = layer(x)[0]
    assert (mg.rand(3) == expected).all()  # the default generator was left alone
    assert not (layer(x)[0] == first).all()
    generator.set_state(start)
    assert (layer(x)[0] == first).all()
    layer.generator = None
    mg.manual_seed(5)
    assert (layer(x)[0] == first).all()


@pytest.mark.parametrize("chosen", [*([name] for name in EVERY), EVERY], ids="+".join)
@pytest.mark.parametrize("checkpoint", [False, 2])
@rows
def test_poison_in_the_padding_changes_no_bit(
    row: Row, chosen: list[str], checkpoint: bool | int
) -> None:
    rates: dict[str, Any] = dict.fromkeys(chosen, 0.4)
    layer = nn.Recurrent(row.cell, 3, 4, 2, bidirectional=True, checkpoint=checkpoint, **rates)
    lengths, x = [5, 0, 2], mg.randn(5, 3, 3)
    reset = np.random.default_rng(2).random((5, 3)) < 0.4
    padding = mg.arange(5).reshape(-1, 1, 1) >= mg.tensor(lengths).reshape(1, -1, 1)
    found = []
    for value in (0.25, float("nan")):
        filled = mg.where(padding, value, x).detach().requires_grad_()
        mg.manual_seed(3)
        y, last = layer(filled, lengths=lengths, reset=reset)
        loss = y.square().sum() + sum(part.sin().sum() for part in parts(last))
        gradients = mg.autograd.grad(loss, [filled, *layer.parameters()])
        found.append([host(t).tobytes() for t in (y, *parts(last), *gradients)])
    assert found[0] == found[1]


@rows
def test_a_row_alone_equals_the_row_in_a_batch(row: Row) -> None:
    layer = layer_of(row, num_layers=2, bidirectional=True, zoneout=0.2, recurrent_dropout=0.3)
    layer.eval()
    lengths, x = [4, 1, 6], inputs()
    reset = np.random.default_rng(0).random((6, 3)) < 0.4
    y, last = layer(x, lengths=lengths, reset=reset)
    for b, n in enumerate(lengths):
        alone, state = layer(x[:n, b : b + 1], reset=reset[:n, b : b + 1])
        assert mg.allclose(alone[:, 0], y[:n, b], rtol=1e-12, atol=1e-14)
        for one, all_of_them in zip(parts(state), parts(last), strict=True):
            assert mg.allclose(one[:, 0], all_of_them[:, b], rtol=1e-12, atol=1e-14)


def test_options_are_shown() -> None:
    layer = nn.GRU(3, 4, 2, dropout=0.1, zoneout={"h": np.float32(0.5)}, checkpoint=True)
    assert repr(layer) == (
        "GRU(3, 4, num_layers=2, dropout=0.1, zoneout={'h': np.float32(0.5)}, checkpoint=True)"
    )
    assert repr(nn.LSTM(3, 4)) == "LSTM(3, 4)"


def test_everything_dropped() -> None:
    x = inputs()
    for option in ("weight_dropout", "recurrent_dropout"):
        layer: Any = nn.Recurrent(nn.GRUCell, 3, 4, **{option: 1.0}).double()
        y = host(layer(x)[0])
        w, h = own_weights(layer), np.zeros((3, 4))
        for t in range(6):  # the products with the state are 0, the state itself is not
            a = host(x)[t] @ w["weight_ih"].T + w["bias_ih"]
            (r, z, n), (b_r, b_z, b_n) = np.split(a, 3, axis=1), np.split(w["bias_hh"], 3)
            z = sigmoid(z + b_z)
            h = (1 - z) * np.tanh(n + sigmoid(r + b_r) * b_n) + z * h
            np.testing.assert_allclose(y[t], h, rtol=0, atol=1e-12)


# ---- cells of users ----------------------------------------------------------------------------


class Unnamed(nn.Cell):
    """A cell with names of its own, a product of a block of rows, and a cell within it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = self.parameter(hidden_size, input_size)
        self.u = self.parameter(3 * hidden_size, hidden_size)
        self.inner = nn.RNNCell(hidden_size, hidden_size)

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return mg.matmul(self.w, x)

    def step(self, p: Any, h: mg.Tensor) -> mg.Tensor:
        first, second, _ = self.u.chunk(3)
        middle = (first @ h).tanh() + self.u[: self.hidden_size] @ h + mg.affine(second, h, p)
        return self.inner.step(self.inner.project(middle), h)


class Named(Unnamed):
    recurrent_weights = ("u",)


class Misnamed(Unnamed):
    recurrent_weights = ("u", "v")


class Transposed(Named):
    def step(self, p: Any, h: mg.Tensor) -> mg.Tensor:
        return (h.T @ self.u[: self.hidden_size]).T + p


class Bare(Unnamed):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = nn.Identity()


def test_a_cell_names_its_recurrent_weights() -> None:
    x = inputs()
    for option in ("weight_dropout", "recurrent_dropout"):
        layer = nn.Recurrent(Named, 3, 4, **{option: 0.5}).double()
        y, _, (trace,) = layer(x, trace=True)
        cell, thin = layer.cells[0][0], trace.cell
        assert thin.u is not cell.u
        assert thin.inner.weight_hh is not cell.inner.weight_hh
        assert thin.inner.weight_ih is cell.inner.weight_ih
        y.sum().backward()
        assert all(p.grad is not None for p in layer.parameters())
        masks = [thin.u.mask, thin.inner.weight_hh.mask] if option == "recurrent_dropout" else []
        h = mg.zeros(4, 3, dtype=mg.float64)
        for t in range(6):
            through, inner = ([m * h for m in masks]) or [h, h]
            u, v = (w.weight if masks else w for w in (thin.u, thin.inner.weight_hh))
            first, second, _ = u.chunk(3)
            middle = mg.tanh(first @ through) + first @ through
            middle = middle + second @ through + cell.w @ x[t].T
            h = mg.tanh(cell.inner.project(middle) + v @ inner)
            assert mg.allclose(y[t], h.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("option", ["weight_dropout", "recurrent_dropout"])
def test_a_cell_without_names_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=r"Bare .*recurrent_weights = "):
        nn.Recurrent(Bare, 3, 4, **{option: 0.5})
    with pytest.raises(ValueError, match=r"Misnamed.*\['v'\]"):
        nn.Recurrent(Misnamed, 3, 4, **{option: 0.5})


def test_products_that_recurrent_dropout_cannot_see_are_refused() -> None:
    layer = nn.Recurrent(Transposed, 3, 4, recurrent_dropout=0.5)
    with pytest.raises(TypeError, match="on the left; the cell's step uses it in matmul"):
        layer(mg.randn(5, 2, 3))
    layer.eval()(mg.randn(5, 2, 3))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"zoneout": 1.5}, "zoneout must be a probability"),
        ({"zoneout": {"c": -1}}, "zoneout must be a probability"),
        ({"zoneout": {"x": 0.1}}, r"LSTMCell has \('h', 'c'\), not \['x'\]"),
        *(({name: 2.0}, f"{name} must be a probability, got 2.0") for name in DROPOUTS),
        ({"checkpoint": -1}, "number of segments"),
    ],
)
def test_errors_say_what_was_expected(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nn.Recurrent(nn.LSTMCell, 3, 4, **given)
