"""Products of matrices in C, by the BLAS."""

from __future__ import annotations

from minigrad.scans.machine.views import View

_AS_IT_IS, _TRANSPOSED = 111, 112  # what CBLAS calls them


def layout(view: View) -> tuple[int, int] | None:
    """Whether a matrix lies row by row or column by column, and how far these are apart.

    None if the numbers of neither lie side by side.
    """
    (rows, columns), (down, along) = view.shape, view.strides
    for how, n, inner, step, stride in (
        (_AS_IT_IS, rows, columns, along, down),
        (_TRANSPOSED, columns, rows, down, along),
    ):
        apart = inner if n == 1 else stride
        if (inner == 1 or step == 1) and isinstance(apart, int) and apart >= inner:
            return how, apart
    return None


def product(a: View, b: View, y: View, *, add: bool) -> str:
    """y = A B, or that added to y, which is dense; A and B have a layout."""
    if b.shape[1] == 1:
        return _of_vector(a, b.at, b.strides[0], y, add)
    if a.shape[0] == 1:
        return _of_vector(b.permuted((1, 0)), a.at, a.strides[1], y, add)
    (m, inner), n = a.shape, b.shape[1]
    (how_a, apart_a), (how_b, apart_b) = _known(a), _known(b)
    given = f"{m}, {n}, {inner}, 1, {a.at}, {apart_a}, {b.at}, {apart_b}"
    return f"gemm(101, {how_a}, {how_b}, {given}, {int(add)}, {y.at}, {n});"


def _of_vector(a: View, x: str, stride: int | str, y: View, add: bool) -> str:
    how, apart = _known(a)
    rows, columns = a.shape if how == _AS_IT_IS else a.shape[::-1]
    given = f"{rows}, {columns}, 1, {a.at}, {apart}, {x}, {stride or 1}"
    return f"gemv(101, {how}, {given}, {int(add)}, {y.at}, 1);"


def _known(view: View) -> tuple[int, int]:
    found = layout(view)
    assert found is not None, "a factor has a layout"
    return found
