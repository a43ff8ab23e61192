"""What there is to predict: the images of a file, a folder, a glob, an archive or a table. Imports no torch."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from threading import Lock
from zipfile import ZipFile, ZipInfo

from medclf.data.image_formats import SUFFIXES, is_image, is_image_file
from medclf.data.image_io import is_array_item, read_file
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.data.sources.folders import image_paths
from medclf.data.zip_members import (
    DAMAGED,
    METHODS,
    is_bomb,
    is_encrypted,
    is_folder,
    member_path,
    open_zip,
    read_in_steps,
    validate_expansion,
)
from medclf.utils.csv_tables import read_csv, require_columns
from medclf.utils.errors import ConfigError, DataError, format_list, suggest
from medclf.utils.file_limits import ARCHIVE_RATIO, MAX_FILE_BYTES
from medclf.utils.regular_files import SPECIAL_KINDS, special_kind


class ZipImages:
    """The images of an archive, in its order, as ``members``; hidden ones are passed over."""

    def __init__(self, file: ZipFile, size: int) -> None:
        self._file = file
        self._size = size
        self._lock = Lock()
        self.members = [member for member in file.infolist() if _is_image(file, member)]

    @classmethod
    def open(cls, path: Path) -> "ZipImages":
        """Open an archive, which stays open.

        Raises:
            DataError: if it is damaged, two of its images have one name, or they expand to more than images do.
        """
        images = cls(open_zip(path), path.stat().st_size)
        names = Counter(member.filename for member in images.members)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise DataError(f"{path}: several members are named {format_list(twice, 5)}; rename them and pack it again")
        validate_expansion(path, [m for m in images.members if not is_bomb(m, images._size)], images._size)
        return images

    def content(self, row: int, most: int) -> bytes:
        """Return the bytes of a member.

        Args:
            row: of ``members``.
            most: bytes that it may have.

        Raises:
            UnreadableImageError: with the reason.
        """
        member = self.members[row]
        if is_encrypted(member):
            raise UnreadableImageError("is encrypted")
        if member.compress_type not in METHODS:
            raise UnreadableImageError("is packed by a method that is not supported")
        if member.file_size > most:
            raise UnreadableImageError(f"{member.file_size} bytes, over {most}: no picture of one image")
        if is_bomb(member, self._size):
            raise UnreadableImageError(f"expands to over {ARCHIVE_RATIO.value} times its size: a bomb?")
        try:
            with self._lock:
                return self._read(member, most)
        except DAMAGED as error:
            raise UnreadableImageError("is damaged in the archive") from error

    def _read(self, member: ZipInfo, most: int) -> bytes:
        content = bytearray()
        for block in read_in_steps(self._file, member):
            content += block
            if len(content) > most:
                raise UnreadableImageError(f"over {most} bytes: no picture of one image")
        return bytes(content)


def _is_image(file: ZipFile, member: ZipInfo) -> bool:
    name = member_path(member)
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in name.parts)
    return not is_folder(member) and not hidden and is_image(name, partial(_beginning, file, member))


def _beginning(file: ZipFile, member: ZipInfo, count: int) -> bytes:
    try:
        return next(read_in_steps(file, member, count), b"")
    except DAMAGED:
        return b""


KINDS = format_list(sorted(SUFFIXES))


@dataclass(frozen=True)
class InputImages:
    """Images in order.

    ``paths`` are below ``root``, or in the archive; ``searched`` are the folders whose every image they are;
    ``skipped`` are named pipes, devices and sockets found in them, with what each is.
    """

    paths: list[str]
    root: Path = Path()
    archive: ZipImages | None = None
    searched: list[Path] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.paths)

    def content(self, row: int) -> bytes | None:
        """Return the bytes of an image; None for one of ``ARRAYS.npy#INDEX``.

        Raises:
            UnreadableImageError: with the reason.
        """
        if self.archive is not None:
            return self.archive.content(row, MAX_FILE_BYTES)
        return None if is_array_item(self.paths[row]) else _content(self.file(row))

    def file(self, row: int) -> Path:
        """Return the path of an image outside archives; tables from Windows have backslashes."""
        return self.root / self.paths[row].strip().replace("\\", "/") if self.paths[row] else self.root

    def shown(self, row: int) -> str:
        """Return the path as text for any file; names need not be Unicode."""
        return self.paths[row].encode("utf-8", "backslashreplace").decode()

    def digest(self) -> str:
        """Return a hash of the paths in their order."""
        content = hashlib.sha256()
        for row in range(len(self)):
            content.update(self.shown(row).encode() + b"\0")
        return content.hexdigest()


def find_inputs(typed: str) -> InputImages:
    """Find what ``input=`` means.

    Raises:
        ConfigError: for an input that is not there or of a kind that is not read.
        DataError: for one that holds no image, or is damaged.
    """
    if not typed:
        raise ConfigError("input=: is empty; name a file, folder, glob, .zip or .csv")
    path = Path(typed)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise ConfigError(f"input={typed}: cannot be read: {error.strerror}") from error
    if is_folder:
        return _in_folder(typed, path)
    if is_file:
        return _of_file(typed, path)
    if kind := special_kind(path):
        raise ConfigError(f"input={typed}: {kind}, not a file; name an image file, a folder, a .zip or a .csv")
    if has_magic(typed):
        return _globbed(typed)
    raise ConfigError(_missing(typed, path))


def _in_folder(typed: str, folder: Path) -> InputImages:
    skipped: dict[str, str] = {}
    paths = _below(folder, skipped)
    if not paths:
        raise DataError(
            f"input={typed}: holds no image; looked in it and the folders below for {KINDS}; what is hidden, and links "
            "to folders, were passed over"
        )
    return InputImages(paths, folder, searched=[folder], skipped=skipped)


def _of_file(typed: str, path: Path) -> InputImages:
    kinds: dict[str, Callable[[str, Path], InputImages]] = {".zip": _in_archive, ".csv": _in_table}
    suffix = path.suffix.lower()
    if suffix in kinds:
        return kinds[suffix](typed, path)
    if is_image_file(path):
        return InputImages([typed])
    raise ConfigError(
        f"input={typed}: is not read, for a file's kind is known by the end of its name: {KINDS}; or .zip, .csv, a "
        "folder, a glob; DICOM without such an end by its content"
    )


def _in_archive(typed: str, path: Path) -> InputImages:
    archive = ZipImages.open(path)
    if not archive.members:
        raise DataError(f"input={typed}: the archive holds no image; looked for {KINDS}")
    return InputImages([member.filename for member in archive.members], archive=archive)


def _in_table(typed: str, path: Path) -> InputImages:
    table = read_csv(path, f"input={typed}")
    require_columns(table.columns, ["path"], f"input={typed}")
    at = table.columns.index("path")
    return InputImages([row[at] for row in table.rows], path.parent)


def _globbed(typed: str) -> InputImages:
    found = sorted(glob(typed, recursive=True))  # noqa: PTH207, since Path.glob takes no absolute pattern
    folders = [Path(name) for name in found if Path(name).is_dir()]
    files = [name for name in found if not Path(name).is_dir() and is_image_file(Path(name))]
    skipped = {name: kind for name in found if (kind := special_kind(Path(name)))}
    below = [str(folder / path) for folder in folders for path in _below(folder, skipped)]
    paths = list(dict.fromkeys([*files, *below]))
    if not paths:
        other = f"{len(found)} files or folders, but no image among them" if found else "nothing"
        raise DataError(f"input={typed}: matches {other}; looked for {KINDS}; what is hidden was passed over")
    return InputImages(paths, searched=folders, skipped=skipped)


def _below(folder: Path, skipped: dict[str, str]) -> list[str]:
    """Return the images below a folder, sorted; ``skipped`` gets what is neither file nor folder."""
    others: dict[str, list[str]] = {}
    paths = [str(path) for path in sorted(image_paths(folder, others))]
    skipped.update({name: kind for kind in SPECIAL_KINDS for name in others.get(kind, [])})
    return paths


def _missing(typed: str, path: Path) -> str:
    there = next(parent for parent in path.absolute().parents if parent.is_dir())
    at = len(there.parts)
    name = path.absolute().parts[at]
    nearest = suggest(name, [item.name for item in there.iterdir()])
    return f"input={typed}: there is no such file or folder; in {there}: no {name}; {nearest}".rstrip("; ")


def validate_output_outside(images: InputImages, typed: str, output: Path) -> None:
    """Refuse an output folder among the images: the next search would find what is written there.

    Raises:
        ConfigError: naming both.
    """
    place = output.resolve()
    holding = [folder for folder in images.searched if place.is_relative_to(folder.resolve())]
    if holding or (not Path(typed).exists() and _matches(typed, place)):
        raise ConfigError(
            f"output={output}: lies where input={typed} looks for images; name a folder elsewhere: output=FOLDER"
        )


def _matches(pattern: str, place: Path) -> bool:
    """Whether a glob looks into a folder."""
    parts = Path(pattern).parts
    fixed = list(takewhile(lambda part: not has_magic(part), parts))
    base = Path(*fixed).resolve()
    if not place.is_relative_to(base):
        return False
    pairs = zip(parts[len(fixed) :], place.relative_to(base).parts, strict=False)
    return all(Path(name).match(part) for part, name in takewhile(lambda pair: pair[0] != "**", pairs))


def _content(path: Path) -> bytes:
    try:
        if not path.exists():
            raise UnreadableImageError("there is no such file")
        if path.is_dir():
            raise UnreadableImageError("is no file")
        return read_file(path)
    except (OSError, ValueError) as error:  # ValueError: what no file system can have, a NUL
        raise UnreadableImageError(getattr(error, "strerror", None) or str(error)) from error
