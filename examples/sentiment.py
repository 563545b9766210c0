"""Many to one, deep: reviews with "not" and "but", a bidirectional GRU against a bag of words.

No reviews lie on every machine, so a grammar writes them: `clause` and `review` below are all of
it. It has what makes sentiment more than a count of good and bad words. A negation turns round what
follows it, several words away, or a second one turns it back: "nobody would say that it was far
from boring". With "but" the second part decides, with "although" the one that it does not
introduce.

The classifiers are written as in a course: a class with a plain RNN, and classes that inherit it
and put an LSTM, or a deep bidirectional GRU, in the RNN's place.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from textwrap import fill
from typing import Any, NamedTuple

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _bag import bag_baseline
from _options import even
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

TARGET = 0.97  # share of new reviews that the deep GRU judges rightly
BATCH, TAUGHT, ASKED = 64, 6000, 2000
DEPTH, DEEPER = 2, 4  # of the reviews taught, and of some that are harder than any of them
WEIGHTS, PICTURE = "model.safetensors", "sentiment.png"
COLOURS = ("0.8", "0.6", "0.4", "tab:orange", "tab:blue", "tab:green")

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


SHOWN = (
    Review("the film was good", True, 0),
    Review("the film was far from good", False, 1),
    Review("nobody would say that the film was far from good", True, 2),
    Review("the music was good but the film was hardly good", False, 1),
    Review("although the music was good , the film was dull", False, 0),
    Review("although the music was not good , nobody would say that the film was dull", True, 1),
    Review("it is not true that they say that the film was anything but dull", False, 2),
)


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
        # each direction half as wide, and a layer more
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
    """Trains on random batches of reviews of all lengths."""
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

    print(f"judged rightly, of {len(asked)} new reviews, and of {len(deeper)} that are deeper:")
    print(f"  {'':14} depth {DEPTH}  depth {DEEPER}")
    accuracy: dict[str, float] = {}
    by_turns: dict[str, list[float]] = {}
    shown: dict[str, np.ndarray] = {}
    parts = np.cumsum([len(asked), len(deeper)])
    for name, judged in judgements(models, taught, [*asked, *deeper, *SHOWN], args.device):
        right = judged == np.array([r.praise for r in [*asked, *deeper, *SHOWN]])
        easy, hard, shown[name] = np.split(right, parts)
        accuracy[name] = float(easy.mean())
        by_turns[name] = shares_by_turns(hard, deeper)
        print(f"  {name:14} {accuracy[name]:.3f}    {hard.mean():.3f}")
    met = accuracy["deep GRU"] >= TARGET
    show_verdict(f"deep GRU {TARGET}, counting words below 0.6", met and accuracy["words"] < 0.6)
    save_picture(args.out / PICTURE, lambda figure: draw(figure, by_turns, shown), (14, 5.5))
    for text in args.review:
        p = praise(models["deep GRU"], [text], args.device)[0]
        print(f"{text}: p(praise) = {p:.3f}")


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
    """The share judged rightly of the reviews turned round 0, 1, 2 and 3 times."""
    turns = np.array([r.turns for r in asked])
    return [float(right[turns == n].mean()) for n in range(4)]


def draw(figure: Any, by_turns: dict[str, list[float]], shown: dict[str, np.ndarray]) -> None:
    """How accuracy falls with every negation; and who judges some reviews rightly."""
    left, right = figure.subplots(1, 2, width_ratios=(1, 1))
    for (name, shares), colour in zip(by_turns.items(), COLOURS, strict=True):
        left.plot(shares, "o-", label=name, color=colour)
    left.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    left.set(
        title=f"Reviews of depth {DEEPER}, after lessons of depth {DEPTH}",
        xlabel="negations that the judgement goes through",
        ylabel="judged rightly",
        xticks=range(4),
    )
    left.legend()
    rights = np.array(list(shown.values())).T
    right.imshow(rights, cmap="RdYlGn", vmin=-0.3, vmax=1.3, aspect="auto")
    for (row, column), is_right in np.ndenumerate(rights):
        said = "praise" if SHOWN[row].praise == is_right else "blame"
        right.text(column, row, said, ha="center", va="center", fontsize=9)
    right.set_xticks(range(len(shown)), shown, fontsize=9)
    right.set_yticks(range(len(SHOWN)), [fill(r.text, 36) for r in SHOWN], fontsize=9)
    right.set_title("What each says (green: rightly)")


def known_words(text: str) -> str:
    """The text as the grammar writes it; raises ArgumentTypeError for words it does not have."""
    text = " ".join(text.lower().replace(",", " , ").split())
    unknown = sorted(set(text.split()) - NUMBER_OF.keys())
    if unknown or not text:
        raise argparse.ArgumentTypeError(
            f"expected words of the grammar, such as {SHOWN[1].text!r}; it does not have {unknown}"
        )
    return text


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("sentiment", __doc__, hidden=64, steps=1200, hidden_type=even)
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
