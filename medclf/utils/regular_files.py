"""Read regular files only: a named pipe blocks its reader forever, and a device never ends."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
SPECIAL_KINDS = ("a named pipe", "a device", "a socket")
NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class NotRegularFileError(OSError):
    """A path that leads to something other than a regular file; ``strerror`` says what it is."""


def special_kind(path: Path) -> str | None:
    """Return "a named pipe", "a device" or "a socket" where a path, or what it links to, is one; otherwise None."""
    try:
        return _special(path.stat().st_mode)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Opening never blocks.

    Raises:
        NotRegularFileError: for a named pipe, device, socket or folder.
        OSError: for a file that is missing or not readable.
    """
    _validate(path, path.stat().st_mode)  # opening a device can have effects of its own
    handle = os.open(path, os.O_RDONLY | NO_WAIT)
    try:
        _validate(path, os.fstat(handle).st_mode)  # the path may have been replaced in between
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _validate(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else _special(mode) or "not a regular file"
        raise NotRegularFileError(errno.EINVAL, f"{kind}, not a file", str(path))


def _special(mode: int) -> str | None:
    return next((kind for is_kind, kind in SPECIAL if is_kind(mode)), None)
