"""Programs as text: a list of NumPy calls that reuse buffers, and the statements of a C kernel."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from minigrad.backend import Kernel, Lanes
from minigrad.fuse.program import (
    Arg,
    Group,
    Program,
    Ref,
    Tracer,
    pruned,
    renamed,
    renumbered_names,
)
from minigrad.fuse.symbol import apply
from minigrad.ops import Elementwise

# names that the kernel texts use themselves, or that C, CUDA or CuPy's kernels reserve
_RESERVED = """
alike constants dtype general shape xp i n in out T
auto bool case char const default delete do double enum
extern float goto inline int long new operator register short signed sizeof static struct switch
template this typedef union unsigned void volatile threadIdx blockIdx blockDim gridDim INFINITY NAN
"""

# NumPy deprecates a third argument by position here; elsewhere that is faster than by name
_OUT_BY_NAME = ("maximum", "minimum")


def kernel(program: Program, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> Kernel:
    """Write a program out for every backend; `inputs` and `outputs` name its groups."""
    program, name = _expanded(program), _identifier(name)
    results = {ref for group in program.outputs for ref in group.refs}
    inner = {
        ref: given
        for ref, given in program.names.items()
        if program.values[ref] is not None and ref not in results
    }
    groups = [*program.inputs, *program.outputs, *(Group((ref,)) for ref in inner)]
    names = iter(_distinct(program, name, groups, [*inputs, *outputs, *inner.values()]))
    texts = _Texts(
        program,
        [next(names) for _ in program.inputs],
        [next(names) for _ in program.outputs],
        dict(zip(inner, names, strict=True)),
    )
    return Kernel(
        name,
        tuple(map(_lanes, program.inputs, texts.inputs)),
        tuple(map(_lanes, program.outputs, texts.outputs)),
        texts.python(name),
        texts.c(),
    )


def _identifier(name: str) -> str:
    """A name that C takes too: not <lambda>, nor σ."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def _distinct(
    program: Program, function: str, groups: Sequence[Group], names: Sequence[str]
) -> list[str]:
    """The groups' names, with _ behind those that would hide another, or what the texts call."""
    taken = {function, *_RESERVED.split()}
    for instruction in program.values:
        if instruction is not None:
            taken.update((instruction[0].ufunc, *re.findall(r"\w+", instruction[0].c)))
    distinct: list[str] = []
    for group, name in zip(groups, map(_identifier, names), strict=True):
        while re.fullmatch(r"[vk]\d+", name) or taken.intersection(
            {name, *_lanes(group, name).names}
        ):
            name += "_"
        taken.update({name, *_lanes(group, name).names})
        distinct.append(name)
    return distinct


def _lanes(group: Group, name: str) -> Lanes:
    if group.dim is None:
        return Lanes((name,))
    return Lanes(tuple(f"{name}_{k}" for k in range(len(group.refs))), group.dim)


def _expanded(program: Program) -> Program:
    """The program with the ops that are written in others (sigmoid, relu) written out."""
    tracer = Tracer()
    here: dict[Ref, Arg] = {}
    for ref, instruction in enumerate(program.values):
        if instruction is None:
            here[ref] = tracer.lane()
        else:
            op, args = instruction
            operands = [here[a] if isinstance(a, int) else a for a in args]
            here[ref] = apply(tracer, op.expand or op, operands)
    return pruned(
        Program(
            tuple(tracer.values),
            tuple(renamed(group, here) for group in program.inputs),
            tuple(renamed(group, here) for group in program.outputs),
            renumbered_names(program, here),
        )
    )


def refs(args: Sequence[Arg]) -> list[Ref]:
    """The values among operands, without the constants (1.0 is no ref, although 1.0 == 1)."""
    return [a for a in args if isinstance(a, int)]


def take_apart(group: Group, name: str) -> list[str]:
    """The statement that names the chunks of an array, if it is taken in chunks."""
    if group.dim is None:
        return []
    lanes = _lanes(group, name).names
    return [f"{', '.join(lanes)}, = xp.chunks({name}, {len(lanes)}, {group.dim})"]


class _Texts:
    """What both texts of a program need: the names of its lanes, and how its values are used."""

    def __init__(
        self,
        program: Program,
        inputs: Sequence[str],
        outputs: Sequence[str],
        inner: dict[Ref, str],
    ) -> None:
        self.program = program
        self.inputs = inputs
        self.outputs = outputs
        self.inner = inner  # the names of values that are neither
        self.labels = dict(inner)
        for group, name in zip(program.outputs, outputs, strict=True):
            if group.dim is None:
                self.labels.update(dict.fromkeys(refs(group.refs), name))
        self.names: dict[Ref, str] = {}
        for group, name in zip(program.inputs, self.inputs, strict=True):
            self.names.update(zip(refs(group.refs), _lanes(group, name).names, strict=True))
        self.lanes = list(self.names.values())
        self.kept = {ref for group in program.outputs for ref in refs(group.refs)}
        self.last_use: dict[Ref, Ref] = {}
        # the arguments that each value depends on: where they are equal, the shapes are
        argument = {ref: k for k, group in enumerate(program.inputs) for ref in group.refs}
        self.depends: list[frozenset[int]] = []
        for ref, instruction in enumerate(program.values):
            args = refs(instruction[1]) if instruction else []
            of = frozenset[int]().union(*(self.depends[a] for a in args))
            self.depends.append(of if instruction else frozenset({argument[ref]}))
            self.last_use.update(dict.fromkeys(args, ref))

    def python(self, name: str) -> str:
        """`def name(xp)`, which gives the function on arrays: a list of calls that write into
        operands they need no more; where dtypes or 0-d arrays forbid that, `general` runs."""
        uses = sorted({i[0].ufunc for i in self.program.values if i is not None})
        parameters = ", ".join(self.inputs)
        dtypes = [f"{x}.dtype is dtype" for x in self.inputs[1:]]
        ranks = " and ".join(f"{x}.ndim" for x in self.inputs)
        fast = " and ".join(["dtype.kind == 'f'", "shape", *dtypes, f"(alike or ({ranks}))"])
        lines = [
            f"def {name}(xp):",
            *(f"    {use} = xp.{use}" for use in uses),
            "    constants = {}",
            f"    def {name}({parameters}):",
            *(f"        {line}" for line in self._opening()),
            f"        if not ({fast}):",
            f"            return general(alike, shape, {', '.join(self.lanes)})",
            *(f"        {line}" for line in _Body(self, reuse=True).lines),
            f"    def general(alike, shape, {', '.join(self.lanes)}):",
            *(f"        {line}" for line in _Body(self, reuse=False).lines),
            f"    return {name}",
        ]
        return "\n".join(lines) + "\n"

    def _opening(self) -> list[str]:
        """Take chunked arguments apart, and find the shape to which all arguments broadcast."""
        groups = list(zip(self.program.inputs, self.inputs, strict=True))
        lines = [line for group, name in groups for line in take_apart(group, name)]
        first, *others = [_lanes(group, name).names[0] for group, name in groups]
        alike = " and ".join(f"{x}.shape == shape" for x in others) or "True"
        chunked = [(_lanes(g, n).names[0], g.dim, n) for g, n in groups if g.dim is not None]
        checks = "".join(f"; xp.check_chunk({x}, {d}, shape, {n!r})" for x, d, n in chunked)
        return [
            *lines,
            f"dtype = {self.inputs[0]}.dtype",
            f"shape = {first}.shape",
            f"alike = {alike}",
            f"if not alike: shape = xp.common_shape({', '.join([first, *others])}){checks}",
        ]

    def c(self) -> str:
        """Statements that compute one element, in the number type T."""
        lines: list[str] = []
        names = dict(self.names)
        for ref, instruction in enumerate(self.program.values):
            if instruction is not None:
                op, args = instruction
                operands = [names[a] if isinstance(a, int) else _c_literal(a) for a in args]
                names[ref] = self.inner.get(ref, f"v{ref}")
                kind = "bool" if op.boolean else "T"
                lines.append(f"{kind} {names[ref]} = {op.c.format(*operands)};")
        for group, name in zip(self.program.outputs, self.outputs, strict=True):
            for ref, lane in zip(group.refs, _lanes(group, name).names, strict=True):
                source = names[ref] if isinstance(ref, int) else _c_literal(ref)
                lines.append(f"{lane} = {source};")
        return "\n".join(lines)


class _Body:
    """The statements of one Python function. With `reuse`, a value is written into an operand that
    was made here, is used for the last time and has its shape, or into its chunk of an output."""

    def __init__(self, texts: _Texts, reuse: bool) -> None:
        self.texts = texts
        self.reuse = reuse
        self.lines: list[str] = []
        self.names = dict(texts.names)
        self.constants: dict[float, str] = {}
        self.owned: set[Ref] = set()  # values in buffers that were made here
        self.homes: dict[Ref, str] = {}  # the chunk of an output into which a value is written
        self.buffers: dict[str, str] = {}  # what holds these chunks
        program = texts.program
        if reuse:
            self._name_constants()
            for group, name in zip(program.outputs, texts.outputs, strict=True):
                self._allocate(group, name)
        for ref, instruction in enumerate(program.values):
            if instruction is not None:
                self.lines.append(self._statement(ref, *instruction))
        results = list(map(self._result, program.outputs, texts.outputs))
        spread = list(map(self._spread, program.outputs, results))
        if spread != results:
            self.lines.append(f"if not alike: return ({', '.join(spread)},)")
        self.lines.append(f"return ({', '.join(results)},)")

    def _spread(self, group: Group, result: str) -> str:
        """A result in the shape of all arguments: a smaller cotangent would count many times."""
        texts = self.texts
        if group.dim is not None or len(texts.depends[refs(group.refs)[0]]) == len(texts.inputs):
            return result
        return f"xp.broadcast_to({result}, shape)"

    def _name_constants(self) -> None:
        """Constants become 0-d arrays, made once a dtype: NumPy converts numbers at each call."""
        values = [i for i in self.texts.program.values if i is not None]
        found = sorted({a for _, args in values for a in args if isinstance(a, float)})
        if found:
            names = [f"k{i}" for i in range(len(found))]
            literals = ", ".join(map(_literal, found))
            make = f"[xp.asarray(k, dtype) for k in ({literals},)]"
            self.lines.append(f"if dtype not in constants: constants[dtype] = {make}")
            self.lines.append(f"{', '.join(names)}, = constants[dtype]")
            self.constants.update(zip(found, names, strict=True))

    def _allocate(self, group: Group, name: str) -> None:
        """One buffer for an output of chunks, shared by outputs of the same chunks."""
        if group.dim is None or repr(group.refs) in self.buffers:
            return
        self.buffers[repr(group.refs)] = name
        n = len(group.refs)
        self.lines.append(f"{name} = xp.empty_chunks({n}, {group.dim}, shape, dtype)")
        self.lines += take_apart(group, name)
        for ref, lane in zip(group.refs, _lanes(group, name).names, strict=True):
            if isinstance(ref, int) and self.texts.program.values[ref] is not None:
                self.homes.setdefault(ref, lane)

    def _statement(self, ref: Ref, op: Elementwise, args: tuple[Arg, ...]) -> str:
        operands = [self._name(a) for a in args]
        call = f"{op.ufunc}({', '.join(operands)}"
        writes = self.reuse and not op.boolean and op.ufunc != "where"  # takes an `out`
        target = self.homes.get(ref)
        if target is not None and not writes:
            self.names[ref] = target
            return f"{target}[...] = {call})"
        label = target or self.texts.labels.get(ref, "")
        if target is None and not op.boolean:
            self.owned.add(ref)
        if target is None and writes:
            target = next((self.names[a] for a in refs(args) if self._reusable(a, ref)), None)
        if target is not None:
            call += f", {'out=' if op.ufunc in _OUT_BY_NAME else ''}{target}"
        self.names[ref] = label or target or f"v{ref}"
        return f"{call})" if self.names[ref] == target else f"{self.names[ref]} = {call})"

    def _reusable(self, arg: Ref, ref: Ref) -> bool:
        texts = self.texts
        return (
            arg in self.owned
            and arg not in texts.kept
            and texts.last_use[arg] == ref
            and texts.depends[arg] == texts.depends[ref]
        )

    def _result(self, group: Group, name: str) -> str:
        if group.dim is None:
            return self._name(group.refs[0])
        if not self.reuse:
            lanes = ", ".join(map(self._name, group.refs))
            return f"xp.join_chunks(({lanes},), {group.dim}, shape)"
        if self.buffers[repr(group.refs)] == name:  # what was not written in place is copied
            for ref, lane in zip(group.refs, _lanes(group, name).names, strict=True):
                if self._name(ref) != lane:
                    self.lines.append(f"{lane}[...] = {self._name(ref)}")
        return self.buffers[repr(group.refs)]

    def _name(self, arg: Arg) -> str:
        if isinstance(arg, int):
            return self.names[arg]
        return self.constants.get(arg) or _literal(arg)


def _literal(value: float) -> str:
    return repr(value) if abs(value) < float("inf") else f"float('{value}')"


def _c_literal(value: float) -> str:
    if math.isnan(value):
        return "(T)NAN"
    return (
        f"(T){value!r}" if abs(value) < float("inf") else f"({'-' if value < 0 else ''}(T)INFINITY)"
    )
