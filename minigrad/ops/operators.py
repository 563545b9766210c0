"""The operators, for whatever runs ops: a Tensor, or a symbol in a fused function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from minigrad.op import Op
from minigrad.ops import elementwise as e


class Operators:
    """Python's operators, spelled as ops. None works in place: `x += y` rebinds x."""

    __slots__ = ()
    __array_ufunc__ = None  # NumPy arrays on the left leave the operator to us

    # The operators hand the op over themselves: a call of the op would look for who can run it.
    def __run_op__(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        """Run an op on `xs`, of which this is one."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Self:
        return self.__run_op__(e.add, (self, other), {})

    def __radd__(self, other: Any) -> Self:
        return self.__run_op__(e.add, (other, self), {})

    def __sub__(self, other: Any) -> Self:
        return self.__run_op__(e.sub, (self, other), {})

    def __rsub__(self, other: Any) -> Self:
        return self.__run_op__(e.sub, (other, self), {})

    def __mul__(self, other: Any) -> Self:
        return self.__run_op__(e.mul, (self, other), {})

    def __rmul__(self, other: Any) -> Self:
        return self.__run_op__(e.mul, (other, self), {})

    def __truediv__(self, other: Any) -> Self:
        return self.__run_op__(e.div, (self, other), {})

    def __rtruediv__(self, other: Any) -> Self:
        return self.__run_op__(e.div, (other, self), {})

    def __floordiv__(self, other: Any) -> Self:
        return self.__run_op__(e.floor_divide, (self, other), {})

    def __rfloordiv__(self, other: Any) -> Self:
        return self.__run_op__(e.floor_divide, (other, self), {})

    def __mod__(self, other: Any) -> Self:
        return self.__run_op__(e.remainder, (self, other), {})

    def __rmod__(self, other: Any) -> Self:
        return self.__run_op__(e.remainder, (other, self), {})

    def __pow__(self, other: Any) -> Self:
        return self.__run_op__(e.pow, (self, other), {})

    def __rpow__(self, other: Any) -> Self:
        return self.__run_op__(e.pow, (other, self), {})

    def __neg__(self) -> Self:
        return self.__run_op__(e.neg, (self,), {})

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self.__run_op__(e.abs, (self,), {})

    def __eq__(self, other: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]  # elementwise, as in NumPy
        return self.__run_op__(e.eq, (self, other), {})

    def __ne__(self, other: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]  # elementwise, as in NumPy
        return self.__run_op__(e.ne, (self, other), {})

    def __lt__(self, other: Any) -> Self:
        return self.__run_op__(e.lt, (self, other), {})

    def __le__(self, other: Any) -> Self:
        return self.__run_op__(e.le, (self, other), {})

    def __gt__(self, other: Any) -> Self:
        return self.__run_op__(e.gt, (self, other), {})

    def __ge__(self, other: Any) -> Self:
        return self.__run_op__(e.ge, (self, other), {})

    def __and__(self, other: Any) -> Self:
        return self.__run_op__(e.bitwise_and, (self, other), {})

    def __or__(self, other: Any) -> Self:
        return self.__run_op__(e.bitwise_or, (self, other), {})

    def __xor__(self, other: Any) -> Self:
        return self.__run_op__(e.bitwise_xor, (self, other), {})

    def __invert__(self) -> Self:
        return self.__run_op__(e.bitwise_not, (self,), {})

    __hash__ = object.__hash__  # by identity, although == compares elements
