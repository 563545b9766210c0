"""Reviews with "not", "nobody would say" and "but": a deep bidirectional GRU against a bag of words.

No reviews lie on every machine, so a grammar writes them: `clause` and `review` below are all of
it. It has what makes sentiment more than a count of good and bad words. A negation turns round what
follows it, several words away, or a second one turns it back: "nobody would say that it was far
from boring". With "but" the second part decides, with "although" the one that it does not
introduce.

The classifiers are written as in a course: a class with a plain RNN, and classes that inherit it and
put an LSTM, or a deep bidirectional GRU, in the RNN's place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _bag import bag_baseline
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

TARGET = 0.97  # share of new reviews that the deep GRU judges rightly
BATCH, TAUGHT, ASKED = 64, 6000, 2000
DEPTH, DEEPER = 2, 4  # of the reviews taught, and of some that are harder than any of them
WEIGHTS, PICTURE = "model.safetensors", "sentiment.png"
SHOWN = (
    "although the music was brilliant , nobody would say that the film is good",
    "it is not true that the plot was far from funny but i do not think that it is very warm",
)

# ---- the reviews ---------------------------------------------------------------------------------

GOOD = ("great", "good", "funny", "moving", "brilliant", "clever", "charming", "gripping", "warm")
BAD = ("bad", "dull", "boring", "awful", "weak", "clumsy", "shallow", "silly", "tedious")
SUBJECTS = ("the film", "the plot", "the cast", "the ending", "the music", "the second half", "it")
ASIDES = ("which lasts two hours", "with all its songs", "that everybody talks about", "", "", "")
NEGATIONS = ("not", "not at all", "hardly", "anything but", "far from")
DEGREES = ("very", "really", "so", "quite", "", "")
FRAMES = ("i would say that", "everybody agrees that", "they say that")
NEGATING_FRAMES = ("nobody would say that", "i do not think that", "it is not true that")


class Review(NamedTuple):
    text: str  # words, separated by spaces
    praise: bool
    turns: int  # how many negations its judgement goes through


def clause(rng: np.random.Generator) -> Review:
    """For example "the plot with all its songs was not at all boring": praise, turned once."""
    good, negated = rng.random() < 0.5, rng.random() < 0.35
    words = [
        *(rng.choice(SUBJECTS), rng.choice(ASIDES), rng.choice(("is", "was", "seemed"))),
        *(rng.choice(NEGATIONS) if negated else "", rng.choice(DEGREES)),
        rng.choice(GOOD if good else BAD),
    ]
    return Review(" ".join(filter(None, words)), good != negated, int(negated))


def review(rng: np.random.Generator, depth: int) -> Review:
    """A clause, or, up to `depth` times around it, a frame or a second part that may decide."""
    if depth == 0:
        return clause(rng)
    inner = review(rng, depth - 1)
    match rng.integers(5):
        case 0:
            return inner
        case 1:
            return inner._replace(text=f"{rng.choice(FRAMES)} {inner.text}")
        case 2:
            text = f"{rng.choice(NEGATING_FRAMES)} {inner.text}"
            return Review(text, not inner.praise, inner.turns + 1)
        case 3:
            return inner._replace(text=f"{clause(rng).text} but {inner.text}")
        case _:
            return inner._replace(text=f"although {clause(rng).text} , {inner.text}")


def reviews(rng: np.random.Generator, n: int, depth: int) -> list[Review]:
    return [review(rng, depth) for _ in range(n)]


def vocabulary() -> dict[str, int]:
    """Every word of the grammar and its number."""
    groups = (GOOD, BAD, SUBJECTS, ASIDES, NEGATIONS, DEGREES, FRAMES, NEGATING_FRAMES)
    phrases = [phrase for group in groups for phrase in group]
    words = {word for phrase in phrases for word in phrase.split()}
    words |= {"is", "was", "seemed", "but", "although", ","}
    return {word: i for i, word in enumerate(sorted(words))}


NUMBER_OF = vocabulary()


def pieces(text: str, longest: int) -> list[str]:
    """All runs of up to `longest` words.

    >>> pieces("not at all", 2)
    ['not', 'at', 'all', 'not at', 'at all']
    """
    words = text.split()
    return [
        " ".join(words[i : i + n]) for n in range(1, longest + 1) for i in range(len(words) - n + 1)
    ]


def encode(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Words as numbers, int64 (longest, rows), and lengths; beyond them nothing is read."""
    split = [text.split() for text in texts]
    lengths = np.array([len(words) for words in split])
    ids = np.zeros((lengths.max(), len(split)), dtype=np.int64)
    for row, words in enumerate(split):
        ids[: len(words), row] = [NUMBER_OF[word] for word in words]
    return ids, lengths


# ---- the classifiers -----------------------------------------------------------------------------


class Classifier(nn.Module):
    """From words (steps, rows) and lengths to logits (rows, classes)."""

    def __init__(self, vocab_size: int, embed_dim: int, hidden_dim: int, layers: int, classes: int):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim)
        self.rnn_stack = nn.RNN(embed_dim, hidden_dim, layers)
        self.out = nn.Linear(hidden_dim, classes)

    def forward(self, words: mg.Tensor, lengths: mg.Tensor) -> mg.Tensor:
        outputs, _ = self.rnn_stack(self.embedding(words), lengths=lengths)
        mean = outputs.sum(dim=0) / lengths.unsqueeze(1)  # outputs are 0 beyond the lengths
        return self.out(mean)


class LSTMClassifier(Classifier):
    def __init__(self, vocab_size: int, embed_dim: int, hidden_dim: int, layers: int, classes: int):
        super().__init__(vocab_size, embed_dim, hidden_dim, layers, classes)
        self.rnn_stack = nn.LSTM(embed_dim, hidden_dim, layers)


class DeepGRUClassifier(Classifier):
    def __init__(self, vocab_size: int, embed_dim: int, hidden_dim: int, layers: int, classes: int):
        super().__init__(vocab_size, embed_dim, hidden_dim, layers, classes)
        self.rnn_stack = nn.GRU(
            embed_dim, hidden_dim // 2, layers + 1, bidirectional=True, dropout=0.2
        )


@mg.no_grad()
def praise(model: Classifier, texts: list[str], device: str) -> np.ndarray:
    """p(praise | text), (len(texts),)."""
    model.eval()
    words, lengths = (mg.tensor(a, device=device) for a in encode(texts))
    p = F.softmax(model(words, lengths), dim=1).numpy()[:, 1]
    model.train()
    return p


def learn(model: Classifier, label: str, taught: list[Review], args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        batch = [taught[i] for i in rng.integers(0, len(taught), BATCH)]
        words, lengths = encode([r.text for r in batch])
        truth = np.array([r.praise for r in batch], dtype=np.int64)
        words, lengths, truth = (mg.tensor(a, device=args.device) for a in (words, lengths, truth))
        return F.cross_entropy(model(words, lengths), truth)

    fit(model, loss_of_batch, args.steps, lr=4e-3, label=f"{label}: loss")


# ---- the program ---------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Trains the three classifiers and compares them with counting words, pairs and triples."""
    rng = np.random.default_rng(args.seed)
    taught = reviews(rng, TAUGHT, DEPTH)
    known = {r.text for r in taught}
    asked = [r for r in reviews(rng, ASKED, DEPTH) if r.text not in known]
    deeper = reviews(rng, ASKED, DEEPER)
    print("one of the reviews:", max(asked[:20], key=lambda r: len(r.text)).text)

    sizes = {"vocab_size": len(NUMBER_OF), "embed_dim": 32, "hidden_dim": args.hidden}
    kinds = {"RNN": Classifier, "LSTM": LSTMClassifier, "deep GRU": DeepGRUClassifier}
    models = {name: kind(**sizes, layers=2, classes=2) for name, kind in kinds.items()}
    for name, model in models.items():
        learn(model.to(args.device), name, taught, args)
    mg.save(args.out / WEIGHTS, {name: m.state_dict() for name, m in models.items()})

    print(
        f"{len(taught)} reviews learnt from; of {len(asked)} others, and of {len(deeper)} with up"
    )
    print(f"to {DEEPER} constructions around a clause instead of {DEPTH}, judged rightly by")
    accuracy: dict[str, float] = {}
    by_turns: dict[str, list[float]] = {}
    for name, judged in judgements(models, taught, [*asked, *deeper], args.device):
        right = judged == np.array([r.praise for r in [*asked, *deeper]])
        accuracy[name] = float(right[: len(asked)].mean())
        print(f"  {name:14} {accuracy[name]:.3f}   {right[len(asked) :].mean():.3f}")
        by_turns[name] = shares_by_turns(right[len(asked) :], deeper)
    met = accuracy["deep GRU"] >= TARGET
    show_verdict(f"deep GRU {TARGET}, counting words below 0.6", met and accuracy["words"] < 0.6)

    deep = models["deep GRU"]
    while_reading = {text: praise(deep, prefixes(text), args.device) for text in SHOWN}
    save_picture(args.out / PICTURE, lambda figure: draw(figure, by_turns, while_reading), (13, 7))
    for text in args.review:
        print(f"{text}: p(praise) = {praise(deep, [text], args.device)[0]:.3f}")


def judgements(
    models: dict[str, Classifier], taught: list[Review], asked: list[Review], device: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Of every model, and of counting, the name and which reviews it takes for praise."""
    truth = np.array([r.praise for r in taught], dtype=np.int64)
    for longest, name in enumerate(("words", "and pairs", "and triples"), start=1):
        bags, others = ([pieces(r.text, longest) for r in part] for part in (taught, asked))
        yield name, bag_baseline(bags, truth, others) == 1
    for name, model in models.items():
        yield name, praise(model, [r.text for r in asked], device) > 0.5


def shares_by_turns(right: np.ndarray, asked: list[Review]) -> list[float]:
    """The share judged rightly of the reviews with 0, 1, … negations on the way to the judgement."""
    turns = np.array([r.turns for r in asked])
    return [float(right[turns == n].mean()) for n in range(turns.max() + 1)]


def prefixes(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[: n + 1]) for n in range(len(words))]


def draw(
    figure: Any, by_turns: dict[str, list[float]], while_reading: dict[str, np.ndarray]
) -> None:
    """How accuracy falls with negations; and the deep GRU's judgement after each word of some."""
    left, right = figure.subfigures(1, 2, width_ratios=(2, 3))
    axes = left.subplots()
    for name, shares in by_turns.items():
        counted = name not in ("RNN", "LSTM", "deep GRU")
        axes.plot(shares, "o--" if counted else "o-", label=name, color="0.6" if counted else None)
        axes.annotate(name, (len(shares) - 1, shares[-1]), (6, 0), textcoords="offset points")
    axes.axhline(0.5, color="0.8", linewidth=1)
    axes.set(
        title=f"Reviews of up to {DEEPER} constructions, {DEPTH} in the lessons",
        xlabel="negations that the judgement goes through",
        ylabel="judged rightly",
        xticks=range(len(next(iter(by_turns.values())))),
    )
    for axes, (text, p) in zip(
        right.subplots(len(while_reading)), while_reading.items(), strict=True
    ):
        axes.bar(
            range(len(p)), p - 0.5, bottom=0.5, color=np.where(p > 0.5, "tab:green", "tab:red")
        )
        axes.set_xticks(range(len(p)), text.split(), rotation=60, ha="right")
        axes.set(ylim=(0, 1), ylabel="p(praise), read so far")
        axes.axhline(0.5, color="0.5", linewidth=1)


def known_words(text: str) -> str:
    """The text as the grammar writes it; raises ArgumentTypeError for words it does not have."""
    text = " ".join(text.lower().replace(",", " , ").split())
    unknown = sorted(set(text.split()) - NUMBER_OF.keys())
    if unknown or not text:
        raise argparse.ArgumentTypeError(
            f"expected words of the grammar, such as {SHOWN[0]!r}; it does not have {unknown}"
        )
    return text


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("sentiment", __doc__, hidden=64, steps=1000)
    parser.add_argument(
        "--review",
        type=known_words,
        nargs="+",
        metavar="TEXT",
        default=["it is not true that the film was far from boring"],
        help="to judge in the end (%(default)s)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
