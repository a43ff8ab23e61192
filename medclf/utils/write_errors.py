"""Why a file could not be written, in plain words."""

import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from medclf.utils.quoting import format_override

NO_SPACE = "no space left"
EVERYWHERE = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EFBIG: "a file would be larger than allowed",
    errno.EIO: "the disk reports an error",
    errno.ESTALE: "the network file system has gone",
}
"""Errors that only writing or a failing disk causes, whatever the file."""
AT_A_PATH = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "the folder is not there",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.EISDIR: "a folder has this name",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "a symbolic link leads to itself",
}
"""Errors that mean the same of a path that was to be written, but may have other causes elsewhere."""


def write_failure(error: Exception) -> str:
    """Return why a file could not be written, in plain words."""
    if isinstance(error, OSError):
        known = {**EVERYWHERE, **AT_A_PATH}
        return known.get(error.errno or 0) or error.strerror or str(error)
    return NO_SPACE if _is_full_database(error) else str(error)


def format_unwritable(key: str, folder: str | Path, error: Exception) -> str:
    """Return the message about a folder, given by a key of the configuration, that cannot be written."""
    named = format_override(key, str(folder))
    return f"{named}: cannot be written: {write_failure(error)}; name another: {key}=FOLDER"


def suggest_remedy(error: Exception) -> str:
    """Return what to do about a failed write."""
    return "free some" if write_failure(error) == NO_SPACE else "make it writable"


def find_write_error(error: BaseException, folder: Path) -> Exception | None:
    """Find the failed write, if any, that an exception comes from.

    Libraries wrap such errors in their own, so the whole chain of causes is searched.

    Args:
        error: what was raised.
        folder: where files were being written; "permission denied" and the like count only below it.
    """
    for one in _chain(error):
        if _is_full_database(one):
            return one
        if isinstance(one, OSError) and (
            one.errno in EVERYWHERE or (one.errno in AT_A_PATH and _is_below(one, folder))
        ):
            return one
    return None


def _is_full_database(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error)


def _is_below(error: OSError, folder: Path) -> bool:
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return any(Path(name).absolute().is_relative_to(folder.absolute()) for name in names)


def _chain(error: BaseException) -> Iterator[Exception]:
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        if isinstance(following, Exception):
            yield following
        following = following.__cause__ or following.__context__
