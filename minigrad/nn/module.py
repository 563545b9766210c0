"""`Module`: a thing with parameters, which are found by walking its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self, cast

import numpy as np

from minigrad.tensor import Tensor


class Parameter(Tensor):
    """A leaf tensor that a module owns and an optimiser trains."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data.data if isinstance(data, Tensor) else data)
        self.requires_grad_(requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Buffer(Tensor):
    """A tensor that is saved with a module but not trained."""

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(data.data if isinstance(data, Tensor) else data)


class IncompatibleKeys(NamedTuple):
    """Which names `load_state_dict(strict=False)` did not find, and did not expect."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of layers and models: write `__init__` and `forward`, nothing is registered.

    Parameters, buffers and modules are found by walking the attributes in the order in which they
    were defined, also inside lists, tuples and dicts.

    >>> import minigrad as mg
    >>> class Net(mg.nn.Module):
    ...     def __init__(self):
    ...         self.hidden = mg.nn.Linear(4, 3)
    ...         self.out = mg.nn.Linear(3, 2)
    ...
    ...     def forward(self, x):
    ...         return self.out(self.hidden(x).tanh())
    >>> [name for name, _ in Net().named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; called by `module(...)`."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward(self, ...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # ---- walking -----------------------------------------------------------------------------

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Name and value of each tensor and module held, in the order of definition."""
        for name, value in vars(self).items():
            yield from _entries(name, value)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules held directly, with their names."""
        return ((name, value) for name, value in self.entries() if isinstance(value, Module))

    def children(self) -> Iterator[Module]:
        """The modules held directly."""
        return (module for _, module in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all within it, with dotted names, each once."""
        seen: set[int] = set()
        for path, module in self._paths(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def _paths(self, prefix: str, above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Module]]:
        """Every path to a module within; a shared one has several, a reference upwards none."""
        if not any(self is module for module in above):
            yield prefix, self
            for name, child in self.named_children():
                yield from child._paths(_join(prefix, name), (*above, self))

    def modules(self) -> Iterator[Module]:
        """This module and all within it."""
        return (module for _, module in self.named_modules())

    def _named_tensors(self, kind: type[Tensor], prefix: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules(prefix):
            for name, value in module.entries():
                if isinstance(value, kind) and id(value) not in seen:
                    seen.add(id(value))
                    yield _join(path, name), value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """All parameters with their dotted names; one that is shared comes once."""
        return self._named_tensors(Parameter, prefix)

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, each once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """All buffers with their dotted names."""
        return self._named_tensors(Buffer, prefix)

    def buffers(self) -> Iterator[Buffer]:
        """All buffers, each once."""
        return (b for _, b in self.named_buffers())

    # ---- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by dotted name, off the tape, sharing memory.

        What is shared comes under each of its names, as in PyTorch.
        """
        return {name: value.detach() for name, value in self._targets().items()}

    def _targets(self) -> dict[str, Tensor]:
        return {
            _join(path, name): value
            for path, module in self._paths("")
            for name, value in module.entries()
            if isinstance(value, (Parameter, Buffer))
        }

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy values in by name: tensors, arrays, or anything NumPy can read (PyTorch's too).

        Raises KeyError (with strict) for missing or unexpected names and ValueError for shapes
        that differ, or dtypes that would lose a fraction; the module is then as it was.
        """
        targets = self._targets()
        missing = [name for name in targets if name not in state_dict]
        unexpected = [name for name in state_dict if name not in targets]
        if strict and (missing or unexpected):
            raise KeyError(
                f"load_state_dict: missing {missing}, unexpected {unexpected}; "
                "pass strict=False to load what matches"
            )
        values = {name: _array(state_dict[name]) for name in targets if name in state_dict}
        wrong = [
            f"{name}: expected {target.shape} {target.dtype}, got {value.shape} {value.dtype}"
            for name, value in values.items()
            if not _fits(value, target := targets[name])
        ]
        if wrong:
            raise ValueError("load_state_dict: shapes or dtypes differ: " + "; ".join(wrong))
        for name, value in values.items():
            targets[name].copy_(value)
        return IncompatibleKeys(missing, unexpected)

    # ---- modes and moves ---------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode (dropout on), this module and all within it; returns itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation mode (dropout off); returns itself."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for p in self.parameters():
            if p.requires_grad:
                p.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters, or freeze them; returns itself."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def to(self, target: Any) -> Self:
        """Move parameters and buffers to a device or a floating dtype, in place; returns itself.

        Buffers of integers keep their dtype. Raises TypeError for a dtype that is not floating.
        """
        moved = [(value, value.detach().to(target)) for value in self._targets().values()]
        if any(value.dtype.kind == "f" != new.dtype.kind for value, new in moved):
            raise TypeError(f"to: expected a device or a floating dtype, got {target}")
        for value, new in moved:
            if value.dtype.kind == new.dtype.kind and new.data is not value.data:
                value.become(new.data)
        return self

    def cuda(self) -> Self:
        """Move to the GPU; returns itself."""
        return self.to("cuda")

    def cpu(self) -> Self:
        """Move to the CPU; returns itself."""
        return self.to("cpu")

    def float(self) -> Self:
        """Make all parameters float32; returns itself."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Make all parameters float64; returns itself."""
        return self.to(np.float64)

    def apply(self, fn: Callable[[Module], object]) -> Self:
        """Call `fn` on every module within, innermost first, and on this one; returns itself."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- text --------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What `repr` shows of this module itself: its sizes and options."""
        return ""

    def __repr__(self) -> str:
        children = [f"({name}): {_indented(repr(child))}" for name, child in self.named_children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        extra = [self.extra_repr()] if self.extra_repr() else []
        body = "\n".join("  " + line for line in [*extra, *children])
        return f"{type(self).__name__}(\n{body}\n)"


def _entries(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (Tensor, Module)):
        yield name, value
        return
    if value is None or isinstance(value, (int, float, str, bytes)):
        return  # asked first: what is abstract is dear to ask for
    if isinstance(value, Mapping):
        items: Iterable[tuple[Any, Any]] = cast("Mapping[Any, Any]", value).items()
    elif isinstance(value, Sequence):
        items = enumerate(cast("Sequence[Any]", value))
    else:
        return
    for key, inner in items:
        if not isinstance(inner, (str, bytes, int, float)):  # a vocabulary takes no time
            yield from _entries(f"{name}.{key}", inner)


def _array(value: Any) -> Any:
    return value.detach().data if isinstance(value, Tensor) else np.asarray(value)


def _fits(value: Any, target: Tensor) -> bool:
    same_kind = np.can_cast(value.dtype, target.dtype, "same_kind")
    return value.shape == target.shape and same_kind


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _indented(text: str) -> str:
    return text.replace("\n", "\n  ")


class Sequential(Module):
    """Modules applied one after the other.

    >>> import minigrad as mg
    >>> mg.nn.Sequential(mg.nn.Linear(4, 3), mg.nn.Tanh())(mg.zeros(2, 4)).shape
    (2, 3)
    """

    def __init__(self, *modules: Module) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def forward(self, x: Any) -> Any:
        for module in self.children():
            x = module(x)
        return x

    def __len__(self) -> int:
        return len(list(self.children()))

    def __getitem__(self, i: int) -> Module:
        return list(self.children())[i]


class ModuleList(Module):
    """A list of modules; a plain Python list as an attribute works as well."""

    def __init__(self, modules: Sequence[Module] = ()) -> None:
        for i, module in enumerate(modules):
            setattr(self, str(i), module)

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns itself."""
        setattr(self, str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return len(list(self.children()))

    def __getitem__(self, i: int) -> Module:
        return list(self.children())[i]
