"""The command line of char_lm.py, and the recipe: the options that make a run what it is."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from _text import InputError

import minigrad as mg


@dataclass(frozen=True)
class Recipe:
    """What is settled when a run begins; a checkpoint holds it, and a resumed run keeps to it."""

    cell: str = "lstm"
    embedding: int = 64
    hidden: int = 256
    layers: int = 1
    dropout: float = 0.2
    seq_len: int = 64
    batch: int = 16
    lr: float = 4e-3
    clip: float = 1.0
    seed: int = 1
    steps: int = 1800


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Reads the command line; options of the recipe that were not given are absent from it."""
    parser = argparse.ArgumentParser(
        "char_lm.py",
        description="Trains a recurrent network to continue a text, character by character.",
        epilog="Ctrl-C saves before it stops. Go on with --resume OUT/checkpoint.safetensors.",
    )
    recipe = parser.add_argument_group("recipe (a resumed run takes it from the checkpoint)")
    default = Recipe()

    def add(flag: str, meaning: str, metavar: str | None = None, **how: Any) -> None:
        value = getattr(default, flag.removeprefix("--").replace("-", "_"))
        how |= {"default": argparse.SUPPRESS, "help": f"{meaning} ({value})", "metavar": metavar}
        recipe.add_argument(flag, **how)

    add("--cell", "the recurrent cell", choices=("rnn", "lstm", "gru"))
    add("--embedding", "size of a character's vector", "N", type=positive)
    add("--hidden", "size of the recurrent state", "N", type=positive)
    add("--layers", "recurrent layers", "N", type=positive)
    add("--dropout", "share of units dropped, in [0, 1)", "P", type=share)
    add("--seq-len", "characters in a chunk: how far gradients flow back", "N", type=positive)
    add("--batch", "streams of text read side by side", "N", type=positive)
    add("--lr", "highest learning rate of Adam", "LR", type=above_zero)
    add("--clip", "largest norm of the gradient", "NORM", type=above_zero)
    add("--seed", "of the first weights and of dropout", "N", type=not_negative)
    add("--steps", "chunks to train on", "N", type=positive)

    run = parser.add_argument_group("this run")
    add = run.add_argument
    add("--text", type=Path, metavar="FILE", help="UTF-8 text (the Python documentation)")
    add("--device", type=device, default="cpu", help="cpu or cuda (%(default)s)")
    add("--out", type=Path, metavar="DIR", help="for the checkpoint and the picture (runs/char_lm)")
    add("--resume", type=Path, metavar="CHECKPOINT", help="go on where this training stopped")
    add("--stop-after", type=positive, metavar="STEP", help="save and stop there; resume later")
    add("--sample", type=prompt, metavar="PROMPT", help="do not train: let OUT's model continue it")
    add(
        "--temperature",
        type=above_zero,
        default=0.7,
        metavar="T",
        help="of samples: lower is safer, higher is wilder (%(default)s)",
    )
    add("--length", type=positive, default=300, metavar="N", help="of samples (%(default)s)")

    args = parser.parse_args(argv)
    names = [field.name for field in fields(Recipe)]
    args.given = {name: getattr(args, name) for name in names if hasattr(args, name)}
    if args.out is None:
        args.out = args.resume.parent if args.resume else Path("runs/char_lm")
    return args


def agreed(saved: dict[str, object], given: dict[str, object]) -> Recipe:
    """The recipe of a checkpoint; raises InputError when the command line asks for another one."""
    recipe = replace(Recipe(), **saved)
    for name, value in given.items():
        if asdict(recipe)[name] != value:
            flag = "--" + name.replace("_", "-")
            raise InputError(
                f"the checkpoint was trained with {flag} {asdict(recipe)[name]}, not {value}: "
                f"leave out {flag}, or start anew without --resume"
            )
    return recipe


def positive(text: str) -> int:
    return check(int(text), int(text) >= 1, "1 or more")


def even(text: str) -> int:
    return check(int(text), int(text) >= 2 and int(text) % 2 == 0, "an even number, 2 or more")


def not_negative(text: str) -> int:
    return check(int(text), int(text) >= 0, "0 or more")


def above_zero(text: str) -> float:
    return check(float(text), 0 < float(text) < float("inf"), "above 0, and finite")


def share(text: str) -> float:
    return check(float(text), 0 <= float(text) < 1, "in [0, 1)")


def prompt(text: str) -> str:
    return check(text, text != "", "one character or more")


def device(name: str) -> str:
    try:
        mg.zeros(1, device=name)
    except (ValueError, ImportError, RuntimeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def check(value: Any, fits: bool, expected: str) -> Any:
    if not fits:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {value!r}")
    return value
