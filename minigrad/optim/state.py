"""What an optimiser keeps for one parameter: its arrays, and how often it was updated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from minigrad.backend import Array
from minigrad.tensor import Tensor


class State(dict[str, Any]):
    """The arrays by name, and under "step" the number of updates; arrays are written in place."""

    def __missing__(self, key: str) -> Any:
        raise RuntimeError(
            f"the optimiser keeps no {key!r} for this parameter, only {', '.join(self)}: the "
            "option that needs it was switched on after the first step; switch it on in the "
            "constructor, or make a new optimiser"
        )

    def __setitem__(self, key: str, value: Any) -> None:
        if key != "step" and self.get(key) is not value:
            raise TypeError(
                f"state[{key!r}] may be a part of the array that is kept, so another array in its "
                f"place would be lost; write into it: state[{key!r}][...] = value"
            )
        super().__setitem__(key, value)

    def part(self, index: Any) -> Self:
        """Give the state of those elements of the parameter that `index` picks."""
        return type(self)({k: v if k == "step" else v[index] for k, v in self.items()})

    def saved(self) -> dict[str, Any]:
        """Copy it: the arrays as Tensors."""
        return {k: v if k == "step" else Tensor(v.copy()) for k, v in self.items()}

    @classmethod
    def load(cls, owner: str, arrays: Mapping[str, Array], saved: Mapping[str, Any]) -> Self:
        """Fill the freshly made `arrays` of one parameter with what `saved()` once gave.

        Args:
            owner: the optimiser and the parameter, for messages.
            arrays: what the optimiser's `init` makes.
            saved: Tensors or NumPy arrays of the same shapes, and "step".

        Raises:
            ValueError: a name is missing or unknown, or a shape differs.
        """
        wanted = {"step", *arrays}
        if set(saved) != wanted:
            raise ValueError(
                f"{owner}: expected the saved state to hold {_listed(wanted)}, got "
                f"{_listed(saved)}; was it saved by another optimiser, or with other options?"
            )
        step = saved["step"]
        if not isinstance(step, int) or step < 0:
            raise ValueError(f"{owner}: expected 'step' to be a whole number >= 0, got {step!r}")
        for key, array in arrays.items():
            shape = tuple(saved[key].shape)
            if shape != array.shape:
                raise ValueError(
                    f"{owner}: expected the saved {key!r} to have shape {array.shape}, got {shape}"
                )
            Tensor(array).copy_(saved[key])
        return cls(step=step, **arrays)


def _listed(names: Any) -> str:
    return ", ".join(map(repr, sorted(names)))
