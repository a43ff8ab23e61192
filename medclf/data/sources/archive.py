"""Zip archives, and .npz files, which are such of arrays: extracted once, whole or not at all, never elsewhere."""

import lzma
import os
import shutil
import stat
import tempfile
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from tqdm import tqdm

from medclf.config.schema import Dataset
from medclf.errors import DataError, listed

SUFFIXES = (".zip", ".npz")
MAX_RATIO = 200
"""Deflate shrinks pictures a few times and blank ones a hundred times; more is a bomb."""


def archive_of(config: Dataset) -> Path | None:
    """The archive that holds a dataset: root itself, or the file in root that ``archive`` names; None where none is."""
    root = Path(config.root)
    candidates = [root] if config.archive is None else [root, root / config.archive]
    return next((path for path in candidates if path.suffix.lower() in SUFFIXES and path.is_file()), None)


def extract(archive: Path, target: Path) -> None:
    """Extract an archive to a folder that does not exist yet, with a progress bar.

    Raises:
        DataError: for a damaged archive, a member that would land outside the folder, a link, an encrypted member, a
            bomb, or too little space. Nothing is left behind.
    """
    try:
        with ZipFile(archive) as file:
            members = [member for member in file.infolist() if not member.is_dir()]
            _check(archive, members, target)
            aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            try:
                for member in tqdm(members, f"Extracting {archive.name}", leave=False):
                    _write(file, member, aside / PurePosixPath(member.filename))
                _settle(aside, target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except (BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive}: the archive is damaged or of an unknown kind ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"{archive}: cannot be extracted to {target}: {error}") from error


def _check(archive: Path, members: list[ZipInfo], target: Path) -> None:
    outside = [member.filename for member in members if _leads_outside(member.filename)]
    if outside:
        raise DataError(
            f"{archive}: members would be written outside its folder: {listed(outside)}; nothing is extracted"
        )
    links = [member.filename for member in members if stat.S_ISLNK(member.external_attr >> 16)]
    if links:
        raise DataError(f"{archive}: holds links: {listed(links)}; nothing is extracted")
    bombs = [member.filename for member in members if is_bomb(member)]
    size, free = sum(member.file_size for member in members), shutil.disk_usage(target.parent).free
    if bombs:
        raise DataError(f"{archive}: members unfold to over {MAX_RATIO} times their size: {listed(bombs)}; a bomb?")
    if size > free:
        raise DataError(f"{archive}: needs {size / 2**30:.1f} GiB extracted, {free / 2**30:.1f} GiB are free")


def is_bomb(member: ZipInfo) -> bool:
    """Whether a member unfolds to more than any picture does."""
    return member.file_size > 2**20 and member.file_size > MAX_RATIO * max(member.compress_size, 1)


def _leads_outside(name: str) -> bool:
    windows = PureWindowsPath(name)
    return ".." in windows.parts or windows.is_absolute() or bool(windows.drive) or name.startswith(("/", "\\"))


def _write(file: ZipFile, member: ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with file.open(member) as source, path.open("wb") as target:
        # reading checks the CRC, and ends at the size that was checked above
        shutil.copyfileobj(source, target, 2**20)


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
