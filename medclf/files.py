"""Files that are there whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write into that takes its name in one step, once it is whole and on the disk.

    What bears the name before stays until then, and stays for good where writing fails. Several processes may write the
    same file at once: one of theirs remains.

    Raises:
        OSError: when the folder cannot be written to, or the disk is full.
    """
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o644)  # mkstemp makes it for its owner alone
        Path(aside).replace(path)
    finally:
        Path(aside).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left of files that it had not finished; no other may be writing there."""
    for path in folder.glob(".*-????????"):
        path.unlink(missing_ok=True)
