"""`named` values: gates and the like, by name, for whoever listens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Any

Listener = Callable[[str, Any], None]


class _Ears(threading.local):
    listener: Listener | None = None


ears = _Ears()


def named(**values: Any) -> Any:
    """Give values names, and give the values back: one as it is, several as a tuple, in order.

    Names cost nothing until somebody listens: `recording` collects the values, the code that
    `fuse` derives calls them so, and `Cell.equations` prints them.

    >>> import minigrad as mg
    >>> from minigrad.fuse import recording
    >>> @mg.fuse
    ... def mix(z, a, b):
    ...     z = mg.named(z=mg.sigmoid(z))
    ...     return z * a + (1 - z) * b
    >>> with recording() as log:
    ...     y = mix(mg.zeros(1), mg.ones(1), mg.zeros(1))
    >>> log
    {'z': tensor([0.5])}
    """
    if not values:
        raise TypeError("named() needs at least one value: named(z=sigmoid(a))")
    if ears.listener is not None:
        for name, value in values.items():
            ears.listener(name, value)
    return tuple(values.values()) if len(values) > 1 else next(iter(values.values()))


@contextlib.contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Within it, in this thread, `listener(name, value)` hears every name; nobody else does."""
    outer, ears.listener = ears.listener, listener
    try:
        yield
    finally:
        ears.listener = outer


@contextlib.contextmanager
def recording() -> Generator[dict[str, Any]]:
    """Collect what is `named` within it, the latest value of each name; per thread.

    Fused functions run op by op meanwhile, so that the names inside them are heard: the values are
    those of the fused run up to rounding, and gradients flow through them.
    """
    log: dict[str, Any] = {}
    with listening(log.__setitem__):
        yield log
