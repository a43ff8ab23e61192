"""Limits on what one archive or table may cost, each with the environment variable that changes it."""

import os
from dataclasses import dataclass

from medclf.errors import ConfigError


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
"""How many times its size an archive may unfold to. Deflate shrinks photographs a few times, masks a hundred times."""

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
