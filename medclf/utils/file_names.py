"""File names made of any text: class names, data set names and image paths never lead out of their folder."""

import hashlib
import re
from collections.abc import Iterable

LONGEST = 200
"""Bytes of a name made here: file systems allow 255, and callers add a prefix and an ending."""
HARMFUL = re.compile(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|\ud800-\udfff]')
"""Separators, control characters, what Windows forbids, and halves of surrogate pairs."""
NOT_A_WORD = re.compile(r"[^\w.-]+")
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?", re.IGNORECASE)
"""Devices of Windows, whatever follows the first dot."""


def safe_file_name(text: str, words_only: bool = False) -> str:
    """Return a text as the name of one file or folder, unchanged where it already is a harmless one.

    The name holds no separator and no control character, is not hidden, not ``..`` and not a device of Windows, and has
    at most 200 bytes of UTF-8.

    Args:
        text: any text.
        words_only: replace spaces and punctuation too, but for ``.``, ``-`` and ``_``.
    """
    name = NOT_A_WORD.sub("_", text) if words_only else text
    name = HARMFUL.sub("_", name).strip(" ").rstrip(" .")
    name = re.sub(r"^\.", "_", name) or "_"
    if RESERVED.fullmatch(name):
        name = f"_{name}"
    return name if len(name.encode()) <= LONGEST else _shortened(name)


def distinct_file_names(texts: Iterable[str]) -> dict[str, str]:
    """Return a safe file name for each text; no two are equal, nor differ only in case."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for text in dict.fromkeys(texts):
        names[text] = name = _free(safe_file_name(text), taken)
        taken.add(name.casefold())
    return names


def _free(name: str, taken: set[str]) -> str:
    free, number = name, 1
    while free.casefold() in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _shortened(name: str) -> str:
    """Return the beginning of a name and a digest of all of it."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}_{digest}"
