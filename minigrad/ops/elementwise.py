"""Elementwise ops: each with its NumPy ufunc, its C expression and its rules, in one place."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minigrad.gathering import Later
from minigrad.op import Op, V
from minigrad.ops.broadcast import sum_to

Number = (int, float)
# rules of one, two and three arguments: the union lets the lambdas below be typed
Rule = (
    Callable[[Any, Any, Any], Any]
    | Callable[[Any, Any, Any, Any], Any]
    | Callable[[Any, Any, Any, Any, Any], Any]
)


def undo_broadcast(g: Any, shape: tuple[int, ...]) -> Later:
    """The one place where a cotangent is summed back to the shape of its broadcast input."""
    return Later(sum_to, g, shape=shape)


class Elementwise(Op):
    """An op on numbers, applied to the elements of arrays that broadcast; all that `fuse` takes.

    `c` is the C expression, {0}, {1} … its arguments; `ufunc` the name of the NumPy function where
    it is not the op's own. With `expand`, both are those of the other ops that it is written in.
    A `cheap` value is computed again in a fused backward pass rather than kept.
    """

    fit = staticmethod(undo_broadcast)

    def __init__(
        self,
        name: str,
        doc: str,
        *rules: Rule,
        c: str = "",
        ufunc: str | None = None,
        expand: Callable[[Any], Any] | None = None,
        cheap: bool = False,
        boolean: bool = False,
    ) -> None:
        self.ufunc = ufunc or name
        self.expand = expand
        self.c = c
        self.cheap = cheap
        self.boolean = boolean
        super().__init__(name, _forward(self.ufunc, expand), *rules, doc=doc)


class Floating(Elementwise):
    """An elementwise op whose values are no integers, even of integers: those become floating."""

    floating = True


class Rounding(Elementwise):
    """An elementwise op that leaves integers as they are (of which NumPy's rint makes floats)."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        of_floats: Any = self.forward

        def forward(xp: Any, x: Any) -> Any:
            return of_floats(xp, x) if x.dtype.kind == "f" else x.copy()

        self.forward = self.saving_forward = forward


def _forward(ufunc: str, expand: Callable[..., Any] | None) -> Callable[..., Any]:
    def call_ufunc(xp: Any, *xs: Any) -> Any:
        return getattr(xp, ufunc)(*xs)

    def call_others(_xp: Any, *xs: Any) -> Any:
        assert expand is not None
        return expand(*xs)

    return call_ufunc if expand is None else call_others


def _none(_g: Any, _y: Any, *_xs: Any) -> None:
    """The rule of an argument that has no gradient."""


def _zero(g: Any, _y: Any, *_xs: Any) -> Any:
    return g * 0.0


# In C: a sign that lets NaN pass, and whether a remainder of C's kind has the sign that b has not.
_SIGN = "({0} != {0} ? {0} : (T)(({0} > 0) - ({0} < 0)))"
_OTHER_SIGN = "(fmod({0}, {1}) != 0 && (fmod({0}, {1}) < 0) != ({1} < 0))"

# ---- arithmetic ------------------------------------------------------------------------------

add = Elementwise(
    "add",
    "Sum, y = a + b.",
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: g,
    c="{0} + {1}",
    cheap=True,
)
sub = Elementwise(
    "sub",
    "Difference, y = a - b.",
    lambda g, _y, _a, _b: g,
    lambda g, _y, _a, _b: -g,
    c="{0} - {1}",
    ufunc="subtract",
    cheap=True,
)
mul = Elementwise(
    "mul",
    "Product, y = a * b.",
    lambda g, _y, _a, b: g * b,
    lambda g, _y, a, _b: g * a,
    c="{0} * {1}",
    ufunc="multiply",
    cheap=True,
)
div = Floating(
    "div",
    "Quotient, y = a / b.",
    lambda g, _y, _a, b: g / b,
    lambda g, y, _a, b: -g * y / b,
    c="{0} / {1}",
    ufunc="divide",
)
neg = Elementwise(
    "neg", "Negation, y = -x.", lambda g, _y, _x: -g, c="-{0}", ufunc="negative", cheap=True
)


def _pow_base(g: Any, _y: Any, x: Any, p: Any) -> Any:
    if isinstance(p, Number):
        return g * 0.0 if p == 0 else g * (p * x ** (p - 1))
    flat = p == 0  # x⁰ is flat everywhere, also at x = 0, where p·xᵖ⁻¹ is 0·∞
    return g * where(flat, 0.0, p * x ** where(flat, 1.0, p - 1))


def _pow_exponent(g: Any, y: Any, x: Any, _p: Any) -> Any:
    if isinstance(x, Number):
        return g * y * (math.log(x) if x > 0 else 0.0)
    positive = x > 0
    return g * y * where(positive, log(where(positive, x, 1.0)), 0.0)


pow = Elementwise(
    "pow",
    "Power, y = xᵖ; the gradient for p counts bases x ≤ 0 as 0.",
    _pow_base,
    _pow_exponent,
    c="pow({0}, {1})",
    ufunc="power",
)
remainder = Elementwise(
    "remainder",
    "Remainder of the division, with the sign of b: y = a - b * floor(a / b).",
    lambda g, _y, _a, _b: g,
    lambda g, _y, a, b: -g * floor(a / b),
    c=f"(fmod({{0}}, {{1}}) + ({_OTHER_SIGN} ? {{1}} : (T)0))",
)
floor_divide = Elementwise(
    "floor_divide",
    "Quotient rounded down, y = floor(a / b).",
    _zero,
    _zero,
    c=f"({{1}} == 0 ? {{0}} / {{1}} : rint(({{0}} - fmod({{0}}, {{1}})) / {{1}}) - {_OTHER_SIGN})",
)
square = Elementwise(
    "square", "Square, y = x².", lambda g, _y, x: g * (2.0 * x), c="{0} * {0}", cheap=True
)

# ---- exponentials and their kin --------------------------------------------------------------

exp = Floating("exp", "Exponential, y = eˣ.", lambda g, y, _x: g * y, c="exp({0})")
log = Floating("log", "Natural logarithm, y = ln x.", lambda g, _y, x: g / x, c="log({0})")
log1p = Floating(
    "log1p", "y = ln(1 + x), exact near 0.", lambda g, _y, x: g / (1.0 + x), c="log1p({0})"
)
expm1 = Floating(
    "expm1", "y = eˣ - 1, exact near 0.", lambda g, y, _x: g * (y + 1.0), c="expm1({0})"
)
sqrt = Floating("sqrt", "Square root, y = √x.", lambda g, y, _x: g * (0.5 / y), c="sqrt({0})")
tanh = Floating(
    "tanh", "Hyperbolic tangent, y = tanh x.", lambda g, y, _x: g - g * y * y, c="tanh({0})"
)
sigmoid = Floating(
    "sigmoid",
    "Logistic function, y = 1 / (1 + e⁻ˣ), computed as ½ tanh(½ x) + ½: tanh is vectorised.",
    lambda g, y, _x: g * (y * (1.0 - y)),
    expand=lambda x: tanh(x * 0.5) * 0.5 + 0.5,
)
erf = Floating(
    "erf",
    "Error function, y = 2/√π ∫₀ˣ exp(-t²) dt.",
    lambda g, _y, x: g * (2.0 / math.sqrt(math.pi) * exp(-(x * x))),
    c="erf({0})",
)
logaddexp = Floating(
    "logaddexp",
    "y = ln(eᵃ + eᵇ), without overflow.",
    lambda g, y, a, _b: g * exp(a - y),
    lambda g, y, _a, b: g * exp(b - y),
    c="({0} == {1} ? {0} + (T)0.6931471805599453 : fmax({0}, {1}) + log1p(exp(-fabs({0} - {1}))))",
)
softplus = Floating(
    "softplus",
    "y = ln(1 + eˣ), without overflow; a primitive, so that its gradient at 0 has one too.",
    lambda g, _y, x: g * sigmoid(x),
    expand=lambda x: maximum(x, 0.0) + log1p(exp(-abs(x))),
)
sin = Floating("sin", "Sine, x in radians.", lambda g, _y, x: g * cos(x), c="sin({0})")
cos = Floating("cos", "Cosine, x in radians.", lambda g, _y, x: -g * sin(x), c="cos({0})")
tan = Floating("tan", "Tangent, x in radians.", lambda g, y, _x: g * (1.0 + y * y), c="tan({0})")
atan = Floating(
    "atan",
    "Inverse tangent, in radians.",
    lambda g, _y, x: g / (1.0 + x * x),
    c="atan({0})",
    ufunc="arctan",
)
sinh = Floating("sinh", "Hyperbolic sine.", lambda g, _y, x: g * cosh(x), c="sinh({0})")
cosh = Floating("cosh", "Hyperbolic cosine.", lambda g, _y, x: g * sinh(x), c="cosh({0})")

# ---- kinks and steps -------------------------------------------------------------------------

abs = Elementwise(
    "abs",
    "Absolute value; the gradient at 0 is 0.",
    lambda g, _y, x: g * sign(x),
    c="fabs({0})",
    ufunc="absolute",
    cheap=True,
)
sign = Elementwise("sign", "-1, 0 or 1.", _zero, c=_SIGN, cheap=True)
floor = Rounding("floor", "The greatest integer ≤ x.", _zero, c="floor({0})")
ceil = Rounding("ceil", "The least integer ≥ x.", _zero, c="ceil({0})")
round = Rounding(
    "round", "The nearest integer, halves to even.", _zero, c="rint({0})", ufunc="rint"
)


def _share(g: Any, loses: Any, tie: Any) -> Any:
    """None of g where this argument loses, half of it where both are equal; all beside a NaN."""
    return where(loses, 0.0, where(tie, 0.5 * g, g))


maximum = Elementwise(
    "maximum",
    "The larger of a and b; the gradient is halved between equal ones.",
    lambda g, _y, a, b: _share(g, a < b, a == b),
    lambda g, _y, a, b: _share(g, b < a, a == b),
    c="({0} != {0} ? {0} : {1} != {1} ? {1} : fmax({0}, {1}))",
    cheap=True,
)
minimum = Elementwise(
    "minimum",
    "The smaller of a and b; the gradient is halved between equal ones.",
    lambda g, _y, a, b: _share(g, a > b, a == b),
    lambda g, _y, a, b: _share(g, b > a, a == b),
    c="({0} != {0} ? {0} : {1} != {1} ? {1} : fmin({0}, {1}))",
    cheap=True,
)
relu = Elementwise(
    "relu",
    "Rectifier, y = max(x, 0); the gradient at 0 is 0.",
    lambda g, y, _x: where(y <= 0, 0.0, g),
    expand=lambda x: maximum(x, 0),
    cheap=True,
)
where = Elementwise(
    "where",
    "a where the condition holds, b elsewhere.",
    _none,
    lambda g, _y, c, _a, _b: where(c, g, 0.0),
    lambda g, _y, c, _a, _b: where(c, 0.0, g),
    c="({0} ? {1} : {2})",
    cheap=True,
)
where.condition = True


def clamp(x: V, min: Any = None, max: Any = None) -> V:
    """x, not below `min` nor above `max`; the gradient is 1 inside and on the bounds, else 0.

    Where x or a bound is NaN, so is the result.
    """
    if min is None and max is None:
        raise ValueError("clamp: give at least one of min and max")
    if min is not None:
        x = where(ge(x, min), x, maximum(x, min))
    if max is not None:
        x = where(le(x, max), x, minimum(x, max))
    return x


# ---- comparisons and logic: no gradient ------------------------------------------------------


def _predicate(name: str, doc: str, c: str, ufunc: str) -> Elementwise:
    return Elementwise(name, doc, c=c, ufunc=ufunc, cheap=True, boolean=True)


eq = _predicate("eq", "Whether a = b.", "{0} == {1}", "equal")
ne = _predicate("ne", "Whether a ≠ b.", "{0} != {1}", "not_equal")
lt = _predicate("lt", "Whether a < b.", "{0} < {1}", "less")
le = _predicate("le", "Whether a ≤ b.", "{0} <= {1}", "less_equal")
gt = _predicate("gt", "Whether a > b.", "{0} > {1}", "greater")
ge = _predicate("ge", "Whether a ≥ b.", "{0} >= {1}", "greater_equal")
logical_and = _predicate("logical_and", "Whether both hold.", "{0} && {1}", "logical_and")
logical_or = _predicate("logical_or", "Whether either holds.", "{0} || {1}", "logical_or")
logical_xor = _predicate("logical_xor", "Whether one alone holds.", "!{0} != !{1}", "logical_xor")
logical_not = _predicate("logical_not", "Whether it does not hold.", "!{0}", "logical_not")
bitwise_and = _predicate("bitwise_and", "a & b, bit by bit.", "{0} & {1}", "bitwise_and")
bitwise_or = _predicate("bitwise_or", "a | b, bit by bit.", "{0} | {1}", "bitwise_or")
bitwise_xor = _predicate("bitwise_xor", "a ^ b, bit by bit.", "{0} ^ {1}", "bitwise_xor")
bitwise_not = _predicate("bitwise_not", "Every bit flipped; on booleans, not x.", "!{0}", "invert")
isnan = _predicate("isnan", "Whether x is not a number.", "{0} != {0}", "isnan")
isinf = _predicate("isinf", "Whether x is infinite.", "isinf({0})", "isinf")
isfinite = _predicate(
    "isfinite", "Whether x is neither infinite nor NaN.", "isfinite({0})", "isfinite"
)
