"""Folders that are there whole or not at all."""

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = ".lock"
"""Held in a folder while it is filled, so that another process can tell it from an abandoned one."""
SHOWN = 40
"""Characters of the target's name that the hidden folder bears."""


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Fill a hidden folder next to the target, which takes the target's name once the block ends without an error.

    What a killed process of this machine left of the same target is removed first. If another process made the target
    meanwhile, that one stays.

    Args:
        target: a folder that does not exist, in a folder that does.

    Yields:
        The hidden folder, empty but for a hidden file.

    Raises:
        OSError: if the folder cannot be made or renamed.
    """
    prefix = f".{target.name[:SHOWN]}-{_machine()}-"
    _remove_abandoned(target.parent, prefix)
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    lock = FileLock(aside / LOCK)
    try:
        _acquire(lock)
        yield aside
        (aside / LOCK).unlink(missing_ok=True)
        _settle(aside, target)
    finally:
        lock.release()
        shutil.rmtree(aside, ignore_errors=True)


def _machine() -> str:
    """Return what tells this machine from others that share the disk: their locks may not be seen here."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def _remove_abandoned(folder: Path, prefix: str) -> None:
    for path in folder.glob(f"{escape(prefix)}*/{LOCK}"):
        lock = FileLock(path)
        if _acquire(lock):
            lock.release()
            shutil.rmtree(path.parent, ignore_errors=True)


def _acquire(lock: FileLock) -> bool:
    """Return whether a lock was free and now is ours; never on file systems without locks."""
    try:
        lock.acquire(timeout=0)
    except (Timeout, NotImplementedError, OSError):
        return False
    return True


def _settle(aside: Path, target: Path) -> None:
    aside.chmod(0o777 & ~_umask())  # mkdtemp makes it for its owner alone
    try:
        aside.rename(target)
    except OSError:
        if not target.is_dir():
            raise  # else another process was first


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
