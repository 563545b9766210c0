"""Equations as text: expressions written as in a paper."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from minigrad.nn.equations.expression import Expression

# what binds tighter comes later
_COMPARISON, _SUM, _TIMES, _PRODUCT, _POWER, _ATOM = range(6)
_FUNCTIONS = {"sigmoid": "σ", "standardize": "norm", "maximum": "max", "minimum": "min"}
_SIGNS = {"eq": "=", "ne": "≠", "lt": "<", "le": "≤", "gt": ">", "ge": "≥"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

Head = tuple[str, Expression]
Part = Expression | float
Written = tuple[str, int]  # a text, and how tightly it binds


class Sheet:
    """Equations, in order: names of values, and what these are."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self.names = {id(value): name for name, value in reversed(heads)}
        self.heads = sorted([*heads, *self._unnamed(heads)], key=lambda head: head[1].made)
        self.blocks: dict[int, list[Expression]] = {}
        self.block_names: dict[int, str] = {}
        self._name_blocks()

    def text(self) -> str:
        """One line for each equation, and below them what parameters' blocks are called."""
        width = max(len(name) for name, _ in self.heads)
        lines = [f"{name:{width}} = {self._right_side(name, value)}" for name, value in self.heads]
        legend = list(self._legend())
        return "\n".join([*lines, "", *legend] if legend else lines)

    # ---- what needs a name -----------------------------------------------------------------------

    def _unnamed(self, heads: Sequence[Head]) -> list[Head]:
        """Names for what is used more than once, and for what is taken apart into blocks."""
        uses: Counter[int] = Counter()
        found = {id(value): value for _, value in heads}
        stack = list(found.values())
        while stack:
            for inner in stack.pop().inner():
                uses[id(inner)] += 1
                if id(inner) not in found:
                    found[id(inner)] = inner
                    stack.append(inner)
        taken = {name for name, _ in heads} | {value.name for value in found.values()}
        spare = (name for name in _spare_names() if name not in taken)
        of_blocks = {id(e.args[0]) for e in found.values() if e.op == "block"}
        new: list[Head] = []
        for key, value in sorted(found.items(), key=lambda item: item[1].made):
            named = key in self.names or value.op in ("name", "block")
            if not named and (uses[key] > 1 or key in of_blocks):
                self.names[key] = next(spare)
                new.append((self.names[key], value))
        return new

    def _name_blocks(self) -> None:
        """Call each block after the one value that it leads to, or number the blocks."""
        leads: dict[int, set[str]] = {}
        for name, value in self.heads:
            for part in self._within(value):
                if part.op == "block":
                    leads.setdefault(id(part), set()).add(name.rstrip("'"))
                    known = self.blocks.setdefault(id(part.args[0]), [])
                    if not any(part is other for other in known):
                        known.append(part)
        for parts in self.blocks.values():
            parts.sort(key=lambda part: part.args[1])
            source = self._name_of(parts[0].args[0])
            goals = [leads[id(part)] for part in parts]
            alone = all(len(goal) == 1 for goal in goals)
            labels = [min(goal) for goal in goals]
            distinct = alone and len(set(labels)) == len(labels)
            for k, part in enumerate(parts):
                self.block_names[id(part)] = (
                    _of_block(source, labels[k])
                    if distinct
                    else source + str(k + 1).translate(_SUBSCRIPTS)
                )

    def _within(self, value: Expression) -> Iterable[Expression]:
        """What an equation's right side is made of, down to what has a name."""
        for inner in value.inner():
            yield inner
            if id(inner) not in self.names and inner.op != "block":
                yield from self._within(inner)

    def _legend(self) -> Iterable[str]:
        """What the blocks are blocks of, and the functions that are not in every paper."""
        for parts in sorted(self.blocks.values(), key=lambda parts: parts[0].args[0].made):
            names = "; ".join(self.block_names[id(part)] for part in parts)
            rows = [part.rows for part in parts]
            sizes = "" if len(set(rows)) == 1 else f", of {' and '.join(map(str, rows))} rows"
            yield f"[{names}] = {self._name_of(parts[0].args[0])}{sizes}"
        norms = {
            part.params["eps"]
            for _, value in self.heads
            for part in (value, *self._within(value))
            if part.op == "standardize" and part.params
        }
        yield from (f"norm(v) = (v - mean(v)) / √(var(v) + {eps})" for eps in sorted(norms))

    # ---- writing ---------------------------------------------------------------------------------

    def _name_of(self, value: Expression) -> str:
        return value.name or self.names.get(id(value), "")

    def _right_side(self, name: str, value: Expression) -> str:
        """The expression itself, unless it has another name."""
        known = self._name_of(value)
        return self._formula(value)[0] if known == name else known

    def _written(self, part: Part, tightness: int = _SUM) -> str:
        """An operand, in parentheses where it binds less than `tightness`."""
        if not isinstance(part, Expression):
            return f"{part:g}"
        if part.op == "block":
            return self.block_names[id(part)]
        if name := self._name_of(part):
            return name
        text, binds = self._formula(part)
        return text if binds >= tightness else f"({text})"

    def _formula(self, value: Expression) -> Written:
        return _WRITERS.get(value.op, Sheet.call)(self, value)

    def block(self, value: Expression) -> Written:
        return self.block_names[id(value)], _ATOM

    def affine(self, value: Expression) -> Written:
        """W x + b, and what comes from the input before what comes from the state."""
        weight, x, b = value.args
        parts = [self._product(weight, x), self._written(b)]
        return " + ".join(parts if _of_parameters(b) else parts[::-1]), _SUM

    def matmul(self, value: Expression) -> Written:
        return self._product(*value.args), _PRODUCT

    def _product(self, a: Expression, b: Expression) -> str:
        return f"{self._written(a, _ATOM)} {self._written(b, _ATOM)}"

    def add(self, value: Expression) -> Written:
        return " + ".join(map(self._written, value.args)), _SUM

    def sub(self, value: Expression) -> Written:
        a, b = value.args
        return f"{self._written(a)} - {self._written(b, _TIMES)}", _SUM

    def neg(self, value: Expression) -> Written:
        return f"-{self._written(value.args[0], _TIMES)}", _SUM

    def mul(self, value: Expression) -> Written:
        a, b = value.args
        sign = "·" if isinstance(a, float) or isinstance(b, float) else "∘"
        return f"{self._factor(a)} {sign} {self._factor(b)}", _TIMES

    def div(self, value: Expression) -> Written:
        a, b = value.args
        return f"{self._factor(a)} / {self._written(b, _POWER)}", _TIMES

    def _factor(self, part: Part) -> str:
        """A factor; a matrix product among elementwise ones stands in parentheses."""
        product = isinstance(part, Expression) and part.op == "matmul"
        return self._written(part, _POWER if product else _TIMES)

    def power(self, value: Expression) -> Written:
        base, exponent = (*value.args, 2.0)[:2]
        return f"{self._written(base, _ATOM)}^{self._written(exponent, _ATOM)}", _POWER

    def comparison(self, value: Expression) -> Written:
        a, b = value.args
        return f"{self._written(a)} {_SIGNS[value.op]} {self._written(b)}", _COMPARISON

    def transposed(self, value: Expression) -> Written:
        return f"{self._written(value.args[0], _ATOM)}ᵀ", _ATOM

    def joined(self, value: Expression) -> Written:
        return f"[{'; '.join(map(self._written, value.args))}]", _ATOM

    def call(self, value: Expression) -> Written:
        name = _FUNCTIONS.get(value.op, value.op)
        return f"{name}({', '.join(map(self._written, value.args))})", _ATOM


_WRITERS = {
    "block": Sheet.block,
    "affine": Sheet.affine,
    "matmul": Sheet.matmul,
    "add": Sheet.add,
    "sub": Sheet.sub,
    "neg": Sheet.neg,
    "mul": Sheet.mul,
    "div": Sheet.div,
    "pow": Sheet.power,
    "square": Sheet.power,
    "permute": Sheet.transposed,
    "cat": Sheet.joined,
    **dict.fromkeys(_SIGNS, Sheet.comparison),
}


def _spare_names() -> Iterable[str]:
    """Names for what has none."""
    return (letter + prime for prime in ("", "2", "3") for letter in "amqusvk")


def _of_block(source: str, goal: str) -> str:
    """W_ih, b_hh, of which a block leads to i, as W_ii, b_hi; W as W_i."""
    return f"{source[:-1]}{goal}" if re.search(r"_\wh$", source) else f"{source}_{goal}"


def _of_parameters(value: Expression) -> bool:
    """Whether an expression is made of parameters alone."""
    return value.parameter or (value.op != "name" and all(map(_of_parameters, value.inner())))
