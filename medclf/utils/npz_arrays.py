"""Reading .npz files from anybody: no Python objects, and no more memory than the file's own size justifies."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclf.utils.regular_files import NotRegularFileError, open_regular

_npy: Any = np.lib.format  # typed in some of NumPy's releases only
_DAMAGE = (OSError, EOFError, KeyError, SyntaxError, TypeError, OverflowError, MemoryError, RuntimeError,
           NotImplementedError, zipfile.BadZipFile, zlib.error)  # fmt: skip


def read_arrays(path: Path, kinds: Mapping[str, str], max_bytes: int) -> dict[str, NDArray[Any]]:
    """Read arrays of an .npz file.

    Args:
        path: of the file.
        kinds: by the name of each array, the kinds of its dtype (``NDArray.dtype.kind``) that are taken.
        max_bytes: size of all arrays together, unpacked.

    Raises:
        ValueError: with what is wrong: a missing array, a damaged one, one of another type, or too large.
    """
    found, left = {}, max_bytes
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            for name, kind in kinds.items():
                content = _content(archive, f"{name}.npy", left)
                left -= len(content)
                found[name] = _array(name, content, kind)
    except NotRegularFileError as error:
        raise ValueError(error.strerror) from error
    except _DAMAGE as error:
        raise ValueError("damaged, or not an .npz file") from error
    return found


def _content(archive: zipfile.ZipFile, name: str, left: int) -> bytes:
    if name not in archive.namelist():
        raise ValueError(f"the array {name} is missing")
    with archive.open(name) as file:
        content = file.read(left + 1)  # what the archive's directory says of its size may be wrong
    if len(content) > left:
        raise ValueError("larger than any that medclf writes")
    return content


def _array(name: str, content: bytes, kind: str) -> NDArray[Any]:
    """Return the array in the bytes of an .npy file, whose header is checked before memory is allocated."""
    file = io.BytesIO(content)
    major, _ = _npy.read_magic(file)
    read = _npy.read_array_header_1_0 if major == 1 else _npy.read_array_header_2_0
    shape, fortran, dtype = read(file)
    rest = content[file.tell() :]
    if dtype.kind not in kind:
        raise ValueError(f"the array {name} has the type {dtype}")
    if any(side < 0 for side in shape) or prod(shape) * dtype.itemsize != len(rest):
        raise ValueError(f"the array {name} does not have the size that its header gives")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if fortran else "C")
