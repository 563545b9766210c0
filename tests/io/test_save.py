"""A save is whole or has not happened, wherever it is interrupted."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import minigrad as mg
from minigrad.io import atomic, files

OLD, NEW = {"x": mg.zeros(300)}, {"x": mg.ones(300)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was saved before, alone in its folder."""
    file = tmp_path / "model.safetensors"
    mg.save(file, OLD)
    return file


def first(path: Path) -> float:
    """The file's content, which must be whole: 0 for the old one, 1 for the new one."""
    values = set(mg.load(path).tensors["x"].tolist())
    assert len(values) == 1
    return values.pop()


def assert_untouched(path: Path) -> None:
    assert first(path) == 0
    assert list(path.parent.iterdir()) == [path], "a temporary file was left behind"


# ---- interruptions -------------------------------------------------------------------------------


@contextmanager
def interrupted_at_line(n: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt before the n-th line that minigrad/io/ executes; list the lines."""
    lines: list[str] = []
    ours = {files.__file__, atomic.__file__}

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line":
            lines.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            if len(lines) == n:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


# An interrupt just before `close` leaves that to the file object's end, of which Python warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_line(path: Path) -> None:
    content = path.read_bytes()
    results: list[float] = []
    while True:
        with interrupted_at_line(len(results) + 1) as lines:
            try:
                mg.save(path, NEW)
            except KeyboardInterrupt:
                pass
            else:
                break
        assert list(path.parent.iterdir()) == [path], f"litter after an interrupt at {lines[-1]}"
        results.append(first(path))
        path.write_bytes(content)
    assert len(results) > 30, "the tracer saw hardly any lines"
    assert results[0] == 0
    assert results == sorted(results), "once the new file is there, it stays"
    assert first(path) == 1


@pytest.mark.parametrize("call", ["open", "fsync", "chmod", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_failing_system_call(
    path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        OSError, match=r"cannot write .*model\.safetensors: .*is unchanged"
    ) as caught:
        mg.save(path, NEW)
    monkeypatch.undo()
    assert caught.value.errno == number
    assert os.strerror(number) in str(caught.value)
    assert_untouched(path)


def test_a_full_disk(path: Path) -> None:
    """A limit on the size of files fails in the middle of the write, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, limits[1]))
    try:
        with pytest.raises(OSError, match="is unchanged"):
            mg.save(path, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert_untouched(path)


@pytest.mark.parametrize("call", ["open", "fsync", "chmod", "replace"])
def test_a_killed_process_leaves_the_old_file(path: Path, call: str) -> None:
    program = f"""
import os, signal
import minigrad as mg
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
os.{call} = die
mg.save({str(path)!r}, {{"x": mg.ones(300)}})
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": root}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert first(path) == 0
    mg.save(path, NEW)
    assert first(path) == 1


def test_what_cannot_be_saved_touches_nothing(path: Path) -> None:
    with pytest.raises(TypeError):
        mg.save(path, {**NEW, "y": object()})
    with pytest.raises(UnicodeEncodeError):
        mg.save(path, {"\ud800": mg.ones(1)})
    assert_untouched(path)


def test_a_header_that_no_reader_accepts_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LONGEST_HEADER", 1000)
    with pytest.raises(ValueError, match=r"take [\d,]+ bytes, and 1,000 are allowed"):
        mg.save(path, {**NEW, "losses": [0.123] * 200})
    assert_untouched(path)


# ---- the place -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o666])
def test_permissions_are_kept(path: Path, mode: int) -> None:
    path.chmod(mode)
    mg.save(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_private_file_is_private_at_every_moment(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.chmod(0o600)
    modes: list[int] = []
    fsync = os.fsync

    def look(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    mg.save(path, NEW)
    assert modes == [0o600]


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        mg.save(tmp_path / "new", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_link_stays_a_link(path: Path) -> None:
    link = path.parent / "latest"
    link.symlink_to(path.name)
    mg.save(link, NEW)
    assert link.is_symlink()
    assert first(path) == 1


def test_relative_paths_and_long_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "x", "x" * 255, "ü ☃":
        mg.save(name, NEW)
        assert first(Path(name)) == 1


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*runs; make it first: Path"):
        mg.save(tmp_path / "runs" / "x", NEW)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder; add a name"):
        mg.save(tmp_path, NEW)


def test_devices_and_pipes_are_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        mg.save(tmp_path / "pipe", NEW)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_write_protection_is_respected(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)  # what os.access says to all but root
    with pytest.raises(PermissionError, match="write-protected"):
        mg.save(path, NEW)
    assert_untouched(path)
