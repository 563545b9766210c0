"""The C library's allocator, told to keep the pages that arrays leave, as CuPy's pool does.

Left alone, glibc gives large blocks back to the system and takes new pages for the next step of
training, which the system fills with zeros one by one: a step of the character model (LSTM 2×256)
takes 112 ms so, and 94 ms with pages kept; one of an LSTM of 3200 steps, whose arrays are larger
than 32 MiB, 1.32 and 0.62 s. MINIGRAD_KEEP_PAGES=0 leaves the allocator alone.
"""

from __future__ import annotations

import ctypes
import os

# glibc's malloc.h: how many blocks may be mapped apart (those are new pages each time), how many
# free bytes it keeps, and how many more it asks for at a time.
_MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -4, -1, -2
_SETTINGS = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 2**26}


def keep_pages() -> bool:
    """Tell the allocator; whether there was one to tell, and it was not to be left alone."""
    if os.environ.get("MINIGRAD_KEEP_PAGES", "1") == "0":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return all(mallopt(name, value) for name, value in _SETTINGS.items())
