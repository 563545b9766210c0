"""What programs share: exit codes, one line for each mistake, the training loop, the baseline."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
program = importlib.import_module("_program")
bag = importlib.import_module("_bag")
text = importlib.import_module("_text")

NAMES = (*("classify_names", "copy_memory", "forecast", "sentiment", "spell_digits", "tag_python"),)


def arguments(tmp_path: Path, *given: str) -> Any:
    parser = program.options("one", "About one.\n\nMore.", hidden=8, steps=5)
    return parser.parse_args(
        [*given, "--out", str(tmp_path / "new"), "--device", mg.get_default_device()]
    )


def test_options_have_the_program_s_defaults(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    assert (args.hidden, args.steps, args.seed) == (8, 5, 0)
    assert arguments(tmp_path, "--hidden", "3").hidden == 3


def test_a_program_that_ends_well(tmp_path: Path) -> None:
    seen: list[float] = []

    def run(args: Any) -> None:
        assert args.out.is_dir()
        seen.append(mg.rand(1).item())

    for seed in "1", "1", "2":
        assert program.run_program(run, arguments(tmp_path, "--seed", seed)) == 0
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    ("error", "code"),
    [(text.InputError("no such"), 2), (OSError("disk"), 2), (KeyboardInterrupt(), 130)],
)
def test_a_program_that_cannot_go_on(
    error: BaseException, code: int, tmp_path: Path, capsys: Any
) -> None:
    def run(_args: Any) -> None:
        raise error

    assert program.run_program(run, arguments(tmp_path)) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (str(error) or "interrupted; nothing was saved") in said


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background and it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_amid_the_training(tmp_path: Path, capsys: Any) -> None:
    model = nn.Linear(1, 1)

    def loss_of_batch() -> mg.Tensor:
        signal.raise_signal(signal.SIGINT)
        return model(mg.ones(1, 1)).sum()

    def run(args: Any) -> None:
        program.fit(model, loss_of_batch, args.steps, lr=0.1)

    assert program.run_program(run, arguments(tmp_path)) == 130
    assert "interrupted" in capsys.readouterr().err


def test_fit_descends() -> None:
    mg.manual_seed(0)
    model, x = nn.Linear(3, 1), mg.randn(50, 3)
    y = x @ mg.tensor([[1.0], [-2.0], [0.5]])
    losses = program.fit(model, lambda: F.mse_loss(model(x), y), 200, lr=0.1)
    assert len(losses) == 200
    assert losses[-1] < 1e-3 < losses[0]


def test_pictures(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    path = tmp_path / "a.png"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    program.save_picture(path, lambda figure: figure.subplots(), (2, 2))
    assert "no picture: matplotlib is missing" in capsys.readouterr().out
    assert not path.exists()
    monkeypatch.undo()
    pytest.importorskip("matplotlib")  # of the extra `train`
    program.save_picture(path, lambda figure: figure.subplots(), (2, 2))
    assert path.stat().st_size > 1000


def test_the_bag_counts_and_does_not_see_order() -> None:
    mg.manual_seed(0)
    bags = [list(b) for b in ("aab", "aba", "abb", "bba", "bab", "aaab")]
    classes = np.array([0, 0, 1, 1, 1, 0])
    np.testing.assert_allclose(
        bag.count(["ab", "bbz"], {"a": 0, "b": 1}), np.log([[2, 2], [1, 3]]), rtol=1e-6
    )
    said = bag.bag_baseline(bags, classes, ["baa", "bbbb", "aa", "zb"])
    assert said.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_cannot_be_made(name: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert importlib.import_module(name).main(["--out", str(tmp_path / "file")]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"{name}: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("name", ["sentiment", "tag_python"])
def test_states_that_are_halved_have_an_even_size(name: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(name).main(["--hidden", "7"])
    assert "--hidden: expected an even number, 2 or more, got 7" in capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("flag", "value"),
    [("--hidden", "0"), ("--steps", "ten"), ("--seed", "-1"), ("--device", "tpu")],
)
def test_options_out_of_range(name: str, flag: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(name).main([flag, value])
    assert stop.value.code == 2
    assert f"error: argument {flag}: " in capsys.readouterr().err
