"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from functools import partial
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Make `data` the content of a file; until that is done, the file is what it was before.

    The bytes go to a temporary file beside it, reach the disk, and only then take its name. An
    exception on the way, KeyboardInterrupt too, removes the temporary file; a process that is
    killed outright leaves it (`.minigrad-….tmp`), and the old file whole. A file that exists keeps
    its permissions, and a symbolic link stays one: what it points to is replaced.

    Raises:
        OSError: of the kind that fits (FileNotFoundError, PermissionError …), when the folder is
            missing, something may not be written, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    mode = _mode_of(target)
    temporary = target.with_name(f".minigrad-{os.urandom(8).hex()}.tmp")
    opener = partial(os.open, mode=0o666 if mode is None else mode)  # private at every moment
    try:
        with open(temporary, "xb", opener=opener) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            temporary.chmod(mode)  # what the umask took away
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            why = f"{error.strerror}; what was there before is unchanged"
            raise OSError(error.errno, f"cannot write {target}: {why}") from error
        raise


def _mode_of(target: Path) -> int | None:
    """Give the permissions of the file that will be replaced; None when there is none."""
    try:
        found = target.stat()
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT,
                f"cannot write {target}: there is no folder {target.parent}; "
                "make it first: Path(...).mkdir(parents=True)",
            ) from None
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, f"cannot write {target}: it is a folder; add a name")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, f"cannot write {target}: it is not a regular file")
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, f"cannot write {target}: it is write-protected")
    return stat.S_IMODE(found.st_mode)
