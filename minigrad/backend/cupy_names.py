"""The names of NumPy that CuPy has too and minigrad uses, with the keywords that both know.

Before a name goes in, look whether CuPy has it: tests/backend asks CuPy itself where it can.
"""

from __future__ import annotations


def _table(text: str) -> dict[str, frozenset[str]]:
    """Rows of a name and its keywords."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    return {name: frozenset(keywords) for name, *keywords in rows}


_UFUNCS = """
    absolute add arctan bitwise_and bitwise_or bitwise_xor ceil cos cosh divide equal exp expm1
    floor floor_divide greater greater_equal invert isfinite isinf isnan less less_equal log log1p
    logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply negative
    not_equal power reciprocal remainder rint sign sin sinh sqrt square subtract tan tanh
"""
UFUNCS = dict.fromkeys(_UFUNCS.split(), frozenset({"out", "dtype", "casting"}))
FUNCTIONS = _table(
    """
    arange             start stop step dtype
    argsort            axis kind
    asarray            dtype order
    ascontiguousarray  dtype
    broadcast_to       shape
    concatenate        axis out dtype casting
    cumsum             axis dtype out
    einsum             optimize dtype
    empty              shape dtype order
    empty_like         dtype order shape
    flip               axis
    full               shape fill_value dtype order
    full_like          fill_value dtype order shape
    matmul             out dtype casting
    may_share_memory
    moveaxis           source destination
    ones               shape dtype order
    ones_like          dtype order shape
    pad                mode constant_values
    roll               shift axis
    stack              axis out dtype casting
    swapaxes           axis1 axis2
    take               axis out
    tril               k
    triu               k
    where
    zeros              shape dtype order
    zeros_like         dtype order shape
    """
)
METHODS = _table(
    """
    all        axis out keepdims
    any        axis out keepdims
    argmax     axis out keepdims
    argmin     axis out keepdims
    astype     dtype order copy
    copy       order
    cumsum     axis dtype out
    fill       value
    item
    max        axis out keepdims
    mean       axis dtype out keepdims
    min        axis out keepdims
    ravel      order
    reshape    order
    squeeze    axis
    std        axis dtype out ddof keepdims
    sum        axis dtype out keepdims
    swapaxes
    tolist
    transpose
    var        axis dtype out ddof keepdims
    view       dtype
    """
)
_ATTRIBUTES = "T dtype flags itemsize nbytes ndim shape size strides"
ATTRIBUTES = frozenset(_ATTRIBUTES.split())
DTYPES = "?bBhHiIlLqQefdFD"  # the characters of CuPy's dtypes
ATOMIC = frozenset({"int32", "uint32", "uint64", "float16", "float32", "float64"})  # scatter_add's
