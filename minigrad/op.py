"""An op: a name, how to run it on arrays, and how to pull a gradient through it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, MethodType
from typing import Any, Self, TypeVar, overload

from minigrad.backend import Array, array_types, backend_of
from minigrad.gathering import Later

# An array, a Tensor or a symbol: what goes into an op says what comes out.
V = TypeVar("V", bound=Any)

Forward = Callable[..., Any]
Rule = Callable[..., Any]


class Op:
    """A differentiable primitive.

    `forward(xp, *xs, **params)` computes on arrays: array arguments are positional, metadata is
    keyword, `xp` is their backend. `rules[i](g, y, *xs, **params)` gives the cotangent of `xs[i]`
    from the cotangent `g` of the output `y`. A rule is written in ops and operators only, so that
    the same line runs on arrays (backward), on Tensors (gradients of gradients) and on symbols
    (fusing). It may return `Later(op, …)`, a contribution that the tape runs together with others
    of its kind through `op.settle`.

    A rule says by its argument names what it needs, and the tape keeps no more: `x` is the array,
    `x_shape` its shape alone, and `_x` nothing (it comes as None).

    Calling an op hands it to the first argument that can run it (`__run_op__`): a Tensor runs it
    on arrays and records a node, a symbol writes it down. With raw arrays it just computes.
    """

    several = False  # whether forward gives a tuple of outputs, and rules take one of cotangents
    joint = False  # whether `pull` gives all cotangents at once, instead of one rule an input
    view = False  # whether the output may lie in the memory of the first input
    fit: Callable[[Any, tuple[int, ...]], Any] | None = None  # undoes broadcasting, if it may occur
    floating = False  # whether it knows no integers, and takes them in the default floating dtype
    condition = False  # whether its first argument chooses between the others
    inline: Callable[..., Any] | None = None  # the function that a fused op was traced from
    # the inputs whose rules (where they have at most two axes) also take g, and the inputs named,
    # stacked along a new first axis, and give the sum over it
    stacks: Mapping[int, tuple[int, ...]] = MappingProxyType({})
    # carries a waiting contribution to the input, so that it can go on waiting there
    through: Callable[[Later, dict[str, Any]], Later | None] | None = None

    def __init__(
        self,
        name: str,
        forward: Forward,
        *rules: Rule,
        settle: Callable[[Array | None, list[Later]], Array] | None = None,
        doc: str | None = None,
    ) -> None:
        self.name = self.__name__ = name
        self.forward = forward
        self.rules = rules
        self.differentiable = bool(rules)
        self.saving_forward = forward  # runs for the tape: may give hidden outputs as well
        self._settle = settle
        self.__doc__ = doc if doc is not None else forward.__doc__
        self.visible: int | None = None  # how many outputs the caller sees; None for all
        self.saves_xs, self.saves_y, self.shapes_of = _needed(rules)

    @overload
    def __call__(self, x: float, /, *xs: Any, **params: Any) -> Any: ...
    @overload
    def __call__(self, x: V, /, *xs: Any, **params: Any) -> V: ...
    def __call__(self, *xs: Any, **params: Any) -> Any:
        xp = None
        for x in xs:
            backend = array_types.get(x.__class__)
            if backend is None:  # asked first: a failing getattr is dearer
                run = getattr(x, "__run_op__", None)
                if run is not None:
                    return run(self, xs, params)
            elif xp is None:
                xp = backend
        return self.forward(xp or backend_of(), *xs, **params)

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: V, owner: type | None = None) -> Callable[..., V]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind like a function, so that a class attribute `exp = ops.exp` is a method."""
        return self if instance is None else MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __deepcopy__(self, _memo: Any) -> Self:
        return self  # like a function: a model that holds one can be copied

    def keeps(self, count: int) -> Sequence[bool]:
        """Which of `count` inputs some rule needs."""
        keep = self.saves_xs
        return [keep] * count if isinstance(keep, bool) else [*keep, *[False] * count][:count]

    def saved(self, xs: Sequence[Array]) -> Sequence[Array | None] | None:
        """The inputs that some rule needs, None in the place of the others, or None for none."""
        keep = self.saves_xs
        if keep is True:
            return xs
        if keep is False:
            return None
        return [x if k else None for x, k in zip(xs, keep, strict=False)]

    def settle(self, into: Array | None, waiting: list[Later]) -> Array:
        """Sum waiting applications of this op, written into `into` where one is given."""
        assert self._settle is not None, f"{self.name} cannot wait"
        return self._settle(into, waiting)


class JointOp(Op):
    """An op whose one rule gives all cotangents at once: for many inputs or many outputs.

    `rule(g, y, *xs, **params)` returns one cotangent per input; when `several` is true, `g` and
    `y` are tuples over the outputs and an absent cotangent is None.
    """

    joint = True

    def __init__(
        self,
        name: str,
        forward: Forward,
        rule: Rule,
        *,
        several: bool = False,
        doc: str | None = None,
    ) -> None:
        super().__init__(name, forward, rule, doc=doc)
        self.several = several

    def pull(
        self, g: Any, y: Any, xs: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
    ) -> Sequence[Any]:
        return self.rules[0](g, y, *xs, **params)

    def last_pull(
        self, g: Any, y: Any, xs: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
    ) -> Sequence[Any]:
        """`pull`, and nobody pulls again: an op that holds much may let go of it on the way."""
        return self.pull(g, y, xs, needs, params)


def _needed(rules: Sequence[Rule]) -> tuple[bool | list[bool], bool, tuple[int, ...]]:
    """Read off the rules' argument names: which inputs they need, whether y, and whose shapes."""
    xs: list[bool] = []
    saves_y = False
    shapes_of: set[int] = set()
    for rule in rules:
        names = _positional(rule)
        saves_y |= not names[1].startswith("_")
        for i, name in enumerate(names[2:]):
            xs += [False] * (i + 1 - len(xs))
            if name.endswith("_shape"):
                shapes_of.add(i)
            else:
                xs[i] |= not name.startswith("_")
    clash = [i for i in shapes_of if xs[i]]
    assert not clash, f"argument {clash} is wanted both as an array and as a shape"
    if not any(xs):
        return False, saves_y, tuple(shapes_of)
    return (True if all(xs) else xs), saves_y, tuple(shapes_of)


def _positional(rule: Rule) -> Sequence[str]:
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return [p.name for p in inspect.signature(rule).parameters.values() if p.kind in kinds]
