"""The SHA-256 of the files of a model, by which swapped and edited ones are found. Imports no torch."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from medclf.utils.errors import DataError
from medclf.utils.regular_files import open_regular

PIECE = 2**22
"""Bytes of a file that are in memory at once."""
WEIGHTS, NOVELTY = "best.pth", "novelty.npz"
"""Names under which best.json lists the weights and the out-of-distribution statistics."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits.

    Raises:
        DataError: for a file that cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def model_digests(path: Path, members: Iterable[str] = ()) -> dict[str, str]:
    """Return the digest of every file that belongs to a model, by the name that its best.json gives it.

    Args:
        path: of its ``best.json``, which need not exist yet.
        members: paths of the best.json of each member, below the folder of this one; a network has none.
    """
    files = model_files(path, members)
    return {name: file_digest(file) for name, file in files.items() if file.is_file()}


def verify_digests(path: Path, members: Iterable[str], digests: Mapping[str, str]) -> None:
    """Raise if a file of a model is missing, or is another one than its ``best.json`` was written for.

    Args:
        path: of its ``best.json``.
        members: as it lists them; their own files are left to their own best.json.
        digests: as it lists them.

    Raises:
        DataError: naming the file.
    """
    for name, file in model_files(path, members).items():
        expected = digests.get(name)
        if name == NOVELTY and expected is None and not file.exists():
            continue
        if not file.is_file():
            raise DataError(f"{file}: is missing; copy it again from the folder that {path.name} comes from")
        if expected != file_digest(file):
            raise DataError(
                f"{file}: is not the file that {path.name} was written for (its SHA-256 differs); copy both again from "
                "one run"
            )


def model_files(path: Path, members: Iterable[str] = ()) -> dict[str, Path]:
    """Return where the files of a model are that its best.json lists, whether or not they exist."""
    own = {NOVELTY: path.with_name(NOVELTY)}
    inner = {name: path.parent / name for name in members}
    return own | (inner or {WEIGHTS: path.with_suffix(".pth")})
