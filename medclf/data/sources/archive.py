"""Zip archives, among them the .npz files of NumPy: extracted once, whole or not at all, and never elsewhere."""

import hashlib
import json
import logging
import re
import shlex
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from tqdm import tqdm

from medclf.config.schema import DatasetConfig
from medclf.data.zip_members import (
    DAMAGED,
    METHODS,
    is_bomb,
    is_encrypted,
    is_folder,
    max_expanded_size,
    member_path,
    open_zip,
    read_in_steps,
    validate_distinct,
    validate_expansion,
    validate_names,
)
from medclf.utils.atomic_write import atomic_folder, remove_abandoned
from medclf.utils.errors import DataError, format_list
from medclf.utils.file_limits import ARCHIVE_RATIO
from medclf.utils.json_yaml import read_json
from medclf.utils.write_errors import write_failure

log = logging.getLogger(__name__)
SUFFIXES = (".zip", ".npz")
RECORD = ".medclf-archive.json"
"""A hidden file in an extracted folder: which archive it was extracted from. Hidden files are never images."""


def find_archive(config: DatasetConfig) -> Path | None:
    """Return the archive of a dataset: root itself or the file in root named by ``archive``; None without one."""
    root = Path(config.root)
    candidates = [root] if config.archive is None else [root, root / config.archive]
    return next((path for path in candidates if path.suffix.lower() in SUFFIXES and path.is_file()), None)


def extract_to(archive: Path, target: Path) -> None:
    """Extract an archive to a folder that does not exist yet, with a progress bar, and record what was extracted.

    Args:
        archive: a zip or npz file.
        target: a folder next to it.

    Raises:
        DataError: if the archive is damaged or encrypted, would write outside the folder, holds links or two members of
            one name, may be a zip bomb, or needs more space than there is. Nothing is left behind.
    """
    with open_zip(archive) as file:
        size = archive.stat().st_size
        members = [member for member in file.infolist() if not is_folder(member)]
        _check(archive, members, size, target)
        remove_abandoned(target.parent, re.escape(target.name))
        try:
            with atomic_folder(target) as aside:
                _write_all(file, members, aside, archive, size)
                record = _stamp(archive) | {"members": len(members), "digest": _digest(members)}
                (aside / RECORD).write_text(json.dumps(record), encoding="utf-8")
        except OSError as error:
            if has_record(target):
                return  # another process was first
            raise DataError(
                f"{archive}: cannot be extracted to {target}: {write_failure(error)}; move the archive to a "
                "folder with "
                "space where you may write"
            ) from error


def validate_extracted(archive: Path, folder: Path) -> None:
    """Refuse a folder that was extracted from another archive than the one that is there now.

    A folder without a record was made by somebody else, and is used as it is.

    Raises:
        DataError: with the folder to remove.
    """
    record = _record(folder)
    if record is None or all(record.get(name) == value for name, value in _stamp(archive).items()):
        return
    with open_zip(archive) as file:
        digest = _digest([member for member in file.infolist() if not is_folder(member)])
    if record.get("digest") != digest:
        raise DataError(
            f"{folder}: was extracted from an archive that {archive.name} has replaced; remove the folder, and the new "
            f"archive is extracted: rm -r {shlex.quote(str(folder))}"
        )


def has_record(folder: Path) -> bool:
    """Return whether it is known which archive a folder was extracted from."""
    return _record(folder) is not None


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / RECORD)
    except DataError:
        return None


def _stamp(archive: Path) -> dict[str, int]:
    """Return the size and time of an archive, which change when it is replaced."""
    status = archive.stat()
    return {"bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _digest(members: list[ZipInfo]) -> str:
    """Return a digest of the path, size and checksum of each member, in whatever order they are packed."""
    lines = sorted(f"{member_path(member)}\0{member.file_size}\0{member.CRC}\n" for member in members)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def _check(archive: Path, members: list[ZipInfo], archive_size: int, target: Path) -> None:
    validate_names(archive, members)
    validate_distinct(archive, members, _ignores_case(archive))
    if any(is_encrypted(member) for member in members):
        raise DataError(
            f"{archive}: its files are encrypted; extract it with its password, then name the folder: "
            f"dataset.root={shlex.quote(str(target))}"
        )
    unknown = [member.filename for member in members if member.compress_type not in METHODS]
    if unknown:
        raise DataError(
            f"{archive}: is packed by a method that is not supported: {format_list(unknown, 3)}; use Deflate"
        )
    bombs = [member.filename for member in members if is_bomb(member, archive_size)]
    if bombs:
        raise DataError(
            f"{archive}: members expand to over {ARCHIVE_RATIO.value} times their size and may be zip bombs: "
            f"{format_list(bombs)}; nothing is extracted"
        )
    validate_expansion(archive, members, archive_size)
    size, free = sum(member.file_size for member in members), shutil.disk_usage(target.parent).free
    if size > free:
        raise DataError(f"{archive}: needs {size / 2**30:.1f} GiB extracted, {free / 2**30:.1f} GiB are free")


def _ignores_case(archive: Path) -> bool:
    """Return whether the file system of an archive takes names that differ only in case for one."""
    other = archive.with_name(archive.name.swapcase())
    return other.exists() and other.samefile(archive)


def _write_all(file: ZipFile, members: list[ZipInfo], folder: Path, archive: Path, archive_size: int) -> None:
    """Write all members, and count what they expand to, whatever the archive says of it."""
    left = max_expanded_size(archive_size)
    for member in tqdm(members, f"Extracting {archive.name}", leave=False):
        try:
            left -= _write(file, member, folder / member_path(member), left)
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(f"{archive}: {member.filename} is damaged; copy or download the archive again") from error
        if left < 0:
            raise DataError(f"{archive}: expands to over {ARCHIVE_RATIO.value} times its size; nothing is extracted")


def _write(file: ZipFile, member: ZipInfo, path: Path, most: int) -> int:
    """Write a member, and return how many bytes it has; no more than a step is written beyond ``most``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("xb") as target:
        for block in read_in_steps(file, member):
            written += target.write(block)
            if written > most:
                break
    return written
