"""Files and folders that are there whole or not at all, and removal of what a killed process left unfinished."""

import errno
import hashlib
import io
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING

try:
    import fcntl
except ImportError:  # Windows, which does not remove a file that is open
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pandas import DataFrame
    from typing_extensions import Buffer

ABANDONED_SECONDS = 24 * 3600
"""An unfinished file of another machine is removed once nothing has been written to it for this long."""
ROWS = 10_000
"""Rows of a table that are written at once."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNFINISHED = re.compile(r"\.(?P<target>.+?)-(?:(?P<machine>[0-9a-f]{8})-)?[a-z0-9_]{8}", re.DOTALL)
"""The name of an unfinished file; versions before this one left out the machine."""


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that takes the name ``path`` in one step, once it is complete and on the disk.

    An existing file of that name stays until then, and stays for good if writing fails. Several processes may write the
    same file at once; one version remains. The writer holds a lock on the temporary file, so that ``remove_abandoned``
    can tell whether it is still alive.

    Raises:
        OSError: if the folder cannot be written to or the disk is full.
    """
    handle, aside = _temporary_file(path)
    lock = os.dup(handle) if fcntl else None  # held until the file has its name
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)  # mkstemp makes it readable for its owner alone
        aside.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk is reported without a name
        raise
    finally:
        aside.unlink(missing_ok=True)
        if lock is not None:
            os.close(lock)
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Make a temporary folder next to ``folder`` that takes its name in one step when the block ends.

    Raises:
        OSError: if it cannot be written, or ``folder`` exists and is not empty.
    """
    aside = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
    lock = _open_locked(aside)
    try:
        yield aside
        aside.chmod(0o755)  # mkdtemp makes it accessible for its owner alone
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if lock is not None:
            os.close(lock)
    _sync_folder(folder.parent)


def write_text(path: Path, text: str) -> str:
    """Write a UTF-8 text file whole or not at all. Returns its SHA-256 as 64 hexadecimal digits."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> str:
    """Write a file whole or not at all. Returns its SHA-256 as 64 hexadecimal digits."""
    with atomic_file(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def write_csv(path: Path, table: "DataFrame", index: bool = False) -> str:
    """Write a table as a CSV file, whole or not at all; every float with all its digits.

    Returns:
        The SHA-256 of the file as 64 hexadecimal digits.
    """
    # pandas would write wide tables in chunks of a few rows, each of which takes as long as the whole
    with atomic_file(path) as file:
        hashing = _HashingFile(file)
        table.to_csv(hashing, index=index, mode="wb", chunksize=ROWS)
    return hashing.digest.hexdigest()


class _HashingFile(io.RawIOBase):
    """Passes what is written on to another file, and hashes it."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, content: "Buffer") -> int:
        """Write bytes, and return how many."""
        self.digest.update(content)
        return self._file.write(content)


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished files from a folder in which no other process writes."""
    for path in folder.glob(".*-????????"):
        path.unlink(missing_ok=True)


def remove_abandoned(folder: Path, targets: str) -> list[Path]:
    """Remove unfinished files and folders whose writer is no longer alive.

    The writer is dead if its lock is free and it ran on this machine since the last boot, where locks are reliable.
    If it ran on another machine that shares the disk, or before the last boot, nothing may have been written to the
    file for ``ABANDONED_SECONDS`` either.

    Args:
        folder: searched, not recursively.
        targets: regular expression for the final names of the unfinished files; others are left alone.

    Returns:
        The paths removed.
    """
    removed = []
    for path in folder.iterdir() if folder.is_dir() else ():
        match = _UNFINISHED.fullmatch(path.name)
        if match and re.fullmatch(targets, match["target"]) and _remove_if_abandoned(path, match["machine"]):
            removed.append(path)
    return removed


def _remove_if_abandoned(path: Path, machine: str | None) -> bool:
    lock = _open_locked(path)  # kept while the file is removed, so that no writer takes it up in between
    try:
        if fcntl and lock is None:
            return False
        if machine != _machine() and time.time() - _last_written(path) < ABANDONED_SECONDS:
            return False
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError:  # removed by another process, or not ours to remove
        return False
    finally:
        if lock is not None:
            os.close(lock)
    return True


def _temporary_file(path: Path) -> tuple[int, Path]:
    while True:
        handle, name = tempfile.mkstemp(prefix=_prefix(path), dir=path.parent)
        # between these two lines another process may have taken the file for an abandoned one
        if _lock(handle) is not False and os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _prefix(path: Path) -> str:
    name = os.fsencode(path.name)[:200].decode("utf-8", "ignore")  # file systems allow 255 bytes
    return f".{name}-{_machine()}-"


@cache
def _machine() -> str:
    """Return eight hex digits that identify this machine since it was last booted."""
    try:
        identity = _BOOT_ID.read_text(encoding="utf-8")
    except OSError:
        identity = platform.node()
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def _lock(handle: int) -> bool | None:
    """Lock an open file. Returns False if another process holds it, None if locks are not available here."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    return True


def _open_locked(path: Path) -> int | None:
    """Open and lock a file or folder. Returns None if it is locked already, or cannot be opened or locked."""
    if fcntl is None:
        return None
    try:
        # network file systems lock exclusively only what is open for writing
        handle = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    if _lock(handle):
        return handle
    os.close(handle)
    return None


def _last_written(path: Path) -> float:
    times = [one.lstat().st_mtime for one in (path, *path.rglob("*"))]
    return max(times)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a loss of power, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
