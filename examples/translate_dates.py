"""Sequence to sequence: dates as people write them, translated into ISO dates letter by letter.

"Tuesday, 3rd of May 2011", "may 3, 11", "5/3/11" and "3.5.2011" are all 2011-05-03; where letters
stand one of them may be mistyped. A bidirectional LSTM reads the date, an LSTM cell writes it, and
before each letter that it writes, attention (Bahdanau et al., 2015) looks up where to read.

Two such networks learn the same lessons. With *teacher forcing* the writer reads the right letter
whatever it wrote itself; with *scheduled sampling* (Bengio et al., 2015) it has to go on, more and
more often, from what it wrote. Both then write greedily, by sampling, and by beam search.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _options import positive
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

READ = " 0123456789abcdefghijklmnopqrstuvwxyz,.-/"
WRITE = "0123456789-."  # the last one begins and ends what is written
END = len(WRITE) - 1
LONGEST = len("2011-05-03") + 1  # with the end
FIRST_DAY, DAYS = dt.date(1970, 1, 1), 36525  # so that two digits name the year
MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
BATCH = 64
TYPO = 0.5  # how often a date with letters has one mistyped
TRUST = 0.5  # how often, in the end, scheduled sampling still gives the right letter
TARGET = 0.95  # share of dates never seen before that are right to the letter
WEIGHTS, PICTURE = "model.safetensors", "attention.png"

# ---- dates ---------------------------------------------------------------------------------------


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, …"""
    teens = 10 < n < 14
    return f"{n}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


Form = Callable[[dt.date, str, str, str], str]
FORMS: tuple[Form, ...] = (  # of a date, the names of its weekday and month, and its year
    lambda d, w, m, y: f"{w}, {ordinal(d.day)} of {m} {y}",
    lambda d, w, m, y: f"{w}, {m} {d.day}, {y}",
    lambda d, w, m, y: f"{w} {d.day} {m} {y}",
    lambda d, _, m, y: f"the {ordinal(d.day)} of {m}, {y}",
    lambda d, _, m, y: f"{m} {d.day}, {y}",
    lambda d, _, m, y: f"{m} {ordinal(d.day)} {y}",
    lambda d, _, m, y: f"{d.day} {m} {y}",
    lambda d, _, m, y: f"{d.day:02}-{m[:3]}-{y}",
    lambda d, _w, _m, y: f"{d.month}/{d.day}/{y}",
    lambda d, _w, _m, y: f"{d.day}.{d.month}.{y}",
)


def write_out(day: dt.date, rng: np.random.Generator) -> str:
    """The date in a form drawn at random, perhaps abbreviated, perhaps with a letter mistyped."""
    weekday, month = WEEKDAYS[day.weekday()], MONTHS[day.month - 1]
    if rng.random() < 0.4:
        weekday, month = weekday[:3], month[:3]
    if rng.random() < TYPO:
        weekday, month = mistyped(weekday, rng), mistyped(month, rng)
    short = rng.random() < 0.3
    year = f"{day.year % 100:02}" if short else str(day.year)
    form = FORMS[rng.integers(len(FORMS))]
    return form(day, weekday, month, year)


def mistyped(word: str, rng: np.random.Generator) -> str:
    """The word with one letter left out, doubled, changed, or swapped with the next one."""
    i = int(rng.integers(len(word) - 1))
    a, b, rest = word[i], word[i + 1], word[i + 2 :]
    other = chr(ord("a") + int(rng.integers(26)))
    wrong = (b, a + a + b, other + b, b + a)[rng.integers(4)]
    return word[:i] + wrong + rest


def split_days(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """All days from 1970 on for a hundred years, shuffled; a tenth is put aside for the test."""
    days = np.random.default_rng(seed).permutation(DAYS)
    return days[DAYS // 10 :], days[: DAYS // 10]


Pairs = tuple[list[str], list[str]]


def draw_pairs(days: np.ndarray, rows: int, rng: np.random.Generator) -> Pairs:
    """Days drawn at random: as people write them, and in ISO form."""
    drawn = [FIRST_DAY + dt.timedelta(int(day)) for day in rng.choice(days, rows)]
    return [write_out(day, rng) for day in drawn], [day.isoformat() for day in drawn]


def encode(texts: Sequence[str]) -> tuple[np.ndarray, list[int]]:
    """Places in READ, int64 (rows, longest), and lengths; what lies beyond is never read."""
    lengths = [len(text) for text in texts]
    ids = np.zeros((len(texts), max(lengths)), dtype=np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = [READ.index(letter) for letter in text]
    return ids, lengths


def encode_iso(dates: Sequence[str]) -> np.ndarray:
    """Places in WRITE, int64 (rows, LONGEST), the end included."""
    return np.array([[WRITE.index(letter) for letter in date + WRITE[END]] for date in dates])


def spelled(tokens: mg.Tensor) -> list[str]:
    """What each row of tokens (rows, n) says, up to its end."""
    return ["".join(WRITE[i] for i in row).partition(WRITE[END])[0] for row in tokens.tolist()]


# ---- the network ---------------------------------------------------------------------------------


class Translator(nn.Module):
    """Reads letters (rows, steps), then takes steps: a letter and a state to log-probabilities.

    The state is ((h, c), memory, weights): the writer's, what was read, and where it looked last.
    """

    def __init__(self, hidden: int) -> None:
        self.read = nn.Embedding(len(READ), 24)
        self.encoder = nn.LSTM(24, hidden, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * hidden, hidden)
        self.write = nn.Embedding(len(WRITE), 16)
        self.attention = nn.AdditiveAttention(hidden, 2 * hidden, hidden)
        self.cell = nn.LSTMCell(16 + 2 * hidden, hidden)
        self.head = nn.Linear(3 * hidden, len(WRITE))

    def start(self, ids: mg.Tensor, lengths: list[int]) -> tuple[mg.Tensor, Any]:
        """The token that begins each row, and the state before it."""
        y, (h, _) = self.encoder(self.read(ids), lengths=lengths)
        memory = self.attention.memory(y, lengths)
        h = self.bridge(mg.cat([h[0], h[1]], dim=1)).tanh()
        tokens = mg.full((len(ids),), END, device=ids.device)
        return tokens, ((h, mg.zeros_like(h)), memory, mg.zeros_like(y[:, :, 0]))

    def step(self, tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        """One letter on: log-probabilities (rows, letters) and the next state."""
        (h, c), memory, _ = state
        context, weights = self.attention(h, memory)
        h, c = self.cell(mg.cat([self.write(tokens), context], dim=1), (h, c))
        logits = self.head(mg.cat([h, context], dim=1))
        return F.log_softmax(logits, dim=1), ((h, c), memory, weights)

    def loss(self, read: mg.Tensor, lengths: list[int], iso: mg.Tensor, trust: float) -> mg.Tensor:
        """Mean -log p of the right letters; each step reads the right one with probability trust.

        Otherwise it reads one drawn from what the network itself just said.
        """
        tokens, state = self.start(read, lengths)
        losses = []
        for right in iso.unbind(1):
            log_probs, state = self.step(tokens, state)
            losses.append(F.nll_loss(log_probs, right))
            trusted = mg.rand(right.shape, device=right.device) < trust
            tokens = right if trust == 1 else mg.where(trusted, right, mg.decode.draw(log_probs))
        return mg.stack(losses).mean()


def decay(step: int, steps: int) -> float:
    """Scheduled sampling's trust in the right letter: an inverse sigmoid from 1 down to TRUST."""
    late = 1 / (1 + math.exp(-10 * (step / steps - 0.5)))
    return 1 - (1 - TRUST) * late


# ---- the program ---------------------------------------------------------------------------------


def learn(scheduled: bool, days: np.ndarray, args: argparse.Namespace) -> Translator:
    """A network, trained with teacher forcing or with scheduled sampling."""
    mg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = Translator(args.hidden).to(args.device)
    batches = iter(range(args.steps))

    def loss_of_batch() -> mg.Tensor:
        read, iso = draw_pairs(days, BATCH, rng)
        ids, lengths = encode(read)
        trust = decay(next(batches), args.steps) if scheduled else 1.0
        ids, right = (mg.tensor(a, device=args.device) for a in (ids, encode_iso(iso)))
        return model.loss(ids, lengths, right, trust)

    label = "scheduled sampling" if scheduled else "teacher forcing"
    fit(model, loss_of_batch, args.steps, lr=6e-3, label=f"{label}: loss")
    return model.eval()


@mg.no_grad()
def translate(model: Translator, texts: Sequence[str], way: str, device: str) -> list[str]:
    """What the network writes for each text, in one of the WAYS."""
    ids, lengths = encode(texts)
    tokens, state = model.start(mg.tensor(ids, device=device), lengths)
    return WAYS[way](model.step, state, tokens)


def _greedy(step: mg.decode.Step, state: Any, tokens: mg.Tensor) -> list[str]:
    return spelled(mg.decode.greedy(step, state, tokens, end=END, max_length=LONGEST).tokens)


def _sample(step: mg.decode.Step, state: Any, tokens: mg.Tensor) -> list[str]:
    return spelled(mg.decode.sample(step, state, tokens, end=END, max_length=LONGEST).tokens)


def _beam(step: mg.decode.Step, state: Any, tokens: mg.Tensor) -> list[str]:
    beams = mg.decode.beam_search(
        step, state, tokens, end=END, max_length=LONGEST, beam_size=5, length_penalty=1.0
    )
    return spelled(beams.tokens[:, 0])


WAYS: dict[str, Callable[..., list[str]]] = {"greedy": _greedy, "sampled": _sample, "beam": _beam}


def run(args: argparse.Namespace) -> None:
    """Trains both networks, compares them and the ways of writing, translates what was asked."""
    lessons, aside = split_days(args.seed)
    models = {
        name: learn(name == "scheduled sampling", lessons, args)
        for name in ("teacher forcing", "scheduled sampling")
    }
    texts, truth = draw_pairs(aside, args.tested, np.random.default_rng(args.seed + 1))
    print(f"right to the letter, of {len(texts)} dates never seen before")
    print(f"  {'':20}" + "".join(f"{way:>9}" for way in WAYS))
    right: dict[tuple[str, str], float] = {}
    for name, model in models.items():
        for way in WAYS:
            said = translate(model, texts, way, args.device)
            right[name, way] = float(np.mean([a == b for a, b in zip(said, truth, strict=True)]))
        print(f"  {name:20}" + "".join(f"{right[name, way]:9.3f}" for way in WAYS))
    best = max(models, key=lambda name: right[name, "beam"])
    show_verdict(f"beam {TARGET}", right[best, "beam"] >= TARGET)

    model = models[best]
    mg.save(args.out / WEIGHTS, model.state_dict())
    for text, iso in zip(args.date, translate(model, args.date, "beam", args.device), strict=True):
        print(f"{text} → {iso}")
    shown = [attention_of(model, text, args.device) for text in args.date[:4]]
    save_picture(args.out / PICTURE, lambda figure: draw(figure, shown), (11, 7.5))


@mg.no_grad()
def attention_of(model: Translator, text: str, device: str) -> tuple[str, str, np.ndarray]:
    """A text, what is written for it greedily, and where each letter looked (letters, steps)."""
    ids, lengths = encode([text])
    tokens, state = model.start(mg.tensor(ids, device=device), lengths)
    rows: list[np.ndarray] = []

    def step(tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        log_probs, state = model.step(tokens, state)
        rows.append(state[2][0].cpu().numpy())
        return log_probs, state

    (said,) = _greedy(step, state, tokens)
    return text, said, np.stack(rows[: len(said)])


def draw(figure: Any, shown: list[tuple[str, str, np.ndarray]]) -> None:
    """One matrix a date: a row for each letter that is written, a column for each that is read."""
    figure.suptitle("Where the network looks (columns) while it writes (rows)")
    several = figure.subplots(2, 2).flat
    for axes, (text, said, weights) in zip(several, shown, strict=False):
        axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(text)), list(text), family="monospace")
        axes.set_yticks(range(len(said)), list(said), family="monospace")
        axes.set_title(f"{text} → {said}", fontsize=10)
        axes.tick_params(length=0)
    for axes in several:  # fewer dates than places
        axes.set_axis_off()


def readable(text: str) -> str:
    unknown = "".join(sorted(set(text.lower()) - set(READ)))
    if unknown or not text.strip():
        reason = f"of the letters {READ!r}, got {text!r}"
        raise argparse.ArgumentTypeError(f"expected a date {reason}")
    return text.lower()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("translate_dates", __doc__, hidden=64, steps=600)
    add = parser.add_argument
    add("--tested", type=positive, default=1000, metavar="N", help="dates to test (%(default)s)")
    add(
        "--date",
        type=readable,
        nargs="+",
        metavar="DATE",
        default=[
            "tuesday, 3rd of may 2011",
            "5/3/11",
            "the 21st of febuary, 1999",
            "sat 30 dcember 68",
        ],
        help="dates to translate in the end (%(default)s)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
