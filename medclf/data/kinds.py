"""Which files are images: by the end of their name, DICOM also by its content. Imports nothing that takes time."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath

DICOM = frozenset({".dcm", ".dicom"})
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}) | DICOM
PREAMBLE = 128
"""Bytes before the four that every DICOM file has (DICOM PS3.10, 7.1)."""
DICM = b"DICM"
UNNAMED = re.compile(r"(\.\d+)?")
"""The ends of names that scanners give: none, or that of a UID."""
NO_IMAGE = "DICOMDIR"
"""A DICOM file that lists others."""


def is_image(name: PurePath, beginning: Callable[[int], bytes]) -> bool:
    """Whether a file is read as an image.

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
    """The same of a file on disk; what cannot be opened is none."""
    return is_image(path, partial(_beginning, path))


def is_dicom(path: str, content: bytes) -> bool:
    """Whether a file's bytes are to be read as DICOM."""
    return Path(path).suffix.lower() in DICOM or has_dicom(content)


def has_dicom(content: bytes) -> bool:
    """Whether bytes begin as a DICOM file does."""
    return content[PREAMBLE : PREAMBLE + len(DICM)] == DICM


def _beginning(path: Path, count: int) -> bytes:
    try:
        if not path.is_file():  # a pipe would be waited for
            return b""
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
