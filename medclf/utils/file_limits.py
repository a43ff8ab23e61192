"""Limits on the files that are read: images, archives, tables. Each bounds what a file may cost, whatever it claims."""

import os
from dataclasses import dataclass

from medclf.utils.errors import ConfigError

DEFAULT_MAX_MEGAPIXELS = 135.0
"""Default of ``dataset.max_megapixels`` and ``max_megapixels``: millions of pixels an image may have, about
11,600 x 11,600. Checked against the header, before pixels are decoded."""

HIGHEST_MAX_MEGAPIXELS = 2000.0
"""Highest value that ``max_megapixels`` accepts."""

MAX_FILE_BYTES = 2**28
"""Bytes of a file that is read as an image."""

DECODING_BYTES = 2**30
"""Memory that images being decoded in parallel may use together; a larger image is decoded while no other is."""

READING_BYTES = 2**29
"""Bytes of image files that parallel threads may hold together."""

MAX_INFLATION = 100
"""Times its size to which a deflated DICOM dataset may inflate."""

SMALL_INFLATION = 2**24
"""Bytes to which any deflated DICOM dataset may inflate: blank images shrink more than a hundred times."""

MAX_STRIPS = 2**18
"""Strips or tiles of a TIFF file."""

MAX_SCANNED_PIXELS = 2**33
"""Scans times pixels of a progressive JPEG: each scan visits every pixel, and a file may hold thousands of scans."""


@dataclass(frozen=True)
class Limit:
    """A limit and the environment variable that overrides its default."""

    variable: str
    default: int

    @property
    def value(self) -> int:
        """Return the limit in force.

        Raises:
            ConfigError: if the environment variable is not a whole number above 0.
        """
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return self.default
        if not (text.isascii() and text.isdigit() and len(text) <= 15 and int(text) > 0):
            raise ConfigError(
                f"{self.variable}={text[:30]}: must be a whole number above 0; export {self.variable}={self.default}"
            )
        return int(text)

    def remedy(self, needed: int) -> str:
        """Return the shell command that raises the limit to at least ``needed``."""
        return f"to allow it: export {self.variable}={max(needed, self.value + 1)}"


TABLE_CELLS = Limit("MEDCLF_MAX_TABLE_CELLS", 10_000_000)
"""Cells of a CSV file, rows times columns. A cell costs about 120 bytes of memory, so a table costs at most 1.2 GB.
The tables of MIMIC-CXR, the largest public set of chest radiographs, have up to 8 million."""

BYTES_PER_CELL = 16
"""A CSV file may have this many bytes for each cell that it may hold: 160 MB by default."""

ARCHIVE_RATIO = Limit("MEDCLF_MAX_ARCHIVE_RATIO", 200)
"""How many times its size an archive may expand to. Deflate shrinks photographs a few times, masks a hundred times."""

ARCHIVE_MEMBERS = Limit("MEDCLF_MAX_ARCHIVE_MEMBERS", 1_500_000)
"""Members of an archive. RadImageNet has 1.35 million images; a member costs about 700 bytes of memory."""

SMALL_MEMBER = 2**20
"""Bytes up to which a single member may exceed the ratio: a blank image shrinks a thousand times."""

SMALL_ARCHIVE = 2**26
"""Bytes up to which all members together may exceed the ratio."""

MEMBER_DEPTH = 32
"""Folders above a member of an archive."""

MEMBER_LENGTH = 1000
"""Characters of a member's path."""
