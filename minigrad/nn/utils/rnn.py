"""Sequences of different lengths in one batch: PyTorch's padding and packing functions."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.creation import full, tensor
from minigrad.nn.masks import on_host, valid_steps
from minigrad.tensor import Tensor

Lengths = Any  # integers, one a row: a list, an array or a tensor
Host = np.ndarray[Any, Any]


class PackedSequence:
    """Padded sequences with their lengths, in the guise of PyTorch's PackedSequence.

    Recurrent layers take one and give one. Nothing is packed inside: `padded` (T, B, …) has the
    rows in their own order, `lengths` (B,) says where they end, and the four fields that PyTorch
    stores are made when somebody asks for them. `PackedSequence(data, batch_sizes, …)` is the way
    back, so that `PackedSequence(f(p.data), *rest)` and `p._replace(data=f(p.data))` work.

    data: (Σ lengths, …), step by step, in each step the rows by falling length;
    batch_sizes: how many rows each step has; sorted_indices: which rows those are, or None for
    rows that came sorted; unsorted_indices: the inverse.

    >>> import minigrad as mg
    >>> from minigrad.nn.utils.rnn import pack_sequence
    >>> packed = pack_sequence([mg.tensor([1, 2, 3]), mg.tensor([4, 5])])
    >>> packed.data, packed.batch_sizes
    (tensor([1, 4, 2, 5, 3]), tensor([2, 2, 1]))
    """

    padded: Tensor
    lengths: Host
    _order: Host | None  # sorted_indices

    def __init__(
        self,
        data: Tensor,
        batch_sizes: Any,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> None:
        sizes = on_host(batch_sizes)
        if (
            sizes.ndim != 1
            or not sizes.size
            or sizes.dtype.kind not in "iu"
            or (np.diff(sizes) > 0).any()
            or sizes.sum() != data.shape[0]
        ):
            raise ValueError(
                "PackedSequence: expected batch_sizes of falling integers with the sum "
                f"{data.shape[0]}, the rows of data {data.shape}; got {sizes.tolist()}"
            )
        lengths = np.array([int((sizes > row).sum()) for row in range(int(sizes[0]))])
        self._order = None if sorted_indices is None else on_host(sorted_indices)
        self.lengths = lengths if self._order is None else lengths[np.argsort(self._order)]
        places = np.zeros((sizes.size, sizes[0]), np.int64)
        places.reshape(-1)[self._places()] = np.arange(data.shape[0])
        self.data = data
        self.padded = _filled(data[places], self._valid(), 0)

    @classmethod
    def of(cls, padded: Tensor, lengths: Host, is_sorted: bool) -> PackedSequence:
        """A view of padded sequences (T, B, …), T the longest length."""
        self = cls.__new__(cls)
        self.padded = padded
        self.lengths = lengths
        self._order = None if is_sorted else np.argsort(-lengths, kind="stable")
        return self

    def with_padded(self, padded: Tensor) -> PackedSequence:
        """The same lengths and order of rows, over other padded values."""
        other = PackedSequence.__new__(PackedSequence)
        other.padded, other.lengths, other._order = padded, self.lengths, self._order
        return other

    def _valid(self) -> Host:
        return valid_steps(
            "PackedSequence", self.lengths, int(self.lengths.max()), self.lengths.size
        )

    def _places(self) -> Host:
        """Where each row of `data` lies in (T · B) rows."""
        valid = self._valid()
        order = np.arange(self.lengths.size) if self._order is None else self._order
        step, rank = np.nonzero(valid[:, order])
        return step * self.lengths.size + order[rank]

    # ---- PyTorch's fields ------------------------------------------------------------------

    @functools.cached_property
    def data(self) -> Tensor:
        """The steps of all rows, one after the other, without padding."""
        rows = self.padded.reshape(-1, *self.padded.shape[2:])
        return rows[self._places()]

    @property
    def batch_sizes(self) -> Tensor:
        """How many rows each step has, on the CPU."""
        return tensor(self._valid().sum(axis=1), device="cpu")

    @property
    def sorted_indices(self) -> Tensor | None:
        """The rows by falling length; None where they came so."""
        return self._on_device(self._order)

    @property
    def unsorted_indices(self) -> Tensor | None:
        """At which place of sorted_indices each row is."""
        return self._on_device(None if self._order is None else np.argsort(self._order))

    def _on_device(self, order: Host | None) -> Tensor | None:
        return None if order is None else tensor(order, device=self.padded.device)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def _replace(self, **fields: Any) -> PackedSequence:
        names = ("data", "batch_sizes", "sorted_indices", "unsorted_indices")
        return PackedSequence(**(dict(zip(names, self, strict=True)) | fields))

    def to(self, target: Any) -> PackedSequence:
        """On another device, or of another dtype."""
        return self.with_padded(self.padded.to(target))

    def __repr__(self) -> str:
        return (
            f"PackedSequence(data={self.data}, batch_sizes={self.batch_sizes}, "
            f"sorted_indices={self.sorted_indices}, unsorted_indices={self.unsorted_indices})"
        )


def _filled(padded: Tensor, valid: Host, value: float) -> Tensor:
    """Padded values (T, B, …), with `value` where nothing is valid, in their own dtype."""
    mask = valid.reshape(*valid.shape, *(1,) * (padded.ndim - 2))
    return ops.where(Tensor(padded.backend.from_host(mask)), padded, _scalar(padded, value))


def _scalar(like: Tensor, value: float) -> Any:
    """The value as a Python number that does not change the dtype of `like`."""
    return like.dtype.type(value).item()


# ---- padding -----------------------------------------------------------------------------------


def pad_sequence(
    sequences: Tensor | Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (L_b, …) as one tensor (T, B, …), padded to the longest; (B, T, …) batch first.

    Raises ValueError for no sequences, for shapes that differ after the first axis, and for another
    side than "right" or "left".

    >>> import minigrad as mg
    >>> mg.nn.utils.rnn.pad_sequence([mg.tensor([1, 2, 3]), mg.tensor([4])], batch_first=True)
    tensor([[1, 2, 3],
            [4, 0, 0]])
    """
    xs = list(sequences)
    if padding_side not in ("right", "left"):
        raise ValueError(f"padding_side must be 'right' or 'left', got {padding_side!r}")
    if not xs or any(x.ndim == 0 or x.shape[1:] != xs[0].shape[1:] for x in xs):
        raise ValueError(
            "pad_sequence: expected sequences (length, …) with the same shape after the length, "
            f"got {[x.shape for x in xs]}"
        )
    steps = max(x.shape[0] for x in xs)
    rows = [_padded(x, steps, padding_value, padding_side) for x in xs]
    return ops.stack(rows, dim=0 if batch_first else 1)


def _padded(x: Tensor, steps: int, value: float, side: str) -> Tensor:
    missing = steps - x.shape[0]
    if not missing:
        return x
    shape = (missing, *x.shape[1:])
    padding = full(shape, _scalar(x, value), dtype=x.dtype, device=x.device)
    return ops.cat([x, padding] if side == "right" else [padding, x])


def unpad_sequence(
    padded_sequences: Tensor, lengths: Lengths, batch_first: bool = False
) -> list[Tensor]:
    """The sequences (L_b, …) within a padded tensor (T, B, …), or (B, T, …) batch first.

    Raises ValueError unless there is a length in 0…T for each row.
    """
    rows = padded_sequences.transpose(0, 0 if batch_first else 1)
    ends = _lengths("unpad_sequence", lengths, rows.shape[1], rows.shape[0])
    return [row[:end] for row, end in zip(rows, ends.tolist(), strict=True)]


def _lengths(name: str, lengths: Lengths, steps: int, batch: int) -> Host:
    host = on_host(lengths)
    valid_steps(name, host, steps, batch)
    return host


# ---- packing -----------------------------------------------------------------------------------


def pack_padded_sequence(
    input: Tensor, lengths: Lengths, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences (T, B, …), or (B, T, …) batch first, with their lengths, as one object.

    A recurrent layer takes it, as it takes padded sequences with `lengths=`, which also may be 0.
    Raises ValueError unless there is a length in 1…T for each row, in falling order where
    enforce_sorted demands it.

    >>> import minigrad as mg
    >>> rnn = mg.nn.utils.rnn
    >>> x = mg.arange(6).reshape(3, 2)
    >>> rnn.pack_padded_sequence(x, [1, 3], enforce_sorted=False).data
    tensor([1, 0, 3, 5])
    """
    if input.ndim < 2:
        raise ValueError(f"pack_padded_sequence: expected at least two axes, got {input.shape}")
    padded = input.transpose(0, 1) if batch_first else input
    ends = _lengths("pack_padded_sequence", lengths, *padded.shape[:2])
    if not ends.size or ends.min() < 1:
        raise ValueError(
            f"pack_padded_sequence: expected at least one row, each of at least one step, got "
            f"lengths {ends.tolist()}; lengths= of a recurrent layer may be 0"
        )
    if enforce_sorted and (np.diff(ends) > 0).any():
        raise ValueError(
            f"pack_padded_sequence: lengths {ends.tolist()} do not fall; write enforce_sorted=False"
        )
    return PackedSequence.of(padded[: int(ends.max())], ends, enforce_sorted)


def pack_sequence(
    sequences: Tensor | Iterable[Tensor], enforce_sorted: bool = True
) -> PackedSequence:
    """Sequences (L_b, …) as a PackedSequence: `pad_sequence`, then `pack_padded_sequence`."""
    xs = list(sequences)
    return pack_padded_sequence(
        pad_sequence(xs), [x.shape[0] for x in xs], enforce_sorted=enforce_sorted
    )


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The padded sequences (T, B, …), or (B, T, …) batch first, and their lengths (on the CPU).

    T is the longest length, or total_length; raises ValueError if that is shorter. The rows have
    the order that they had before they were packed.

    >>> import minigrad as mg
    >>> rnn = mg.nn.utils.rnn
    >>> packed = rnn.pack_sequence([mg.ones(1), mg.zeros(2)], enforce_sorted=False)
    >>> padded, lengths = rnn.pad_packed_sequence(packed, padding_value=9.0)
    >>> padded, lengths
    (tensor([[1., 0.],
           [9., 0.]]), tensor([1, 2]))
    """
    padded, lengths = sequence.padded, sequence.lengths
    longest = padded.shape[0]
    steps = longest if total_length is None else total_length
    if steps < longest:
        raise ValueError(f"total_length {steps} is less than the longest length {longest}")
    padded = _padded(padded, steps, padding_value, "right")
    valid = valid_steps("pad_packed_sequence", lengths, steps, lengths.size)
    y = _filled(padded, valid, padding_value)
    return (y.transpose(0, 1) if batch_first else y), tensor(lengths, device="cpu")


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (L_b, …) in a PackedSequence, in the order that they had before."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes one: inverse[permutation] = 0, 1, 2, …; None for None."""
    if permutation is None:
        return None
    return ops.argsort(permutation)
