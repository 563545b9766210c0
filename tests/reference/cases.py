"""The cases: functions, layers and losses over every option, and recurrent layers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from tests.reference.attention_cases import ATTENTION
from tests.reference.case import Case, Draw, classes, given, normal, positive, probabilities
from tests.reference.recurrent_cases import RECURRENT

REDUCTIONS = ("none", "mean", "sum")


def _options(options: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in options.items())


def function(name: str, *, constant: tuple[str, ...] = (), tag: str = "", **inputs: Any) -> Any:
    """A maker of cases of a function: its tensors by name, in order, then options by keyword."""

    def make(rtol: float = 1e-9, **options: Any) -> Case:
        def call(library: Any, _module: Any, xs: dict[str, Any]) -> Any:
            return getattr(library.F, name)(*xs.values(), **options)

        title = f"{name}{tag}({_options(options)})"
        return Case(title, inputs, call, constant=constant, rtol=rtol)

    return make


def by_keyword(name: str, *, constant: tuple[str, ...] = (), tag: str = "", **inputs: Any) -> Any:
    """The same, all tensors but `x` and `target` by keyword."""

    def make(**options: Any) -> Case:
        def call(library: Any, _module: Any, xs: dict[str, Any]) -> Any:
            rest = {k: v for k, v in xs.items() if k not in ("x", "target")}
            first = [xs[k] for k in ("x", "target") if k in xs]
            return getattr(library.F, name)(*first, **rest, **options)

        return Case(f"{name}{tag}({_options(options)})", inputs, call, constant=constant)

    return make


def module(name: str, *args: Any, x: Draw, rtol: float = 1e-9, **options: Any) -> Case:
    """A case of a layer of one input."""

    def build(library: Any) -> Any:
        return getattr(library.nn, name)(*args, **options)

    def call(_library: Any, layer: Any, xs: dict[str, Any]) -> Any:
        return layer(xs["x"])

    shown = ", ".join(filter(None, [*map(str, args), _options(options)]))
    return Case(f"nn.{name}({shown})", {"x": x}, call, build, rtol=rtol)


# ---- activations -----------------------------------------------------------------------------


def wide(random: np.random.Generator) -> np.ndarray:
    """Ordinary numbers, 0 (where conventions show) and numbers that overflow careless formulas."""
    return np.concatenate([3 * random.standard_normal(12), [0.0, 40.0, -40.0, 800.0, -800.0]])


# In float64 too PyTorch takes 1/6 in hardsigmoid's gradient, and 1/alpha in CELU, as a float32.
ACTIVATION_OPTIONS: dict[str, list[dict[str, Any]]] = {
    "relu": [{}],
    "leaky_relu": [{}, {"negative_slope": 0.2}],
    "elu": [{}, {"alpha": 0.5}],
    "selu": [{}],
    "celu": [{}, {"alpha": 2.0}],
    "silu": [{}],
    "gelu": [{}, {"approximate": "tanh"}],
    "softplus": [{}, {"beta": 2.0}, {"beta": 0.5, "threshold": 3.0}],
    "logsigmoid": [{}],
    "hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "hardsigmoid": [{"rtol": 1e-7}],
    "hardswish": [{"rtol": 1e-7}],
    "mish": [{}],
    "tanh": [{}],
    "sigmoid": [{}],
    "softsign": [{}],
    "relu6": [{}],
    "threshold": [{"threshold": 0.1, "value": 20.0}],
}
ACTIVATIONS = [
    function(name, x=wide)(**options)
    for name, several in ACTIVATION_OPTIONS.items()
    for options in several
]
ACTIVATIONS += [
    function("prelu", x=normal(3, 4), tag="-one", weight=normal(1))(),
    function("prelu", x=normal(2, 3, 4), tag="-channels", weight=normal(3))(),
    *(function("glu", x=normal(4, 6))(dim=dim) for dim in (0, -1)),
    *(
        function(name, x=normal(2, 3, 4))(dim=dim)
        for name, dim in product(("softmax", "log_softmax", "softmin"), (0, 1, -1))
    ),
    function("softmax", x=given([[1e4, 0.0, -1e4], [0.0, -np.inf, 1.0]]), tag="-far")(dim=1),
    function("log_softmax", x=given([[1e4, 0.0, -1e4], [3.0, 2.0, 1.0]]), tag="-far")(dim=1),
]
MODULES = [
    module("ReLU", x=wide),
    module("ReLU6", x=wide),
    module("LeakyReLU", 0.3, x=wide),
    module("PReLU", 3, 0.4, x=normal(2, 3, 2)),
    module("Threshold", 0.1, 20.0, x=wide),
    module("ELU", 0.7, x=wide),
    module("SELU", x=wide),
    module("CELU", 0.7, x=wide, rtol=1e-7),
    module("SiLU", x=wide),
    module("GELU", x=wide),
    module("GELU", x=wide, approximate="tanh"),
    module("Softplus", 2.0, 5.0, x=wide),
    module("LogSigmoid", x=wide),
    module("Mish", x=wide),
    module("Sigmoid", x=wide),
    module("Tanh", x=wide),
    module("Softsign", x=wide),
    module("Hardtanh", -0.5, 2.0, x=wide),
    module("Hardsigmoid", x=wide, rtol=1e-7),
    module("Hardswish", x=wide, rtol=1e-7),
    module("GLU", 0, x=normal(4, 3)),
    module("Softmax", 0, x=normal(4, 3)),
    module("LogSoftmax", 1, x=normal(4, 3)),
    module("Softmin", 1, x=normal(4, 3)),
    module("Identity", x=normal(2)),
    module("Flatten", x=normal(2, 3, 4)),
    module("Flatten", 0, 1, x=normal(2, 3, 4)),
    module("Linear", 4, 3, x=normal(2, 4)),
    module("Linear", 4, 3, x=normal(2, 3, 4), bias=False),
    module("Linear", 4, 3, False, x=normal(4)),
    module("Embedding", 5, 3, x=classes(5, 2, 4)),
    module("Embedding", 5, 3, x=given([[0, 2, 2], [1, 4, 0]]), padding_idx=2),
    module("LayerNorm", 4, x=normal(3, 4)),
    module("LayerNorm", (3, 4), x=normal(2, 3, 4), eps=0.1),
    module("LayerNorm", 4, x=normal(2, 3, 4), elementwise_affine=False),
    module("LayerNorm", 4, x=normal(2, 4), bias=False),
    module("RMSNorm", 4, x=normal(3, 4)),
    module("RMSNorm", (3, 4), x=normal(2, 3, 4), eps=0.1),
    module("RMSNorm", 4, x=normal(3, 4), elementwise_affine=False),
]

# ---- other functions -------------------------------------------------------------------------

FUNCTIONS = [
    function("linear", x=normal(2, 3), weight=normal(4, 3), bias=normal(4))(),
    function("linear", x=normal(3), weight=normal(4, 3), tag="-vector")(),
    function("embedding", index=classes(5, 2, 3), weight=normal(5, 4))(),
    function("embedding", index=given([1, 0, 4, 1]), weight=normal(5, 4))(padding_idx=-4),
    *(function("normalize", x=normal(3, 4, 2))(p=p) for p in (1.0, 2.0, 3.0, float("inf"))),
    function("normalize", x=normal(3, 4))(p=2.0, dim=0),
    function("cosine_similarity", x1=normal(3, 4), x2=normal(3, 4))(),
    function("cosine_similarity", x1=normal(3, 1, 4), x2=normal(2, 4))(dim=2),
    function("pad", x=normal(3, 4))(pad=(1, 2)),
    function("pad", x=normal(2, 3, 4))(pad=(0, -1, 2, 1), value=1.5),
]
_QKV = {"query": normal(2, 3, 4, 5), "key": normal(2, 3, 6, 5), "value": normal(2, 3, 6, 2)}
_MASK = given(np.tri(4, 6, 1) > 0)
_ATTENTION = "scaled_dot_product_attention"
FUNCTIONS += [
    function(_ATTENTION, **_QKV)(),
    function(_ATTENTION, **_QKV)(is_causal=True, scale=0.3),
    function(_ATTENTION, **_QKV, tag="-mask", attn_mask=_MASK)(),
    function(_ATTENTION, **_QKV, tag="-bias", attn_mask=normal(2, 1, 4, 6))(),
]

# ---- losses ----------------------------------------------------------------------------------

_PAIR = {"x": normal(3, 4), "target": normal(3, 4)}
LOSSES: list[Case] = []
for _reduction in REDUCTIONS:
    LOSSES += [
        function("mse_loss", **_PAIR)(reduction=_reduction),
        function("l1_loss", **_PAIR)(reduction=_reduction),
        *(
            function("smooth_l1_loss", **_PAIR)(reduction=_reduction, beta=beta)
            for beta in (1.0, 0.3, 0.0)
        ),
        *(
            function("huber_loss", **_PAIR)(reduction=_reduction, delta=delta)
            for delta in (1.0, 0.4)
        ),
        function("kl_div", x=normal(3, 4), target=probabilities(3, 4))(reduction=_reduction),
        function("kl_div", tag="-log", **_PAIR)(reduction=_reduction, log_target=True),
        function("binary_cross_entropy", x=probabilities(3, 4), target=probabilities(3, 4))(
            reduction=_reduction
        ),
        by_keyword(
            "binary_cross_entropy",
            tag="-weight",
            constant=("weight", "target"),
            x=probabilities(3, 4),
            target=probabilities(3, 4),
            weight=positive(3, 4),
        )(reduction=_reduction),
        function("binary_cross_entropy_with_logits", x=normal(3, 4), target=probabilities(3, 4))(
            reduction=_reduction
        ),
        by_keyword(
            "binary_cross_entropy_with_logits",
            tag="-weights",
            constant=("weight", "pos_weight"),
            x=normal(3, 4),
            target=probabilities(3, 4),
            weight=positive(4),
            pos_weight=positive(4),
        )(reduction=_reduction),
    ]
LOSSES += [
    function("kl_div", x=normal(3, 4), target=probabilities(3, 4))(reduction="batchmean"),
    function(
        "binary_cross_entropy_with_logits",
        x=given([800.0, -800.0, 40.0, 0.0]),
        target=given([0.0, 1.0, 1.0, 0.5]),
        tag="-far",
    )(),
]

_LOGITS = {(5,): (), (4, 5): (4,), (3, 5, 2): (3, 2)}
for (_shape, _rows), _reduction in product(_LOGITS.items(), REDUCTIONS):
    _n = 5
    _axis = min(1, len(_shape) - 1)
    for _ignored, _weighted in product((None, -100, 2), (False, True)):
        if _ignored is not None and not _rows:
            continue
        _options_ = {"reduction": _reduction}
        if _ignored is not None:
            _options_["ignore_index"] = _ignored
        _inputs = {"x": normal(*_shape), "target": classes(_n, *_rows, ignored=_ignored)}
        if _weighted:
            _inputs["weight"] = positive(_n)
        _tag = f"{list(_shape)}" + ("-weight" if _weighted else "")
        _maker = {"tag": _tag, "constant": ("weight",), **_inputs}
        LOSSES += [
            by_keyword("cross_entropy", **_maker)(**_options_),
            by_keyword("cross_entropy", **_maker)(**_options_, label_smoothing=0.2),
            by_keyword("nll_loss", **_maker)(**_options_),
        ]
    for _weighted, _smoothing in product((False, True), (0.0, 0.3)):
        _inputs = {"x": normal(*_shape), "target": probabilities(*_shape, dim=_axis)}
        if _weighted:
            _inputs["weight"] = positive(_n)
        _tag = f"{list(_shape)}-probabilities" + ("-weight" if _weighted else "")
        LOSSES.append(
            by_keyword("cross_entropy", tag=_tag, constant=("weight",), **_inputs)(
                reduction=_reduction, label_smoothing=_smoothing
            )
        )
LOSSES.append(
    function(
        "cross_entropy",
        x=given([[1e4, 0.0, -1e4], [0.0, -np.inf, 1.0]]),
        target=given([1, 2]),
        tag="-far",
    )()
)

FAMILIES: dict[str, list[Case]] = {
    "activations": ACTIVATIONS,
    "modules": MODULES,
    "functions": FUNCTIONS,
    "losses": LOSSES,
    "recurrent": RECURRENT,
    "attention": ATTENTION,
}
