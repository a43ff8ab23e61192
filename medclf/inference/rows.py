"""The rows of a predictions table, written a batch at a time. Imports no torch."""

import csv
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

UNREADABLE = "unreadable"
UNLIKE = "unlike training"
Row = list[str | float]


class Rows:
    """A table that grows, each row of it an image, and all rows whole.

    What stands in its file is kept, but for a last row that was not written to its end. ``classes`` counts the images
    by predicted class, ``flags`` by flag.

    Args:
        path: of the file.
        header: names of the columns; the first one is the path, the second the predicted class, the last but one the
            flag.
        paths: of every image, in order.
        most: rows that may be kept at most, the header not counted; None: all.
    """

    def __init__(self, path: Path, header: Sequence[str], paths: Sequence[str], most: int | None = None) -> None:
        self.path = path
        self.classes: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self._count = -1  # of the header
        end = 0
        for row, place in islice(_whole(path, header, paths), None if most is None else most + 1):
            self._note([*row])
            end = place
        if path.is_file():
            os.truncate(path, end)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not end:
            self.add([[*header]])

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows, so that they outlive this process."""
        self._writer.writerows(rows)
        self._file.flush()
        for row in rows:
            self._note(row)

    def settle(self) -> None:
        """See that all rows are on the disk."""
        os.fsync(self._file.fileno())

    def _note(self, row: Row) -> None:
        self._count += 1
        if self._count > 0:
            self.classes.update([str(row[1])] if row[1] else [])
            self.flags.update([str(row[-2])] if row[-2] else [])


def header_of(classes: Sequence[str], with_distance: bool) -> list[str]:
    """The columns of a predictions table; ``distance`` where the model can tell it."""
    distance = ["distance"] if with_distance else []
    return ["path", "predicted_class", *(f"prob_{name}" for name in classes), *distance, "flag", "reason"]


def _whole(path: Path, header: Sequence[str], paths: Sequence[str]) -> Iterator[tuple[list[str], int]]:
    """The rows that stand whole in a file, header first, and where each ends."""
    if not path.is_file():
        return
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line.decode()

    with path.open("rb") as file:
        try:
            for row, expected in zip(csv.reader(lines()), [header[0], *paths], strict=False):
                if len(row) != len(header) or row[0] != expected:
                    return
                yield row, end
        except (csv.Error, UnicodeDecodeError):  # what a machine that lost its power left
            return
