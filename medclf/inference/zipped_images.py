"""Images in a zip archive, read in memory one at a time: nothing is extracted, so no name leads anywhere."""

from collections import Counter
from functools import partial
from pathlib import Path
from threading import Lock
from zipfile import ZipFile, ZipInfo

from medclf.data.image_formats import is_image
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.data.zip_members import (
    DAMAGED,
    METHODS,
    check_expansion,
    is_bomb,
    is_encrypted,
    is_folder,
    member_path,
    open_zip,
    read_in_steps,
)
from medclf.utils.errors import DataError, listed
from medclf.utils.file_limits import ARCHIVE_RATIO


class Zipped:
    """The images of an archive, in its order, as ``members``; hidden ones are passed over."""

    def __init__(self, file: ZipFile, size: int) -> None:
        self._file = file
        self._size = size
        self._lock = Lock()
        self.members = [member for member in file.infolist() if _is_image(file, member)]

    @classmethod
    def open(cls, path: Path) -> "Zipped":
        """Open an archive, which stays open.

        Raises:
            DataError: if it is damaged, two of its images have one name, or they expand to more than images do.
        """
        images = cls(open_zip(path), path.stat().st_size)
        names = Counter(member.filename for member in images.members)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise DataError(f"{path}: several members are named {listed(twice, 5)}; rename them and pack it again")
        check_expansion(path, [m for m in images.members if not is_bomb(m, images._size)], images._size)
        return images

    def content(self, row: int, most: int) -> bytes:
        """The bytes of a member.

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
