"""Programs as text: a list of NumPy calls that reuse buffers, and the statements of a C kernel."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backend import Kernel, Lanes
from minigrad.fuse.program import Arg, Group, Instruction, Program, Ref, Tracer, pruned, renamed
from minigrad.fuse.symbol import apply
from minigrad.ops import Elementwise

# names that the kernel texts use themselves, or that C or CuPy's kernels reserve
_RESERVED = {"i", "n", "T", "xp", "in", "out", "int", "float", "double", "long", "short", "char"}


def kernel(program: Program, name: str, inputs: Sequence[str], outputs: Sequence[str]) -> Kernel:
    """Write a program out for every backend; `inputs` and `outputs` name its groups."""
    written = _Writer(_expanded(program), inputs, outputs)
    return Kernel(
        name,
        tuple(_lanes(g, n) for g, n in zip(program.inputs, map(_safe, inputs), strict=True)),
        tuple(_lanes(g, n) for g, n in zip(program.outputs, map(_safe, outputs), strict=True)),
        written.python(name),
        written.c(),
    )


def _safe(name: str) -> str:
    return name + "_" if name in _RESERVED else name


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
        )
    )


class _Writer:
    """Names every value of a program, knows when it is used last, and writes the texts."""

    def __init__(self, program: Program, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.program = program
        self.inputs = list(map(_safe, inputs))
        self.outputs = list(map(_safe, outputs))
        self.names: dict[Ref, str] = {}
        for group, name in zip(program.inputs, self.inputs, strict=True):
            self.names.update(zip(group.refs, _lanes(group, name).names, strict=True))  # pyright: ignore[reportArgumentType, reportCallIssue]  # input refs are ints
        self.last_use = self._last_uses()
        self.depends = self._dependencies()
        self.homes = self._homes()
        kept = [r for group in program.outputs for r in group.refs if isinstance(r, int)]
        self.kept = set(kept)

    def _last_uses(self) -> dict[Ref, int]:
        last: dict[Ref, int] = {}
        for ref, instruction in enumerate(self.program.values):
            for arg in instruction[1] if instruction else ():
                if isinstance(arg, int):
                    last[arg] = ref
        return last

    def _dependencies(self) -> list[frozenset[Ref]]:
        """Which input lanes each value is computed from: equal sets have equal shapes."""
        depends: list[frozenset[Ref]] = []
        for ref, instruction in enumerate(self.program.values):
            if instruction is None:
                depends.append(frozenset({ref}))
            else:
                of = [depends[a] for a in instruction[1] if isinstance(a, int)]
                depends.append(frozenset().union(*of))
        return depends

    def _homes(self) -> dict[Ref, str]:
        """Where a value that is a chunk of an output is to be written: its view of the buffer."""
        homes: dict[Ref, str] = {}
        for group, name in zip(self.program.outputs, self.outputs, strict=True):
            if group.dim is not None:
                for ref, lane in zip(group.refs, _lanes(group, name).names, strict=True):
                    if isinstance(ref, int) and self.program.values[ref] is not None:
                        homes.setdefault(ref, lane)
        return homes

    # ---- Python ------------------------------------------------------------------------------

    def python(self, name: str) -> str:
        """`def name(xp)`, which returns the function on arrays; it falls back where shapes or
        dtypes forbid writing into operands."""
        uses = {i[0].ufunc for i in self.program.values if i is not None}
        parameters = ", ".join(self.inputs)
        same = " and ".join(
            [f"{x}.dtype is dtype" for x in self.inputs[1:]] + [f"{x}.ndim" for x in self.inputs]
        )
        lines = [
            f"def {name}(xp):",
            *(f"    {u} = xp.{u}" for u in sorted(uses)),
            f"    def {name}({parameters}):",
            f"        dtype = {self.inputs[0]}.dtype",
            f"        if not (dtype.kind == 'f' and {same}):",
            f"            return general({parameters})",
            *self._body(reuse=True),
            f"    def general({parameters}):",
            *self._body(reuse=False),
            f"    return {name}",
        ]
        return "\n".join(lines) + "\n"

    def _body(self, reuse: bool) -> list[str]:
        lines: list[str] = []
        for group, name in zip(self.program.inputs, self.inputs, strict=True):
            if group.dim is not None:
                lanes = ", ".join(_lanes(group, name).names)
                lines.append(f"{lanes}, = xp.chunks({name}, {len(group.refs)}, {group.dim})")
        names = dict(self.names)
        buffers = self._buffers(lines, names) if reuse else {}
        owned: set[Ref] = set()
        for ref, instruction in enumerate(self.program.values):
            if instruction is not None:
                lines.append(self._statement(ref, instruction, names, owned, buffers, reuse))
        results = [self._result(k, names, buffers, lines) for k in range(len(self.outputs))]
        tail = ", " if len(results) == 1 else ""
        lines.append(f"return ({', '.join(results)}{tail})")
        return ["        " + line for line in lines]

    def _buffers(self, lines: list[str], names: dict[Ref, str]) -> dict[tuple[Arg, ...], str]:
        """Allocate one buffer per distinct chunked output, and its views."""
        buffers: dict[tuple[Arg, ...], str] = {}
        for group, name in zip(self.program.outputs, self.outputs, strict=True):
            if group.dim is not None and group.refs not in buffers:
                buffers[group.refs] = name
                of = frozenset().union(*(self.depends[r] for r in group.refs if isinstance(r, int)))
                like = ", ".join(names[r] for r in sorted(of))
                n = len(group.refs)
                lines.append(f"{name} = xp.empty_chunks({n}, {group.dim}, ({like},))")
                lanes = ", ".join(_lanes(group, name).names)
                lines.append(f"{lanes}, = xp.chunks({name}, {n}, {group.dim})")
        return buffers

    def _statement(
        self,
        ref: Ref,
        instruction: Instruction,
        names: dict[Ref, str],
        owned: set[Ref],
        buffers: dict[tuple[Arg, ...], str],
        reuse: bool,
    ) -> str:
        op, args = instruction
        operands = [names[a] if isinstance(a, int) else _literal(a) for a in args]
        writable = reuse and not op.boolean and op.ufunc != "where"
        home = self.homes.get(ref) if buffers else None
        if home is not None:
            names[ref] = home
            if not writable:
                return f"{home}[...] = {op.ufunc}({', '.join(operands)})"
            return f"{op.ufunc}({', '.join([*operands, home])})"
        if writable:
            for a in args:
                if self._dies(a, ref, owned) and self.depends[int(a)] == self.depends[ref]:
                    names[ref] = names[int(a)]
                    owned.add(ref)
                    return f"{op.ufunc}({', '.join([*operands, names[ref]])})"
        if not op.boolean:
            owned.add(ref)
        names[ref] = f"v{ref}"
        return f"v{ref} = {op.ufunc}({', '.join(operands)})"

    def _dies(self, arg: Arg, ref: Ref, owned: set[Ref]) -> bool:
        """Whether a value was made here, is used for the last time at `ref`, and is no output."""
        return (
            isinstance(arg, int)
            and arg in owned
            and arg not in self.kept
            and self.last_use[arg] == ref
        )

    def _result(
        self,
        k: int,
        names: dict[Ref, str],
        buffers: dict[tuple[Arg, ...], str],
        lines: list[str],
    ) -> str:
        group, name = self.program.outputs[k], self.outputs[k]
        if group.dim is None:
            ref = group.refs[0]
            return names[ref] if isinstance(ref, int) else _literal(ref)
        if not buffers:
            lanes = ", ".join(names[r] if isinstance(r, int) else _literal(r) for r in group.refs)
            return f"xp.join_chunks(({lanes},), {group.dim})"
        if buffers[group.refs] == name:
            for ref, lane in zip(group.refs, _lanes(group, name).names, strict=True):
                source = names[ref] if isinstance(ref, int) else _literal(ref)
                if source != lane:
                    lines.append(f"{lane}[...] = {source}")
        return buffers[group.refs]

    # ---- C -----------------------------------------------------------------------------------

    def c(self) -> str:
        """Statements that compute one element, in the number type T."""
        lines: list[str] = []
        names = dict(self.names)
        for ref, instruction in enumerate(self.program.values):
            if instruction is not None:
                op, args = instruction
                operands = [names[a] if isinstance(a, int) else _c_literal(a) for a in args]
                names[ref] = f"v{ref}"
                kind = "bool" if op.boolean else "T"
                lines.append(f"{kind} v{ref} = {_c_expression(op, operands)};")
        for group, name in zip(self.program.outputs, self.outputs, strict=True):
            for ref, lane in zip(group.refs, _lanes(group, name).names, strict=True):
                source = names[ref] if isinstance(ref, int) else _c_literal(ref)
                lines.append(f"{lane} = {source};")
        return "\n".join(lines)


def _c_expression(op: Elementwise, operands: list[str]) -> str:
    return op.c.format(*operands)


def _literal(value: float) -> str:
    return repr(value) if abs(value) < float("inf") else f"float('{value}')"


def _c_literal(value: float) -> str:
    if value != value:
        return "(T)NAN"
    return (
        f"(T){value!r}" if abs(value) < float("inf") else f"({'-' if value < 0 else ''}(T)INFINITY)"
    )
