"""Which parameters an optimiser is given, in which groups, and what each is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from minigrad.optim.checks import plain
from minigrad.tensor import Tensor

Group: TypeAlias = dict[str, Any]
Params: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[Mapping[str, Any]]

# Keys of a group that are no option: what it holds, a label, and where schedules begin.
_NOT_OPTIONS = {"params", "param_names", "name", "initial_lr"}


def as_groups(who: str, params: Any) -> list[Group]:
    """Turn what the user gave (parameters, named parameters or groups) into a list of groups."""
    items = as_list(who, params)
    if all(isinstance(item, Mapping) for item in items):
        return [dict(group) for group in items]
    return [{"params": items}]


def as_list(who: str, params: Any) -> list[Any]:
    """List what an iterable of parameters yields.

    Raises:
        TypeError: `params` is not an iterable with an order of its own.
        ValueError: it yields nothing.
    """
    text = f"{who}: expected an iterable of parameters, got "
    if isinstance(params, Tensor):
        raise TypeError(f"{text}one Tensor; write [parameter]")
    if isinstance(params, set | frozenset):
        raise TypeError(f"{text}a set, whose order changes from run to run; write a list")
    if isinstance(params, Mapping):
        raise TypeError(f"{text}a dict; write its .items(), or [{{'params': ..., 'lr': ...}}]")
    if not isinstance(params, Iterable):
        raise TypeError(f"{text}{type(params).__name__}; write model.parameters()")
    items: list[Any] = list(params)  # pyright: ignore[reportUnknownArgumentType] -- checked below
    if not items:
        raise ValueError(
            f"{text}an empty one; is it a generator that was already used up, or a model "
            "without parameters?"
        )
    return items


def options_of(group: Mapping[str, Any]) -> Group:
    """Give what a group holds beside its parameters."""
    return {k: v for k, v in group.items() if k not in ("params", "param_names")}


def check_options(who: str, group: Mapping[str, Any], defaults: Group) -> None:
    """Raise unless the group has parameters, and no option that the optimiser does not have."""
    if "params" not in group:
        raise ValueError(f"{who}: expected a group {{'params': ...}}, got {dict(group)!r}")
    for key in group.keys() - defaults.keys() - _NOT_OPTIONS:
        import difflib  # for this message only

        near = difflib.get_close_matches(key, defaults, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"its options are {', '.join(defaults)}"
        raise TypeError(f"{who}: a parameter group has the unknown option {key!r}; {hint}")


def saved_options(
    who: str, groups: Sequence[Group], saved: Sequence[Mapping[str, Any]], defaults: Group
) -> list[Group]:
    """Give the options of saved groups, after a look whether they fit the optimiser's groups.

    Raises:
        ValueError: the number of groups, the names in one, or the options differ.
    """
    if len(saved) != len(groups):
        raise ValueError(f"{who}: expected {len(groups)} parameter groups, got {len(saved)}")
    for i, (group, other) in enumerate(zip(groups, saved, strict=True)):
        own, others = set(group["param_names"]), set(other["params"])
        faults = [f"{name!r} is missing" for name in sorted(own - others)]
        faults += [f"{name!r} is not a parameter of it" for name in sorted(others - own)]
        faults += [
            f"the option {key!r} is missing" for key in sorted(defaults.keys() - other.keys())
        ]
        if faults:
            more = f" and {len(faults) - 4} more" if len(faults) > 4 else ""
            raise ValueError(
                f"{who}: the saved group {i} does not fit: {'; '.join(faults[:4])}{more}; build "
                "the optimiser from the same model and options as the one that was saved"
            )
    return [{k: plain(v) for k, v in options_of(group).items()} for group in saved]


def name_params(who: str, params: Any, before: Group) -> list[tuple[str, Tensor]]:
    """Pair each parameter with its name: its own, or "param.N" where N counts all of them.

    Args:
        who: the optimiser's name, for messages.
        params: Tensors, or (name, Tensor) pairs.
        before: the optimiser's parameters so far, by name.

    Raises:
        TypeError: something is not a Tensor.
        ValueError: a Tensor cannot be optimised, or one of them or a name comes twice.
    """
    items: list[Any] = [params] if isinstance(params, Tensor) else as_list(who, params)
    found = dict(before)
    names = {id(p): name for name, p in before.items()}
    for item in items:
        is_pair = type(item) in (list, tuple) and len(item) == 2
        name, p = item if is_pair else (f"param.{len(found)}", item)
        _check_parameter(who, name, p)
        if id(p) in names:
            raise ValueError(
                f"{who}: the parameter {name!r} comes twice (first as {names[id(p)]!r}) and would "
                "be updated twice in a step; give each parameter once"
            )
        if name in found:
            raise ValueError(
                f"{who}: two parameters are called {name!r}; name them apart, for example "
                "[('encoder.' + name, p) for name, p in encoder.named_parameters()]"
            )
        found[name] = p
        names[id(p)] = name
    return list(found.items())[len(before) :]


def _check_parameter(who: str, name: Any, p: Any) -> None:
    if not isinstance(name, str) or not isinstance(p, Tensor):
        raise TypeError(
            f"{who}: expected Tensors or (name, Tensor) pairs, got {type(p).__name__} "
            f"called {name!r}; write model.parameters() or model.named_parameters()"
        )
    if not p.is_leaf:
        raise ValueError(
            f"{who}: {name!r} was computed from other tensors, so nothing can be written into "
            "it; give the tensors it was computed from, or a copy made with .detach()"
        )
    if not p.requires_grad:
        raise ValueError(
            f"{who}: {name!r} does not require grad; leave it out "
            "([p for p in model.parameters() if p.requires_grad]) or call requires_grad_() on it"
        )
