"""Multi-head attention and the Transformer's layers over their options."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.reference.case import Case, Draw, given, normal

QUERIES, KEYS, BATCH, FEATURES, HEADS = 3, 4, 2, 6, 2
PADDING = given([[False, False, True, False], [False, True, True, True]])
CAUSAL = given(np.tri(QUERIES, KEYS) == 0)


def attention(
    title: str,
    call: dict[str, Any] | None = None,
    *,
    masks: dict[str, Draw] | None = None,
    batched: bool = True,
    itself: bool = False,
    **options: Any,
) -> Case:
    """Query, key, value and masks by name to the outputs and weights; `itself` for one x of all."""
    first = options.get("batch_first", False)

    def shape(steps: int, features: int) -> tuple[int, ...]:
        lead = (BATCH, steps) if first else (steps, BATCH)
        return (*(lead if batched else (steps,)), features)

    inputs = {"query": normal(*shape(KEYS if itself else QUERIES, FEATURES))}
    if not itself:
        inputs["key"] = normal(*shape(KEYS, options.get("kdim", FEATURES)))
        inputs["value"] = normal(*shape(KEYS, options.get("vdim", FEATURES)))
    names = list(masks or {})

    def build(library: Any) -> Any:
        return library.nn.MultiheadAttention(FEATURES, HEADS, **options)

    def run(_library: Any, layer: Any, xs: dict[str, Any]) -> Any:
        q = xs["query"]
        three = (q, xs.get("key", q), xs.get("value", q))
        return layer(*three, **{name: xs[name] for name in names}, **(call or {}))

    return Case(f"MultiheadAttention {title}", inputs | (masks or {}), run, build)


CASES = [
    attention("plain"),
    attention("batch first", batch_first=True),
    attention("unbatched", batched=False, batch_first=True),
    attention("of itself", itself=True),
    attention("of itself, batch first", itself=True, batch_first=True, bias=False),
    attention("no bias", bias=False),
    attention("other features", kdim=5, vdim=3),
    attention("other features of the values, no bias", vdim=3, bias=False),
    attention("weights of each head", {"average_attn_weights": False}),
    attention("no weights", {"need_weights": False}),
    attention("added bias", add_bias_kv=True),
    attention("added zero", add_zero_attn=True, batch_first=True),
    attention("both added, other features", add_bias_kv=True, add_zero_attn=True, kdim=5, vdim=3),
    attention("causal", {"is_causal": True}, masks={"attn_mask": CAUSAL}),
    attention("mask", masks={"attn_mask": normal(QUERIES, KEYS)}),
    attention(
        "mask for each head",
        {"average_attn_weights": False},
        masks={"attn_mask": normal(BATCH * HEADS, QUERIES, KEYS)},
    ),
    attention(
        "mask for each head, unbatched",
        masks={"attn_mask": normal(HEADS, QUERIES, KEYS)},
        batched=False,
    ),
    attention("padding", masks={"key_padding_mask": PADDING}),
    attention("padding as numbers", masks={"key_padding_mask": normal(BATCH, KEYS)}),
    attention(
        "padding, unbatched",
        masks={"key_padding_mask": given([False, True, False, True])},
        batched=False,
    ),
    attention(
        "everything",
        {"average_attn_weights": False, "is_causal": True},
        masks={"attn_mask": CAUSAL, "key_padding_mask": PADDING},
        add_bias_kv=True,
        add_zero_attn=True,
        batch_first=True,
    ),
]

SIZES: dict[str, Any] = {"dim_feedforward": 5, "dropout": 0.0}
DECODER_MASKS = {
    "tgt_mask": given(np.tri(QUERIES) == 0),
    "memory_mask": given(np.eye(QUERIES, KEYS, 1) > 0),
    "memory_key_padding_mask": PADDING,
    "tgt_key_padding_mask": given([[False] * QUERIES, [False, True, True]]),
}


def stack(kind: str, depth: int | None, title: str, masked: bool, **options: Any) -> Case:
    """A layer, or where `depth` is given a stack of so many with a norm, or the whole."""
    first = options.get("batch_first", False)

    def shape(steps: int) -> tuple[int, int, int]:
        return (BATCH, steps, FEATURES) if first else (steps, BATCH, FEATURES)

    source, target = normal(*shape(KEYS)), normal(*shape(QUERIES))
    if kind == "Encoder":
        inputs = {"src": source}
        causal = "src_mask" if depth is None else "mask"
        masks = {causal: given(np.tri(KEYS) == 0), "src_key_padding_mask": PADDING}
    else:
        inputs = {"tgt": target, "memory": source} if kind else {"src": source, "tgt": target}
        masks = DECODER_MASKS
    masks = masks if masked else {}

    def build(library: Any) -> Any:
        nn = library.nn
        if not kind:
            return nn.Transformer(FEATURES, HEADS, depth, depth, **SIZES, **options)
        layer = getattr(nn, f"Transformer{kind}Layer")(FEATURES, HEADS, **SIZES, **options)
        if depth is None:
            return layer
        return getattr(nn, f"Transformer{kind}")(layer, depth, nn.LayerNorm(FEATURES))

    def run(_library: Any, layer: Any, xs: dict[str, Any]) -> Any:
        positional = [xs[name] for name in inputs]
        return layer(*positional, **{name: xs[name] for name in masks})

    return Case(f"Transformer{kind} {title}", inputs | masks, run, build)


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "norm first": {"norm_first": True, "batch_first": True},
    "gelu, no bias": {"activation": "gelu", "bias": False, "layer_norm_eps": 0.1},
}
for kind, (title, options), masked in product(
    ("Encoder", "Decoder"), VARIANTS.items(), (False, True)
):
    shown = f"{title}, masked" if masked else title
    CASES.append(stack(kind, None, f"layer, {shown}", masked, **options))
    if masked:
        CASES.append(stack(kind, 2, f"of two, {shown}", masked, **options))
CASES += [
    stack("", 2, "whole", False),
    stack("", 1, "whole, masked, norm first", True, norm_first=True, batch_first=True),
]
ATTENTION = CASES
