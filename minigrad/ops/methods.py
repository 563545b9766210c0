"""The ops as methods: `x.tanh()` for `tanh(x)`, for whatever runs ops."""

from __future__ import annotations

from typing import Any, Self

from minigrad.ops import contract, convert, elementwise, index, normalise, reduce, shape
from minigrad.ops.operators import Operators


class Methods(Operators):
    """Every op that makes sense as a method, under the name and with the arguments of the op."""

    __slots__ = ()

    abs = elementwise.abs
    exp = elementwise.exp
    log = elementwise.log
    log1p = elementwise.log1p
    expm1 = elementwise.expm1
    sqrt = elementwise.sqrt
    tanh = elementwise.tanh
    sigmoid = elementwise.sigmoid
    erf = elementwise.erf
    sin = elementwise.sin
    cos = elementwise.cos
    tan = elementwise.tan
    atan = elementwise.atan
    sinh = elementwise.sinh
    cosh = elementwise.cosh
    sign = elementwise.sign
    floor = elementwise.floor
    ceil = elementwise.ceil
    round = elementwise.round
    relu = elementwise.relu
    maximum = elementwise.maximum
    minimum = elementwise.minimum
    square = elementwise.square
    pow = elementwise.pow
    isnan = elementwise.isnan
    isinf = elementwise.isinf
    isfinite = elementwise.isfinite
    eq = elementwise.eq
    ne = elementwise.ne
    lt = elementwise.lt
    le = elementwise.le
    gt = elementwise.gt
    ge = elementwise.ge
    logical_and = elementwise.logical_and
    logical_or = elementwise.logical_or
    logical_not = elementwise.logical_not
    add = elementwise.add
    sub = elementwise.sub
    mul = elementwise.mul
    div = elementwise.div
    clamp = elementwise.clamp
    clip = elementwise.clamp

    sum = reduce.sum
    mean = reduce.mean
    var = reduce.var
    std = reduce.std
    amax = reduce.amax
    amin = reduce.amin
    max = reduce.max
    min = reduce.min
    argmax = reduce.argmax
    argmin = reduce.argmin
    any = reduce.any
    all = reduce.all
    logsumexp = normalise.logsumexp
    softmax = normalise.softmax
    log_softmax = normalise.log_softmax
    cumsum = reduce.cumsum
    prod = reduce.prod
    norm = reduce.norm

    reshape = shape.reshape
    permute = shape.permute
    transpose = shape.transpose
    movedim = shape.movedim
    expand = shape.expand
    squeeze = shape.squeeze
    unsqueeze = shape.unsqueeze
    flatten = shape.flatten
    flip = shape.flip
    roll = shape.roll
    tril = shape.tril
    triu = shape.triu
    repeat = shape.repeat
    split = shape.split
    chunk = shape.chunk
    unbind = shape.unbind
    view = shape.reshape
    swapaxes = shape.transpose

    gather = index.gather
    index_select = index.index_select
    masked_fill = index.masked_fill
    sort = index.sort
    argsort = index.argsort
    topk = index.topk

    matmul = contract.matmul
    __matmul__ = contract.matmul
    __getitem__ = index.getitem

    def __rmatmul__(self, other: Any) -> Self:
        return contract.matmul(other, self)

    @property
    def T(self) -> Self:
        """The axes in reverse order: the transpose of a matrix."""
        return shape.reversed_axes(self)

    @property
    def mT(self) -> Self:
        """The last two axes swapped: the transpose of each matrix in a stack."""
        return shape.transpose(self, -1, -2)

    to = convert.to
    cpu = convert.cpu
    cuda = convert.cuda
    float = convert.float
    double = convert.double
    long = convert.long
    bool = convert.bool
    clone = convert.clone
    detach = convert.detach
