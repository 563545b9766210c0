"""What all optimisers share: parameter groups, the walk over the parameters, and saved state."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from minigrad.backend import Array, Backend, backend_of
from minigrad.optim.checks import check_not_negative, plain
from minigrad.optim.params import (
    Group,
    Params,
    as_groups,
    check_options,
    name_params,
    options_of,
    saved_options,
)
from minigrad.optim.state import State
from minigrad.tensor import Tensor

# Elements that are updated together. In pieces of this size an update's temporaries stay in the
# cache, on pages that were touched before: Adam on 2048×512 float32 takes 2.0 ms, not 3.7.
BLOCK = 32_768


class Optimizer(ABC):
    """The base of the optimisers: a subclass says what *one* parameter keeps and how it moves.

    An optimiser is two methods: `init(p, group)` makes the arrays that are kept for a parameter,
    and `update(p, g, state, group)` gives what is subtracted from it, p ← p − update. Groups,
    names, skipped parameters, `maximize` and saving are done here, and only here is a parameter
    written.

    Args:
        params: Tensors, (name, Tensor) pairs as `named_parameters()` gives them, or dicts
            {"params": ..., option: value} that differ from the defaults in some options.
        defaults: the options of every group that does not set its own, "lr" among them.

    Attributes:
        param_groups: a dict per group: its "params", their "param_names", and the options, which
            may be written at any time (`optimizer.param_groups[0]["lr"] = 0.01`).
        state: what is kept for each parameter, by its name ("param.0" … when it has none).
        elementwise: whether `update` treats each element by itself, so that it may be given a
            part of p, g and the state at a time; a subclass that leaves it False gets all of p.

    Raises:
        TypeError: something is not a parameter, or an option is unknown or not a number.
        ValueError: a parameter cannot be optimised or comes twice, or an option is out of range.

    >>> import minigrad as mg
    >>> class SignSGD(mg.optim.Optimizer):
    ...     def __init__(self, params, lr=0.5):
    ...         super().__init__(params, {"lr": lr})
    ...
    ...     def init(self, p, group):
    ...         return {}
    ...
    ...     def update(self, p, g, state, group):
    ...         return group["lr"] * mg.backend.backend_of(g).sign(g)
    >>> w = mg.tensor([2.0, -3.0], requires_grad=True)
    >>> optimizer = SignSGD([w])
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w.detach()
    tensor([ 1.5, -2.5])
    """

    elementwise: ClassVar[bool] = False

    def __init__(self, params: Params, defaults: Group) -> None:
        self.defaults: Group = {key: plain(value) for key, value in defaults.items()}
        self.param_groups: list[Group] = []
        self.state: dict[str, State] = {}
        for group in as_groups(self._who, params):
            self.add_param_group(group)

    @abstractmethod
    def init(self, p: Array, group: Group) -> dict[str, Array]:
        """Make the arrays that are kept for the parameter `p`, by name."""

    @abstractmethod
    def update(self, p: Array, g: Array, state: State, group: Group) -> Array:
        """Give what is subtracted from `p`, whose gradient is `g`; write state's arrays in place.

        `state["step"]` counts the updates of this parameter, and is 1 at the first.
        """

    def check(self, group: Group) -> None:
        """Raise if an option of the group is out of its range; a subclass checks its own too."""
        check_not_negative(self._who, group, lr=1e-3)

    @property
    def _who(self) -> str:
        return type(self).__name__

    def __repr__(self) -> str:
        lines = [f"{self._who}("]
        for i, group in enumerate(self.param_groups):
            options = ", ".join(f"{k}={v!r}" for k, v in options_of(group).items())
            lines.append(f"  group {i}: {len(group['params'])} parameters, {options}")
        return "\n".join([*lines, ")"])

    # ---- groups ------------------------------------------------------------------------------

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add a group {"params": ..., option: value}: for layers that join in later."""
        check_options(self._who, group, self.defaults)
        named = name_params(self._who, group["params"], dict(self._named_params()))
        options = {**self.defaults, **{k: plain(v) for k, v in options_of(group).items()}}
        self.check(options)
        for _, p in named:
            p.data = backend_of(p.data).asarray(p.data)  # a NumPy scalar cannot be written into
        self.param_groups.append(
            {
                "params": [p for _, p in named],
                "param_names": [name for name, _ in named],
                **options,
            }
        )

    def _named_params(self) -> Iterator[tuple[str, Tensor]]:
        for group in self.param_groups:
            yield from zip(group["param_names"], group["params"], strict=True)

    # ---- the loop ----------------------------------------------------------------------------

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: each becomes None or, with set_to_none=False, zeros."""
        for _, p in self._named_params():
            if p.grad is not None:
                p.grad = None if set_to_none else Tensor(backend_of(p.data).zeros_like(p.data))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        Args:
            closure: computes the gradients anew and returns the loss, which `step` then returns.

        Raises:
            RuntimeError: no parameter at all has a gradient.
        """
        loss = None if closure is None else closure()
        any_gradient = False
        for group in self.param_groups:
            group.update({key: plain(group[key]) for key in self.defaults})
            for name, p in zip(group["param_names"], group["params"], strict=True):
                g = p.grad
                if g is not None:
                    any_gradient = True
                    if p.requires_grad:
                        self._step_one(name, p, g.data, group)
        if not any_gradient:
            raise RuntimeError(
                f"{self._who}.step(): no parameter has a gradient; call loss.backward() before "
                "step(), and zero_grad() before backward(), not between the two"
            )
        return loss

    def _step_one(self, name: str, p: Tensor, g: Array, group: Group) -> None:
        if name not in self.state:
            self.state[name] = State(step=0, **self.init(p.data, group))
        state = self.state[name]
        state["step"] += 1
        p.mark_written()  # first: an interrupt between the parts must not leave it unmarked
        x, xp = p.data, backend_of(p.data)
        whole = not self.elementwise or x.size <= BLOCK
        if whole or xp.device == "cuda":  # there a launch costs more than a temporary
            self._move(xp, x, g, state, group)
            return
        rows = max(1, BLOCK * len(x) // x.size)
        for start in range(0, len(x), rows):
            part = slice(start, start + rows)
            self._move(xp, x[part], g[part], state.part(part), group)

    def _move(self, xp: Backend, x: Array, g: Array, state: State, group: Group) -> None:
        """Write an update into `x`: a parameter, or some of its rows."""
        g = -g if group.get("maximize") else g
        xp.subtract(x, self.update(x, g, state, group), out=x)

    # ---- saved state -------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Copy all that is needed to continue later: arrays as Tensors, the rest plain Python.

        It is {"state": {name: {"step": int, key: Tensor}}, "param_groups": [{option: value,
        "params": [name]}]}. Names are the keys, so the Tensors can go into a safetensors file as
        "name/key", and the rest beside them as JSON.
        """
        return {
            "state": {name: state.saved() for name, state in self.state.items()},
            "param_groups": [
                {**options_of(group), "params": list(group["param_names"])}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy in what `state_dict()` gave; on an error nothing is changed.

        Args:
            state_dict: arrays may be Tensors (on any device) or NumPy arrays, and tuples lists.

        Raises:
            KeyError: it has no "state" or no "param_groups".
            ValueError: the groups, names, options or shapes are not those of this optimiser.
        """
        groups = saved_options(
            self._who, self.param_groups, state_dict["param_groups"], self.defaults
        )
        saved: Mapping[str, Any] = state_dict["state"]
        unknown = saved.keys() - dict(self._named_params()).keys()
        if unknown:
            raise ValueError(f"{self._who}: no parameter is called {', '.join(sorted(unknown))}")
        loaded: dict[str, State] = {}
        for group, options in zip(self.param_groups, groups, strict=True):
            self.check(options)
            for name, p in zip(group["param_names"], group["params"], strict=True):
                if name in saved:
                    arrays = self.init(p.data, options)
                    loaded[name] = State.load(f"{self._who}, {name!r}", arrays, saved[name])
        for group, options in zip(self.param_groups, groups, strict=True):
            group.update(options)
        self.state = loaded


def decayed(p: Array, g: Array, group: Group) -> Array:
    """Add the gradient of the L2 penalty ½ · weight_decay · ‖p‖² to `g`."""
    return g + group["weight_decay"] * p if group["weight_decay"] else g
