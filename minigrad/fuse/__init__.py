"""`@fuse`: an elementwise function, traced once, differentiated by the ops' rules, as one op."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from minigrad.backend import Array, Backend, Kernel
from minigrad.fuse.derive import Pullback, pull_back, with_hidden_outputs
from minigrad.fuse.emit import kernel
from minigrad.fuse.named import ears
from minigrad.fuse.named import named as named
from minigrad.fuse.named import recording as recording
from minigrad.fuse.program import Program
from minigrad.fuse.symbol import FuseError as FuseError
from minigrad.fuse.symbol import trace
from minigrad.op import Op
from minigrad.ops.elementwise import Elementwise, undo_broadcast

_PRESENT = (True,)
_NUMBERS = frozenset((int, float, bool))
Run = Callable[..., tuple[Array, ...]]


class FusedOp(Op):
    """A program as an op: one node on the tape, whose pull-back is again a program.

    What the pull-back needs and would be dear to compute again (tanh, exp …) are hidden outputs:
    outputs like the others, so that a second derivative flows through them too.
    """

    fit = staticmethod(undo_broadcast)
    joint = True

    def __init__(
        self,
        name: str,
        program: Program,
        inputs: Sequence[str],
        outputs: Sequence[str],
        own_results: bool = False,
    ) -> None:
        super().__init__(name, self._plain)
        self.differentiable = True
        self.saving_forward = self._saving
        self.program = program
        self.inputs = inputs
        self.outputs = outputs
        self.visible = len(program.outputs)
        self.saves_xs, self.saves_y = [], True  # of the inputs, what `saved` says
        # results that are arguments as they came: a user's must not change when those are written
        lanes = {ref for group in program.inputs for ref in group.refs}
        self._copies = [
            k for k, y in enumerate(program.outputs) if own_results and lanes.intersection(y.refs)
        ]
        self._runs: dict[tuple[Backend, bool, bool], Run] = {}
        self._pullbacks: dict[tuple[tuple[bool, ...], tuple[bool, ...]], Pull] = {}

    @functools.cached_property
    def full(self) -> Program:
        """The program with its hidden outputs."""
        full = with_hidden_outputs(self.program)
        self.several = len(full.outputs) > 1  # known only now; nothing is recorded before
        return full

    @functools.cached_property
    def _reads(self) -> tuple[int, ...]:
        """Which inputs the pull-back reads, whatever is asked of it."""
        full = self.full
        return pull_back(full, _PRESENT * len(full.outputs), _PRESENT * len(full.inputs)).xs

    def kernel(self, saving: bool = False) -> Kernel:
        """The texts of the program, or (saving) of the one with hidden outputs."""
        program = self.full if saving else self.program
        hidden = enumerate(program.outputs[len(self.outputs) :])
        names = [*self.outputs, *(program.name_of(y, f"saved{k}") for k, y in hidden)]
        return kernel(program, self.name, self.inputs, names)

    def compiled(self, xp: Backend, saving: bool) -> Run:
        """The function of arrays that runs the program, or (saving) the one with hidden outputs."""
        key = (xp, xp.native, saving)
        run = self._runs.get(key)
        if run is None:
            run = xp.compile(self.kernel(saving))
            run = self._runs[key] = self._with_own_results(run) if self._copies else run
        return run

    def _with_own_results(self, run: Run) -> Run:
        def run_and_copy(*xs: Array) -> tuple[Array, ...]:
            return tuple([y.copy() if k in self._copies else y for k, y in enumerate(run(*xs))])

        return run_and_copy

    def _plain(self, xp: Backend, *xs: Array) -> Any:
        ys = self.compiled(xp, saving=False)(*_arrays(xp, xs))
        return ys[0] if len(ys) == 1 else ys

    def _saving(self, xp: Backend, *xs: Array) -> Any:
        ys = self.compiled(xp, saving=True)(*_arrays(xp, xs))
        return ys if self.several else ys[0]

    def keeps(self, count: int) -> Sequence[bool]:
        return [k in self._reads for k in range(count)]

    def saved(self, xs: Sequence[Array]) -> Sequence[Array | None] | None:
        return [x if k in self._reads else None for k, x in enumerate(xs)]

    def pull(
        self, g: Any, y: Any, xs: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
    ) -> Sequence[Any]:
        gs, ys = (g, y) if self.several else ((g,), (y,))
        return self.puller(tuple([one is not None for one in gs]), tuple(needs))(gs, ys, xs)

    last_pull = pull

    def puller(self, present: tuple[bool, ...], needs: tuple[bool, ...]) -> Pull:
        """The pull-back for the cotangents that are present and the inputs that need one."""
        pull = self._pullbacks.get((present, needs))
        if pull is None:
            pull = self._pullbacks[present, needs] = Pull(self, present, needs)
        return pull

    def pullback(self, present: Sequence[bool], wanted: Sequence[bool]) -> FusedOp:
        """The pull-back as an op, for the cotangents that are present and the inputs wanted."""
        return self.puller(tuple(present), tuple(wanted)).op


class Pull:
    """One pull-back of a fused op: which cotangents come, and what it reads and gives."""

    def __init__(self, op: FusedOp, present: tuple[bool, ...], wanted: tuple[bool, ...]) -> None:
        self.derived: Pullback = pull_back(op.full, present, wanted)
        texts = op.kernel(saving=True)
        ys = [
            lanes.names[0] if lanes.dim is None else op.outputs[k]
            for k, lanes in enumerate(texts.outputs)
        ]
        inputs = [f"g_{ys[k]}" for k, here in enumerate(present) if here]
        inputs += [op.inputs[k] for k in self.derived.xs]
        inputs += [ys[k] for k in self.derived.ys]
        outputs = [f"d_{op.inputs[k]}" for k in self.derived.gives]
        self.op = FusedOp(f"{op.name}_backward", self.derived.program, inputs, outputs)
        self.count = len(op.program.inputs)

    def __call__(self, gs: Sequence[Any], ys: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
        derived = self.derived
        result: list[Any] = [None] * self.count
        if derived.gives:
            given = [g for g in gs if g is not None]
            given += [xs[k] for k in derived.xs]
            given += [ys[k] for k in derived.ys]
            out: Any = self.op(*given)
            gxs = cast("tuple[Any, ...]", out) if isinstance(out, tuple) else (out,)
            for k, gx in zip(derived.gives, gxs, strict=True):
                result[k] = gx
        return result


def _arrays(xp: Backend, xs: tuple[Any, ...]) -> tuple[Array, ...]:
    """The arguments with numbers made 0-d arrays."""
    for x in xs:
        if type(x) in _NUMBERS:
            dtype = np.result_type(*[getattr(x, "dtype", x) for x in xs])  # a mask keeps 0.5 a half
            return tuple([xp.asarray(x, dtype) if type(x) in _NUMBERS else x for x in xs])
    return xs


@functools.cache
def fused_elementwise(op: Elementwise, arguments: int) -> FusedOp:
    """An elementwise op on its own as a fused op, with kernels for every backend."""
    names = [f"x{k}" for k in range(arguments)]
    program, _ = trace(op, arguments)
    return FusedOp(op.name, program, names, ["y"], own_results=True)


class Fused:
    """A fused function: call it like the function; see `fuse`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        parameters = inspect.signature(function).parameters.values()
        if any(
            p.kind is not p.POSITIONAL_OR_KEYWORD or p.default is not p.empty for p in parameters
        ):
            raise FuseError(
                f"{function.__name__}: a fused function takes plain positional arguments"
            )
        self.names = [p.name for p in parameters]

    @functools.cached_property
    def _traced(self) -> tuple[FusedOp, bool]:
        program, single = trace(self.function, len(self.names))
        outputs = [
            program.name_of(y, "y" if single else f"y{k}") for k, y in enumerate(program.outputs)
        ]
        op = FusedOp(self.function.__name__, program, self.names, outputs, own_results=True)
        op.inline = self.function
        return op, single

    @property
    def op(self) -> FusedOp:
        """The op that the function became."""
        return self._traced[0]

    def __call__(self, *xs: Any) -> Any:
        if len(xs) != len(self.names):
            raise TypeError(f"{self.function.__name__} takes {self.names}, got {len(xs)} arguments")
        if ears.listener is not None:  # to the names within
            return self.function(*xs)
        op, single = self._traced
        ys: Any = op(*xs)
        return cast("tuple[Any]", ys)[0] if single and isinstance(ys, tuple) else ys

    def __deepcopy__(self, _memo: Any) -> Fused:
        return self  # like a function: a model that holds one can be copied

    def __repr__(self) -> str:
        return f"<fused {self.function.__name__}({', '.join(self.names)})>"

    @property
    def source(self) -> str:
        """The derived forward and backward code, as run on NumPy."""
        return "\n".join(k.python for k in self._kernels())

    @property
    def cuda_source(self) -> str:
        """The derived forward and backward code of one element, as run on the GPU."""
        return "\n".join(f"// {k.name}\n{k.c}\n" for k in self._kernels())

    def _kernels(self) -> list[Kernel]:
        op = self.op
        hidden = len(op.full.outputs) - len(op.program.outputs)
        present = [True] * len(op.program.outputs) + [False] * hidden
        backward = op.pullback(present, [True] * len(op.program.inputs))
        return [op.kernel(saving=True), backward.kernel()]


def fuse(function: Callable[..., Any]) -> Fused:
    """Make an elementwise function one op: one node on the tape, one kernel each way on a GPU.

    The function is written in ordinary ops and operators, and is traced once, on its first call,
    whatever shapes come later. Its backward code is derived from the ops' rules and simplified;
    `.source` prints it. Arguments may broadcast, and `x.chunk(n)` takes an argument apart into
    equal chunks (the gates of one matrix product). Every result has the shape to which all the
    arguments broadcast. Raises FuseError where the function is not straight-line and elementwise:
    `if`, shapes, indices, captured tensors.

    >>> import minigrad as mg
    >>> @mg.fuse
    ... def swish(x):
    ...     return x * mg.sigmoid(x)
    >>> swish(mg.zeros(2))
    tensor([0., 0.])
    """
    return Fused(function)
