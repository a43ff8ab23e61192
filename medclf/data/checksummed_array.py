"""Arrays on disk with checksums: an .npy file that NumPy reads as it is, followed by a checksum of each row.

A row is one entry of the first axis. The file ends with a CRC-32 of each row and a digest of header and checksums.
"""

import hashlib
import io
import math
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from medclf.utils.errors import DataError

_MARK = b"medclf-checksums-1"
_DIGEST_BYTES = 16
_CHECKSUM = np.dtype("<u4")
_npy: Any = np.lib.format  # typed in some of NumPy's releases only


class DamagedArrayError(DataError):
    """A file is not what was written: cut, overwritten, or of an earlier version without checksums."""


class ChecksummedArray:
    """An array on disk, whose rows are read and checked one at a time.

    Rows are read by their offset, so that what has been read fills the system's cache and not this process's memory.

    Args:
        path: of a file that ``write_checksummed`` wrote.
        dtype: expected.

    Raises:
        DamagedArrayError: if size, type, header or checksums are not as written.
    """

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        try:
            with path.open("rb") as file:
                self._open(file)
        except (OSError, ValueError, EOFError) as error:  # what NumPy raises for a header that it cannot read
            raise DamagedArrayError(f"{path}: is damaged: {error}") from error

    def _open(self, file: IO[bytes]) -> None:
        size = os.fstat(file.fileno()).st_size
        if _npy.read_magic(file) != (1, 0):
            raise ValueError("not in the expected format")
        shape, fortran_order, dtype = _npy.read_array_header_1_0(file)
        if dtype != self.dtype or fortran_order or not shape:
            raise ValueError(f"holds {dtype}, expected {self.dtype}")
        self.shape: tuple[int, ...] = shape
        self.offset = file.tell()
        self.row_bytes = math.prod(shape[1:]) * self.dtype.itemsize
        end = self.offset + shape[0] * self.row_bytes
        if size != end + shape[0] * _CHECKSUM.itemsize + _DIGEST_BYTES + len(_MARK):
            raise ValueError(f"has {size} bytes, {end} of them expected for the array and more for its checksums")
        file.seek(0)
        header = file.read(self.offset)
        file.seek(end)
        checksums = file.read(shape[0] * _CHECKSUM.itemsize)
        if file.read() != _digest(header, checksums) + _MARK:
            raise ValueError("the checksums do not match")
        self._checksums = np.frombuffer(checksums, _CHECKSUM)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, row: int) -> NDArray[Any]:
        """Read one row, of shape ``shape[1:]``.

        Raises:
            DamagedArrayError: if it is not what was written.
        """
        values = np.fromfile(self.path, np.uint8, self.row_bytes, offset=self.offset + row * self.row_bytes)
        if len(values) != self.row_bytes or not self.is_row(row, values):
            raise DamagedArrayError(f"{self.path}: is damaged in row {row}")
        return values.view(self.dtype).reshape(self.shape[1:])

    def is_row(self, row: int, content: Any) -> bool:
        """Return whether bytes are those that were written as a row."""
        return zlib.crc32(content, row) == int(self._checksums[row])

    def check_rows(self) -> None:
        """Read every row once.

        Raises:
            DamagedArrayError: for the first that is not what was written.
        """
        for row in range(len(self)):
            self.read(row)


def write_checksummed(file: IO[bytes], shape: tuple[int, ...], dtype: DTypeLike, rows: Iterable[bytes]) -> None:
    """Write an array and its checksums.

    Args:
        file: open for writing, empty.
        shape: of the array.
        dtype: of the array.
        rows: content of each row in C order, ``shape[0]`` of them.
    """
    header = _header(shape, np.dtype(dtype))
    file.write(header)
    checksums = np.zeros(shape[0], _CHECKSUM)
    for row, content in enumerate(rows):
        file.write(content)
        checksums[row] = zlib.crc32(content, row)
    file.write(checksums.tobytes() + _digest(header, checksums.tobytes()) + _MARK)


def _header(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bytes:
    stream = io.BytesIO()
    facts = {"descr": _npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    _npy.write_array_header_1_0(stream, facts)
    return stream.getvalue()


def _digest(header: bytes, checksums: bytes) -> bytes:
    return hashlib.blake2b(header + checksums, digest_size=_DIGEST_BYTES).digest()
