"""Which files are images: by the end of their name, DICOM also by its content. Imports nothing that takes time."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath

from medclf.utils.regular_files import open_regular, special_kind

DICOM = frozenset({".dcm", ".dicom"})
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}) | DICOM
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Pillow's names of the formats that are read. Others of its readers start programs (EPS) or are seldom used, and so
seldom tested."""
PREAMBLE = 128
"""Bytes before the four that every DICOM file has (DICOM PS3.10, 7.1)."""
DICM = b"DICM"
UNNAMED = re.compile(r"(\.\d+)?")
"""The ends of names that scanners give: none, or that of a UID."""
NO_IMAGE = "DICOMDIR"
"""A DICOM file that lists others."""


def is_image(name: PurePath, beginning: Callable[[int], bytes]) -> bool:
    """Return whether a file is read as an image.

    Args:
        name: of the file.
        beginning: gives so many of its first bytes, and is asked only where the name leaves it open.
    """
    if name.suffix.lower() in SUFFIXES:
        return True
    if name.name == NO_IMAGE or not UNNAMED.fullmatch(name.suffix):
        return False
    return has_dicom(beginning(PREAMBLE + len(DICM)))


def is_image_file(path: Path) -> bool:
    """Return the same for a file on disk; a named pipe, a device and what cannot be opened are not images."""
    return is_image(path, partial(_beginning, path)) and special_kind(path) is None


def is_dicom(path: str, content: bytes) -> bool:
    """Return whether a file's bytes are to be read as DICOM."""
    return Path(path).suffix.lower() in DICOM or has_dicom(content)


def has_dicom(content: bytes) -> bool:
    """Return whether bytes begin like a DICOM file."""
    return content[PREAMBLE : PREAMBLE + len(DICM)] == DICM


def _beginning(path: Path, count: int) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read(count)
    except OSError:
        return b""
