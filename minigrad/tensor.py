"""`Tensor`: a handle on a value and on the place of the tape where it was computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self, cast

import numpy as np

from minigrad import ops, tape
from minigrad.backend import Array, Backend, array_types, backend_of, is_array, to_backend
from minigrad.op import Op
from minigrad.ops.arguments import constant, explain, promoted
from minigrad.tape import Edge, Leaf, Node, refuse_while_writing, writers

_NUMBERS = (float, int, bool, complex)
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_LOOK, _WRITE = "look at a tensor's values", "write into a tensor"
_PLAIN_DTYPES = tuple(map(np.dtype, (np.float32, np.int64, np.bool_)))  # repr need not name them


class Tensor(ops.Methods):
    """An array with a place on the tape: `data` is the array, `edge` the place (or None).

    Tensors are values: no operation writes into one. `x += y` makes a new tensor and rebinds x;
    only optimisers, `copy_` and `load_state_dict` write, and only leaves.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4., 6.])
    """

    __slots__ = ("__weakref__", "_frozen", "data", "edge")

    def __init__(self, data: Array, edge: Edge | None = None) -> None:
        self.data = data
        self.edge = edge

    def __run_op__(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        """Run `op` on the arrays of `xs`, and record a node if a gradient may be asked for."""
        if writers and (noted := tape.writer()) is not None:
            return noted.write(op, xs, params)
        arrays: list[Any] = []
        edges: list[Edge | None] = []
        recorded = False
        dtype = self.data.dtype
        mixed = dtype is not _FLOAT32 and dtype is not _FLOAT64 and dtype.kind != "f"
        for x in xs:
            if isinstance(x, Tensor):
                array, edge = x.data, x.edge
                arrays.append(array)
                edges.append(edge)
                if edge is not None:
                    recorded = True
                if array.dtype is not dtype:
                    mixed = True
            elif type(x) not in _NUMBERS and hasattr(x, "__run_op__"):
                return x.__run_op__(op, xs, params)  # a symbol: of a function being fused
            else:
                arrays.append(x if type(x) in _NUMBERS else constant(x))
                edges.append(None)
        if mixed and op.fit is not None:
            arrays = promoted(arrays, op)
        recorded = recorded and op.differentiable and tape.mode.recording
        run = op.saving_forward if recorded else op.forward
        try:
            y = run(array_types[type(self.data)], *arrays, **params)
        except Exception as error:
            explain(error, op, arrays)
            raise
        if recorded:
            return _recorded(op, y, arrays, edges, params)
        return Tensor(y) if type(y) is not tuple else tuple(map(Tensor, cast("Any", y)))

    # ---- what it is --------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the axes."""
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of the elements."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.data.ndim

    @property
    def device(self) -> str:
        """Where the array lives: "cpu" or "cuda"."""
        return self.backend.device

    @property
    def backend(self) -> Backend:
        """The backend of the array."""
        return backend_of(self.data)

    @property
    def requires_grad(self) -> bool:
        """Whether a backward pass reaches this tensor."""
        return self.edge is not None

    @property
    def is_leaf(self) -> bool:
        """Whether nobody computed this tensor: only such tensors collect `.grad`."""
        return self.edge is None or type(self.edge[0]) is Leaf

    @property
    def grad(self) -> Tensor | None:
        """What `backward` has added up for this leaf; None before, and on computed tensors."""
        leaf = self._own_leaf()
        return leaf and leaf.grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        leaf = self._leaf("to set .grad")
        if value is not None and not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  # not all check types
            raise TypeError(f"grad must be a Tensor or None, not {type(value).__name__}")
        if value is not None and value.shape != self.shape:
            raise ValueError(f"grad has shape {value.shape}, but the tensor has {self.shape}")
        leaf.grad = value

    def _own_leaf(self) -> Leaf | None:
        """The leaf that this tensor is, also while it is frozen (see `requires_grad_`)."""
        edge: Edge | None = self.edge or getattr(self, "_frozen", None)
        return edge[0] if edge and isinstance(edge[0], Leaf) else None

    def _leaf(self, purpose: str) -> Leaf:
        leaf = self._own_leaf()
        if leaf is None:
            raise RuntimeError(
                f"{purpose} needs a leaf that requires grad (a Parameter, or a tensor made with "
                "requires_grad=True); this tensor "
                + ("was computed: use .detach()" if self.edge else "does not require grad")
            )
        return leaf

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Make this leaf collect a gradient, or stop it from doing so; returns itself."""
        if not self.is_leaf:
            raise RuntimeError("requires_grad_ works on leaves; on a computed tensor use .detach()")
        if requires_grad and self.dtype.kind not in "fc":
            raise TypeError(f"only floating tensors can require grad, not {self.dtype}")
        if requires_grad and self.edge is None:
            self.data = self.backend.asarray(self.data)  # NumPy's scalars could not be written
            frozen = getattr(self, "_frozen", None)  # keeps its place, and its .grad, when thawed
            self.edge = frozen or (Leaf(self.shape, self.dtype), 0)
        elif not requires_grad and self.edge is not None:
            self._frozen, self.edge = self.edge, None
        return self

    # ---- values out and in -------------------------------------------------------------------

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array; raises on a recorded tensor, where gradients would end."""
        self._refuse_recorded()
        return self.backend.to_host(self.data)

    def _refuse_recorded(self) -> None:
        refuse_while_writing(_LOOK)
        if self.edge is not None:
            raise RuntimeError(
                "this tensor is recorded on the tape, and its gradient would be lost outside: "
                "write x.detach().numpy(), or a minigrad function (mg.exp(x), not np.exp(x))"
            )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        self._refuse_recorded()
        return self.backend.asarray(self.data).__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.backend.asarray(self.data).__dlpack_device__()

    def item(self) -> Any:
        """The one element as a Python number."""
        refuse_while_writing(_LOOK)
        if self.data.size != 1:
            raise ValueError(f"item() needs one element; this tensor has shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        refuse_while_writing(_LOOK)
        return self.backend.to_host(self.data).tolist()

    def copy_(self, value: Any) -> Self:
        """Write `value` (array or Tensor of this shape) into this leaf; older graphs go stale."""
        refuse_while_writing(_WRITE)
        source = value.data if isinstance(value, Tensor) else value
        source = source if is_array(source) else np.asarray(source)
        if not self.is_leaf:
            raise RuntimeError("copy_ writes leaves only; this tensor was computed")
        if source.shape != self.shape:
            raise ValueError(f"copy_: expected shape {self.shape}, got {source.shape}")
        self.data[...] = to_backend(source, self.backend)
        self.mark_written()
        return self

    def become(self, data: Array) -> None:
        """Give this leaf another array (on another device, say); the gradient is forgotten."""
        self.data = data
        fresh = (Leaf(data.shape, data.dtype), 0)
        if self.edge is not None:
            self._leaf("become")
            self.edge = fresh
        self._frozen = fresh

    def mark_written(self) -> None:
        """Tell the tape that `data` was written in place: older graphs through it are stale."""
        refuse_while_writing(_WRITE)
        leaf = self._own_leaf()
        if leaf is not None:
            leaf.renumber()

    def numel(self) -> int:
        """The number of elements."""
        return self.data.size

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the extent of one axis."""
        return self.shape if dim is None else self.shape[dim]

    # ---- Python's protocols ------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("a 0-d tensor has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("cannot iterate over a 0-d tensor; write x.item() for its value")
        return iter(ops.unbind(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            "tensors are values and cannot be written by index: build the result instead with "
            "mg.where(mask, value, x), mg.stack([...]) or mg.cat([...])"
        )

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        if self.dtype.kind not in "iub":
            raise TypeError(f"only an integer tensor can be an index, not {self.dtype}")
        return int(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if self.ndim == 0 else super().__format__(spec)

    def __getstate__(self) -> object:
        if not self.is_leaf:
            raise RuntimeError(
                "a computed tensor cannot be copied or pickled, because its whole graph would be, "
                "too: write x.detach()"
            )
        return super().__getstate__()

    def __repr__(self) -> str:
        text = np.array2string(self.backend.to_host(self.data), separator=", ", prefix="tensor(")
        notes = [] if self.dtype in _PLAIN_DTYPES else [f"dtype={self.dtype}"]
        notes += [] if self.device == "cpu" else [f"device={self.device!r}"]
        if self.edge is not None:
            op: Op | None = getattr(self.edge[0], "op", None)  # a leaf has none
            notes.append("requires_grad=True" if op is None else f"op={op.name}")
        return f"tensor({', '.join([text, *notes])})"

    # ---- gradients ---------------------------------------------------------------------------

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add d(self)/d(leaf), times `gradient`, to the `.grad` of all leaves it came from."""
        if self.edge is None:
            raise RuntimeError(
                "backward: this tensor does not depend on anything that requires grad "
                "(was it computed under no_grad, or from tensors made without requires_grad=True?)"
            )
        start = seed_of(self, gradient, "backward")
        seed = [(self.edge, start if create_graph else start.data)]
        retain = create_graph if retain_graph is None else retain_graph
        lift = Tensor if create_graph else None
        for (leaf, _), g in tape.sweep(seed, lift=lift, retain=retain).items():
            assert isinstance(leaf, Leaf)
            collect(leaf, g, create_graph)


def _recorded(
    op: Op, y: Any, arrays: list[Any], edges: list[Edge | None], params: dict[str, Any]
) -> Any:
    """The outputs of an op as tensors on a new node of the tape."""
    keep = op.saves_xs
    saved = arrays if keep is True else None if keep is False else op.saved(arrays)
    ys = y if op.saves_y else None
    if type(y) is not tuple:
        return Tensor(y, (Node(op, saved, ys, params, edges, (y.shape,)), 0))
    parts = cast("tuple[Array, ...]", y)
    node = Node(op, saved, ys, params, edges, tuple([a.shape for a in parts]))
    return tuple([Tensor(a, (node, i)) for i, a in enumerate(parts[: op.visible])])


def is_seen(x: Any) -> bool:
    """Whether one may look at the values of x: not while a function of it is written down."""
    return isinstance(x, Tensor) and tape.writer() is None


def collect(leaf: Leaf, g: Any, create_graph: bool) -> None:
    """Add the cotangent that a sweep has found to the leaf's `.grad`, in the leaf's dtype."""
    found: Tensor = g if create_graph else Tensor(g)
    if found.dtype != leaf.dtype:
        found = found.to(leaf.dtype)
    leaf.grad = found if leaf.grad is None else leaf.grad + found


def seed_of(output: Tensor, gradient: Tensor | None, name: str) -> Tensor:
    """The cotangent with which a backward pass starts: ones for a scalar, else `gradient`."""
    if gradient is None:
        if output.data.size != 1:
            raise RuntimeError(
                f"{name}: the output has shape {output.shape}; only a scalar needs no gradient: "
                f"sum it, or pass a tensor of that shape"
            )
        return Tensor(output.backend.ones(output.shape, output.dtype))
    if gradient.shape != output.shape:
        raise ValueError(
            f"{name}: the gradient has shape {gradient.shape}, the output {output.shape}"
        )
    return gradient
