"""The peephole cell: its equations, what the driver makes of it, what it learns, and mistakes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
custom_cell = importlib.import_module("custom_cell")


def run(*args: Any) -> int:
    return custom_cell.main([*map(str, args), "--device", mg.get_default_device()])


def by_hand(cell: Any, x: np.ndarray) -> np.ndarray:
    """h of each step (steps, hidden) for one sequence (steps, inputs), with NumPy alone."""
    w_ih, w_hh, bias, peepholes = (
        p.detach().numpy() for p in (cell.weight_ih, cell.weight_hh, cell.bias, cell.peepholes)
    )
    see_i, see_f, see_o = np.split(peepholes[:, 0], 3)
    h = c = np.zeros(cell.hidden_size)
    out = []
    for x_t in x:
        i, f, g, o = np.split(w_ih @ x_t + w_hh @ h + bias, 4)
        c = sigmoid(f + see_f * c) * c + sigmoid(i + see_i * c) * np.tanh(g)
        h = sigmoid(o + see_o * c) * np.tanh(c)
        out.append(h)
    return np.array(out)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_layers_directions_and_lengths_are_those_of_plain_loops() -> None:
    layer = nn.Recurrent(custom_cell.PeepholeCell, 2, 3, num_layers=2, bidirectional=True).double()
    lengths = [5, 1, 4]
    x = np.random.default_rng(0).normal(size=(5, 3, 2))
    for row, n in enumerate(lengths):
        x[n:, row] = np.nan
    y, _ = layer(mg.tensor(x), lengths=lengths)

    for row, n in enumerate(lengths):
        expected = x[:n, row]
        for there, back in layer.cells:
            expected = np.concatenate(
                [by_hand(there, expected), by_hand(back, expected[::-1])[::-1]], axis=1
            )
        np.testing.assert_allclose(y.detach().numpy()[:n, row], expected, rtol=1e-12)
        assert (y.detach().numpy()[n:, row] == 0).all()


def test_partners_are_those_of_the_definition() -> None:
    def remaining(brackets: str) -> str:
        """What is left when pairs are taken out until there is none."""
        while "()" in brackets:
            brackets = brackets.replace("()", "")
        return brackets

    strings, x, y, lengths = custom_cell.draw_batch(np.random.default_rng(0), 200, 15)
    assert {len(s) for s in strings} == set(range(1, 16))
    for row, (string, n) in enumerate(zip(strings, lengths, strict=True)):
        assert len(string) == n
        alone = "".join(b for b, has in zip(string, y[:n, row], strict=True) if not has)
        assert alone == remaining(string)
        assert ["(" if v > 0 else ")" for v in x[:n, row, 0]] == list(string)
        assert np.isnan(x[n:, row]).all()


def test_it_learns_to_count_and_the_weights_give_the_same(tmp_path: Path, capsys: Any) -> None:
    options = ["--length", 10, "--hidden", 8, "--steps", 150]
    assert run(*options, "--out", tmp_path / "new") == 0
    printed = capsys.readouterr().out
    assert "target (0.98): met" in printed

    model = custom_cell.Tagger(8)
    model.load_state_dict(mg.load(tmp_path / "new" / custom_cell.WEIGHTS).tensors)
    args = custom_cell.parse([*map(str, options), "--device", mg.get_default_device()])
    accuracy, shown = custom_cell.judge(model, 10, args)
    assert f"right about {accuracy:.4f} of" in printed
    assert "\n".join(shown) in printed


def test_the_derived_code_is_shown(capsys: Any) -> None:
    assert run("--show-code") == 0
    assert "def peephole_gates_backward(" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert run("--out", tmp_path / "file") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("custom_cell: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--length", "0"), ("--hidden", "0"), ("--steps", "ten"), ("--seed", "-1")],
)
def test_options_out_of_range(flag: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        custom_cell.main([flag, value])
    assert stop.value.code == 2
    assert f"error: argument {flag}: " in capsys.readouterr().err
