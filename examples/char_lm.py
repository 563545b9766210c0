"""A recurrent network that learns to write, character by character, and has to beat counting."""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded

# isort: split
import numpy as np
from _checkpoint import blaming, load_checkpoint, make_folder, save_checkpoint
from _interrupt import ctrl_c_asks
from _ngram import ngram_entropies
from _options import Recipe, agreed, parse
from _picture import draw, gradient_flow
from _progress import progress
from _text import Corpus, InputError, decode, encode, read_corpus, streams

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from minigrad.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
NGRAMS = ("uniform", "unigram", "bigram", "trigram", "4-gram", "5-gram")
CHECKPOINT, PICTURE = "checkpoint.safetensors", "training.png"


class CharLM(nn.Module):
    """From characters, as numbers (time, rows), to logits of the character behind each."""

    def __init__(self, characters: int, recipe: Recipe) -> None:
        between = recipe.dropout if recipe.layers > 1 else 0.0
        self.embedding = nn.Embedding(characters, recipe.embedding)
        self.rnn = CELLS[recipe.cell](
            recipe.embedding, recipe.hidden, num_layers=recipe.layers, dropout=between
        )
        self.dropout = nn.Dropout(recipe.dropout)
        self.head = nn.Linear(recipe.hidden, characters)

    def forward(self, ids: mg.Tensor, state: Any = None) -> tuple[mg.Tensor, Any]:
        hidden, state = self.rnn(self.embedding(ids), state)
        return self.head(self.dropout(hidden)), state


class Training:
    """A model, and all that changes while it learns."""

    def __init__(self, recipe: Recipe, corpus: Corpus, device: str) -> None:
        mg.manual_seed(recipe.seed)
        self.recipe, self.corpus, self.device = recipe, corpus, device
        self.model = CharLM(len(corpus.alphabet), recipe).to(device)
        self.optimiser = optim.Adam(self.model.named_parameters(), lr=recipe.lr)
        self.schedule = warm_up_then_cosine(self.optimiser, recipe.steps)
        self.inputs, self.targets = streams(corpus.train, recipe.batch)
        self.step = 0
        self.cursor = 0  # where in the streams the next chunk begins
        self.state: Any = None  # of the recurrent layers, where the last chunk ended
        self.history: dict[str, Any] = {"train": [], "valid": [], "flow": {}}

    def learn(self) -> float:
        """One step of truncated backpropagation through time; returns bits per character."""
        if self.cursor + self.recipe.seq_len > len(self.inputs):
            self.cursor, self.state = 0, None
        chunk = slice(self.cursor, self.cursor + self.recipe.seq_len)
        loss, state = self.loss(self.inputs[chunk], self.targets[chunk], self.state)

        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.schedule.step()

        self.state = mg.detach(state)  # the next chunk takes up the value, not the gradient
        self.cursor = chunk.stop
        self.step += 1
        self.history["train"].append(loss.item() / math.log(2))
        return self.history["train"][-1]

    def loss(self, inputs: np.ndarray, targets: np.ndarray, state: Any) -> tuple[mg.Tensor, Any]:
        """The mean cross-entropy of a chunk (time, rows) in nats, and the state at its end."""
        logits, state = self.model(mg.tensor(inputs, device=self.device), state)
        answers = mg.tensor(targets, device=self.device)
        return F.cross_entropy(logits.flatten(0, 1), answers.flatten()), state

    @mg.no_grad()
    def validate(self) -> float:
        """Bits per character on the validation text, read in streams as in training."""
        inputs, targets = streams(self.corpus.valid, self.recipe.batch)
        self.model.eval()
        nats, state = 0.0, None
        for start in range(0, len(inputs), 128):
            chunk = slice(start, start + 128)
            loss, state = self.loss(inputs[chunk], targets[chunk], state)
            nats += loss.item() * targets[chunk].size
        self.model.train()
        self.history["valid"].append((self.step, nats / targets.size / math.log(2)))
        return self.history["valid"][-1][1]

    def observe_flow(self, label: str) -> None:
        """Puts into the history how far back gradients reach in a chunk of validation text."""
        inputs, targets = streams(self.corpus.valid, self.recipe.batch)
        chunk = mg.tensor(inputs[: self.recipe.seq_len], device=self.device)
        last = mg.tensor(targets[self.recipe.seq_len - 1], device=self.device)
        self.history["flow"][label] = gradient_flow(self.model, chunk, last)

    def save(self, path: Path) -> None:
        """Writes everything that the next step depends on, and what the picture shows."""
        save_checkpoint(
            path,
            {
                "recipe": asdict(self.recipe),
                "text": self.corpus.path,
                "digest": self.corpus.digest,
                "alphabet": self.corpus.alphabet,
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "schedule": self.schedule.state_dict(),
                "random": mg.random.default_generator.get_state(),
                "state": self.state,
                "step": self.step,
                "cursor": self.cursor,
                "history": self.history,
            },
        )

    def restore(self, tree: dict[str, Any]) -> None:
        """Takes up where the Training that was saved as `tree` stopped."""
        self.model.load_state_dict(tree["model"])
        self.optimiser.load_state_dict(tree["optimiser"])
        self.schedule.load_state_dict(tree["schedule"])
        mg.random.default_generator.set_state(tree["random"])
        self.state, self.history = tree["state"], tree["history"]
        self.step, self.cursor = tree["step"], tree["cursor"]


def warm_up_then_cosine(optimiser: optim.Optimizer, steps: int) -> SequentialLR:
    """The learning rate rises for a twentieth of the steps, then falls to 0 on half a cosine."""
    rise = max(1, steps // 20)
    up = LinearLR(optimiser, start_factor=0.1, total_iters=rise)
    down = CosineAnnealingLR(optimiser, T_max=max(1, steps - rise))
    return SequentialLR(optimiser, [up, down], milestones=[rise])


@mg.no_grad()
def sample(model: CharLM, alphabet: str, prompt: str, args: argparse.Namespace) -> str:
    """Continues the prompt, drawing each character from softmax(logits / temperature)."""
    random = np.random.default_rng(0)
    ids = list(encode(prompt, alphabet))
    model.eval()
    logits, state = model(mg.tensor(ids, device=args.device).unsqueeze(1))
    for _ in range(args.length):
        p = F.softmax(logits[-1, 0] / args.temperature, dim=-1).numpy().astype(np.float64)
        ids.append(random.choice(len(p), p=p / p.sum()))
        logits, state = model(mg.tensor([ids[-1:]], device=args.device), state)
    model.train()
    return decode(ids, alphabet)


def answer_prompt(args: argparse.Namespace) -> int:
    """The job of --sample: continues the prompt with the model of a checkpoint."""
    path = args.resume or args.out / CHECKPOINT
    tree = load_checkpoint(path, args.device)
    with blaming(path):
        recipe = agreed(tree["recipe"], args.given)
        model = CharLM(len(tree["alphabet"]), recipe).to(args.device)
        model.load_state_dict(tree["model"])
    print(sample(model, tree["alphabet"], args.sample, args))
    return 0


def begin(args: argparse.Namespace) -> Training:
    """A new training, or the one that --resume names."""
    if args.resume is None:
        recipe = Recipe(**args.given)
        return Training(recipe, read_corpus(args.text, recipe.batch, recipe.seq_len), args.device)
    tree = load_checkpoint(args.resume, args.device)
    with blaming(args.resume):
        recipe = agreed(tree["recipe"], args.given)
        text = args.text or (tree["text"] and Path(tree["text"]))
        corpus = read_corpus(text, recipe.batch, recipe.seq_len)
        if corpus.digest != tree["digest"]:
            raise InputError(f"{corpus.name} is not the text that {args.resume} was trained on")
        training = Training(recipe, corpus, args.device)
        training.restore(tree)
    return training


def fit(training: Training, path: Path, stop_after: int | None) -> bool:
    """Learns up to the recipe's last step or `stop_after`, saves; True if Ctrl-C came first."""
    recipe, note = training.recipe, ""
    size, end = recipe.batch * recipe.seq_len, min(recipe.steps, stop_after or recipe.steps)
    bar = progress(end * size, initial=training.step * size, unit="char")
    with ctrl_c_asks() as asked, closing(bar):
        while training.step < end and not asked:
            bits = training.learn()
            if not math.isfinite(bits):
                raise InputError(
                    f"the loss is {bits} at step {training.step}: lower --lr or --clip"
                )
            if training.step % max(1, recipe.steps // 10) == 0 or training.step == end:
                note = f", validation {training.validate():.3f}"
                training.save(path)
            bar.set_postfix_str(f"{bits:.3f} bits/char{note}", refresh=False)
            bar.update(size)
        training.save(path)
    return bool(asked)


def train(args: argparse.Namespace) -> int:
    """The job without --sample: trains, shows what came of it, and returns the exit code."""
    training = begin(args)
    make_folder(args.out)
    recipe, path = training.recipe, args.out / CHECKPOINT
    weights = sum(p.numel() for p in training.model.parameters())
    print(f"text: {training.corpus.name}, {len(training.corpus.train):,} characters to learn from")
    print(f"model: {recipe.cell} of {weights:,} weights, at step {training.step} of {recipe.steps}")
    if training.step == 0:
        training.observe_flow("before training")
    show_sample(training, args)

    interrupted = fit(training, path, args.stop_after)
    if training.step < recipe.steps:
        why = "interrupted" if interrupted else "stopped"
        print(f"{why} at step {training.step}, saved: go on with --resume {path}", file=sys.stderr)
        return 130 if interrupted else 0

    training.observe_flow("after training")
    show_sample(training, args)
    show_result(training, args.out)
    return 0


def show_sample(training: Training, args: argparse.Namespace) -> None:
    text = sample(training.model, training.corpus.alphabet, training.corpus.prompt, args)
    print(f"\n--- sample at step {training.step}, temperature {args.temperature:g}\n{text}\n---\n")


def show_result(training: Training, out: Path) -> None:
    """Prints the model's loss beside that of the n-gram models, and writes the picture."""
    corpus, history = training.corpus, training.history
    bits = ngram_entropies(corpus.train, corpus.valid, len(corpus.alphabet), len(NGRAMS) - 1)
    counted = dict(zip(NGRAMS, bits, strict=True))
    print(f"bits per character on the last {len(corpus.valid) - 1:,} characters, not learnt from")
    for name, value in [*counted.items(), (training.recipe.cell, history["valid"][-1][1])]:
        print(f"  {name:8} {value:6.3f}")
    print(f"\ncheckpoint: {out / CHECKPOINT}")
    try:
        draw(out / PICTURE, history, counted, f"{training.recipe.cell} on {corpus.name}")
        print(f"picture:    {out / PICTURE}")
    except ImportError:
        print("no picture: matplotlib is missing (pip install 'minigrad[train]')")


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code: 0, 2 for unusable input, 130 for Ctrl-C."""
    args = parse(argv)
    try:
        return train(args) if args.sample is None else answer_prompt(args)
    except InputError as error:
        print(f"char_lm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("char_lm: interrupted outside of training; nothing new was saved", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # the text may hold more than the terminal can show
    sys.exit(main())
