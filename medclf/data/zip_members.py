"""Members of zip archives from anywhere: within limits, and checked rather than taken for what the archive says."""

import bz2
import lzma
import re
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from medclf.utils.errors import DataError, format_list
from medclf.utils.file_limits import (
    ARCHIVE_MEMBERS,
    ARCHIVE_RATIO,
    MEMBER_DEPTH,
    MEMBER_LENGTH,
    SMALL_ARCHIVE,
    SMALL_MEMBER,
)

DAMAGED = (
    BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError,
    OverflowError, MemoryError, struct.error,
)  # fmt: skip
"""What zipfile raises for a damaged archive."""
METHODS = frozenset({ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA})
ENCRYPTED = 0x1 | 0x40
"""Flag bits of the zip format (PKWARE APPNOTE 4.4.4): encrypted, strongly encrypted."""
STEP = 2**20
"""Bytes that are read, or expanded to, at once."""
DIRECTORY_ENTRY = b"PK\x01\x02"
END, END64, LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
END_SIZE, END64_SIZE, LOCATOR64_SIZE = 22, 56, 20
BYTES_PER_MEMBER = 200
"""Bytes that a member may take in an archive's directory, on average: 46, its path, dates and owner."""


def open_zip(path: Path) -> ZipFile:
    """Open an archive, once its directory is known to fit into memory.

    Raises:
        DataError: if it cannot be read, is damaged, or has too many members.
    """
    try:
        with path.open("rb") as file:
            _check_directory(file, path)
        return ZipFile(path)
    except DataError:
        raise
    except (*DAMAGED, IndexError) as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        raise DataError(f"{path}: is damaged or not a zip archive; copy or download it again") from error


def member_path(member: ZipInfo) -> PurePosixPath:
    """Return the path of a member; archives made on Windows may have backslashes."""
    return PurePosixPath(*[part for part in _parts(member) if part not in ("", ".")])


def is_folder(member: ZipInfo) -> bool:
    """Return whether a member is a folder."""
    return _parts(member)[-1] == ""


def is_encrypted(member: ZipInfo) -> bool:
    """Return whether a member can be read with a password only."""
    return bool(member.flag_bits & ENCRYPTED)


def is_bomb(member: ZipInfo, archive_size: int) -> bool:
    """Return whether a member expands to more than any image does.

    Args:
        member: of an archive.
        archive_size: bytes of the archive's file, whatever the member is said to take of it.
    """
    stored = max(min(member.compress_size, archive_size), 1)
    return member.file_size > SMALL_MEMBER and member.file_size > ARCHIVE_RATIO.value * stored


def max_expanded_size(archive_size: int) -> int:
    """Return how many bytes an archive of this size may expand to."""
    return max(SMALL_ARCHIVE, ARCHIVE_RATIO.value * archive_size)


def validate_expansion(path: Path, members: Sequence[ZipInfo], archive_size: int) -> None:
    """Refuse an archive whose members together expand to more than images do.

    Raises:
        DataError: with the ratio, and the line that allows it.
    """
    size = sum(member.file_size for member in members)
    if size > max_expanded_size(archive_size):
        ratio = -(-size // max(archive_size, 1))
        raise DataError(
            f"{path}: expands to {ratio:,} times its size, over {ARCHIVE_RATIO.value}, and may be a zip bomb; "
            f"{ARCHIVE_RATIO.remedy(ratio)}"
        )


def validate_names(path: Path, members: Sequence[ZipInfo]) -> None:
    """Refuse paths that lead out of the archive's folder, or that are too long or deep for one.

    Raises:
        DataError: naming them.
    """
    outside = [member.filename for member in members if _leads_outside(member)]
    if outside:
        raise DataError(
            f"{path}: members would be written outside its folder: {format_list(outside)}; nothing is extracted"
        )
    special = [member.filename for member in members if _is_special(member)]
    if special:
        raise DataError(f"{path}: holds links or devices: {format_list(special)}; nothing is extracted")
    deep = [m.filename for m in members if len(m.filename) > MEMBER_LENGTH or len(_parts(m)) > MEMBER_DEPTH]
    if deep:
        raise DataError(
            f"{path}: paths in it have over {MEMBER_LENGTH} characters or {MEMBER_DEPTH} folders, such as "
            f"{deep[0][:80]}…; nothing is extracted"
        )


def validate_distinct(path: Path, members: Sequence[ZipInfo], ignore_case: bool = False) -> None:
    """Refuse members of which one would replace or contain another.

    Args:
        path: of the archive.
        members: its files.
        ignore_case: whether names that differ only in case are one file.

    Raises:
        DataError: naming the members.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    for member in members:
        place = member_path(member)
        key = _key(place, ignore_case)
        above = [parent for parent in place.parents if parent.name]
        merged = next(
            (parent for parent in above if folders.setdefault(_key(parent, ignore_case), str(parent)) != str(parent)),
            None,
        )
        if key in files:
            raise _not_distinct(
                path,
                f"two members are named {place}"
                if files[key] == str(place)
                else f"{files[key]} and {place} differ only in case",
            )
        if merged is not None:
            raise _not_distinct(path, f"{folders[_key(merged, ignore_case)]} and {merged} differ only in case")
        files[key] = str(place)
    both = next((name for name in folders if name in files), None)
    if both is not None:
        raise _not_distinct(path, f"{files[both]} is both a file and a folder")


def read_in_steps(file: ZipFile, member: ZipInfo, step: int = STEP) -> Iterator[bytes]:
    """Yield the bytes of a member, at most ``step`` of them at once and no more than the directory says.

    Raises:
        One of DAMAGED: for a damaged member.
    """
    if member.compress_type not in (ZIP_BZIP2, ZIP_LZMA):
        with file.open(member) as content:
            while block := content.read(step):
                yield block
        return
    checksum = 0
    for block in _unpacked(file, member, step):
        checksum = zlib.crc32(block, checksum)
        yield block
    if checksum != member.CRC:
        raise BadZipFile("the checksum differs")


def _unpacked(file: ZipFile, member: ZipInfo, step: int) -> Iterator[bytes]:
    """Yield what a member expands to: zipfile would expand all that it reads, of BZIP2 a million times as much."""
    packed = copy(member)
    packed.compress_type, packed.file_size = ZIP_STORED, member.compress_size
    del packed.CRC  # of what is expanded; zipfile checks none then
    left = member.file_size
    with file.open(packed) as content:
        unpacker = bz2.BZ2Decompressor() if member.compress_type == ZIP_BZIP2 else _lzma_unpacker(content)
        while left > 0 and not unpacker.eof:
            data = content.read(step) if unpacker.needs_input else b""
            block = unpacker.decompress(data, min(left, step))
            if not data and not block and unpacker.needs_input:
                raise EOFError
            left -= len(block)
            yield block


def _lzma_unpacker(content: IO[bytes]) -> lzma.LZMADecompressor:
    """Return a decompressor for what follows the properties of LZMA (APPNOTE 5.8.8), which are read."""
    packed, dictionary = struct.unpack("<4xBL", content.read(9))
    places = {"lc": packed % 9, "lp": packed // 9 % 5, "pb": packed // 45}
    return lzma.LZMADecompressor(
        lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": dictionary, **places}]
    )


def _not_distinct(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}; nothing is extracted. Rename one of them and pack the archive again")


def _key(place: PurePosixPath, ignore_case: bool) -> str:
    return unicodedata.normalize("NFC", str(place).casefold()) if ignore_case else str(place)


def _parts(member: ZipInfo) -> list[str]:
    return member.filename.replace("\\", "/").split("/")


def _leads_outside(member: ZipInfo) -> bool:
    parts = _parts(member)
    return ".." in parts or parts[0] == "" or bool(re.match(r"[A-Za-z]:", parts[0])) or not member_path(member).name


def _is_special(member: ZipInfo) -> bool:
    """Return whether Unix attributes make a member a link, a pipe or a device."""
    return stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR)


def _check_directory(file: IO[bytes], path: Path) -> None:
    """Refuse an archive with too many members before zipfile makes an object of each."""
    begin, size = _directory(file)
    most = ARCHIVE_MEMBERS.value
    if size > most * BYTES_PER_MEMBER:
        raise DataError(f"{path}: its directory has {size:,} bytes; {ARCHIVE_MEMBERS.remedy(size // BYTES_PER_MEMBER)}")
    file.seek(begin)
    count, left, tail = 0, size, b""
    while left > 0 and (block := file.read(min(2**20, left))):
        left -= len(block)
        count += (tail + block).count(DIRECTORY_ENTRY)
        tail = block[1 - len(DIRECTORY_ENTRY) :]
    if count > most:
        raise DataError(f"{path}: has {count:,} members, over {most:,}; {ARCHIVE_MEMBERS.remedy(count)}")


def _directory(file: IO[bytes]) -> tuple[int, int]:
    """Return where the directory begins and how many bytes it has, as zipfile finds it (APPNOTE 4.3.14 to 4.3.16)."""
    length = file.seek(0, 2)
    file.seek(max(0, length - END_SIZE - 2**16))
    end = file.read()
    at = end.rfind(END)
    if at < 0 or len(end) - at < END_SIZE:
        raise BadZipFile("no end of directory")
    size = int(struct.unpack_from("<L", end, at + 12)[0])
    place = length - len(end) + at
    before = max(0, place - LOCATOR64_SIZE - END64_SIZE)
    file.seek(before)
    record = file.read(place - before)
    if record[-LOCATOR64_SIZE:].startswith(LOCATOR64) and record.startswith(END64):
        size, place = int(struct.unpack_from("<Q", record, 40)[0]), before
    return max(0, place - size), size
