"""Whether an image is still the file that a row was predicted from. Imports no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from medclf.inference.inputs import InputImages


def stamp_file(images: InputImages, row: int) -> str:
    """Return what changes where an image is replaced: its size and times, or size and checksum in an archive.

    An image that cannot be found has the stamp ``missing``.
    """
    if images.archive is not None:
        member = images.archive.members[row]
        return f"{member.file_size} {member.CRC:08x}"
    file = images.file(row)
    try:
        found = (file if file.exists() else Path(str(file).rpartition("#")[0])).stat()  # ARRAYS.npy#INDEX
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"


class FileStamps:
    """A file with the stamp of the image of each row, a line a row, in the order of the table.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def unchanged(self, images: InputImages) -> int:
        """Return how many rows from the first on are of images that are still the same files."""
        count = 0
        for row, known in zip(range(len(images)), self._lines(), strict=False):
            if known != stamp_file(images, row):
                break
            count += 1
        return count

    def count(self) -> int:
        """Return how many rows have a stamp."""
        return sum(1 for _ in self._lines())

    def keep(self, rows: int) -> None:
        """Forget all rows but so many."""
        kept = list(self._lines())[:rows]
        self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, stamps: Sequence[str]) -> None:
        """Write the stamps of the next rows, so that they outlive this process."""
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(f"{one}\n" for one in stamps)

    def remove(self) -> None:
        """Remove the file, which is of no use once all rows are there."""
        self.path.unlink(missing_ok=True)

    def _lines(self) -> Iterator[str]:
        """Whole lines; a last one that was not written to its end is none."""
        if not self.path.is_file():
            return
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            if line.endswith("\n"):
                yield line[:-1]
