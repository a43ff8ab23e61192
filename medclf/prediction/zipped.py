"""Images in a zip archive, read in memory one at a time: nothing is extracted, so no name leads anywhere."""

import lzma
import zlib
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from zipfile import BadZipFile, ZipFile, ZipInfo

from medclf.data.kinds import is_image
from medclf.data.pixels import UnreadableImageError
from medclf.data.sources.archive import MAX_RATIO, is_bomb
from medclf.errors import DataError

DAMAGED = (BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
ENCRYPTED = 0x1


class Zipped:
    """The images of an archive, in its order, as ``members``; hidden ones are passed over."""

    def __init__(self, file: ZipFile) -> None:
        self._file = file
        self._lock = Lock()
        self.members = [member for member in file.infolist() if _is_image(file, member)]

    @classmethod
    def open(cls, path: Path) -> "Zipped":
        """Open an archive, which stays open.

        Raises:
            DataError: for a damaged one.
        """
        try:
            return cls(ZipFile(path))
        except DAMAGED as error:
            raise DataError(f"{path}: the archive is damaged or of an unknown kind: {error}") from error

    def content(self, row: int, most: int) -> bytes:
        """The bytes of a member.

        Args:
            row: of ``members``.
            most: bytes that it may have; it cannot have more than it declares.

        Raises:
            UnreadableImageError: with the reason.
        """
        member = self.members[row]
        if member.flag_bits & ENCRYPTED:
            raise UnreadableImageError("is encrypted")
        if member.file_size > most:
            raise UnreadableImageError(f"{member.file_size} bytes, over {most}: no picture of one image")
        if is_bomb(member):
            raise UnreadableImageError(f"unfolds to over {MAX_RATIO} times its size: a bomb?")
        try:
            with self._lock:
                return self._file.read(member)
        except DAMAGED as error:
            raise UnreadableImageError(f"damaged in the archive: {error}") from error


def _is_image(file: ZipFile, member: ZipInfo) -> bool:
    name = PurePosixPath(member.filename)
    hidden = any(part.startswith((".", "__MACOSX")) and part != ".." for part in name.parts)
    return not member.is_dir() and not hidden and is_image(name, partial(_beginning, file, member))


def _beginning(file: ZipFile, member: ZipInfo, count: int) -> bytes:
    try:
        with file.open(member) as content:
            return content.read(count)
    except DAMAGED:
        return b""
