"""The image table: every image of a run, its class, its patient and its split."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from medclf.data.sources.records import FoundImage
from medclf.utils.atomic_write import write_csv

PARTS = ("train", "val", "test")
COLUMNS = ("path", "class", "group", "split")


@dataclass(frozen=True)
class ImageTable:
    """The images of a run.

    ``frame`` has a row an image: ``path`` (below root), ``class``, ``group`` (patient), ``split`` (train, val or test),
    and what else the source tells of each image.
    ``classes`` are in the order of the probabilities. ``notes`` are the findings that the log repeats. ``root`` is the
    folder of the paths; ``content`` has the hash of each image's file, in the order of ``frame``.
    """

    frame: pd.DataFrame
    classes: list[str]
    notes: list[str]
    root: Path = Path()
    content: list[str] = field(default_factory=list)

    @property
    def attributes(self) -> list[str]:
        """Return the columns other than path, class, group and split."""
        return [str(name) for name in self.frame if name not in COLUMNS]

    def part(self, split: str) -> pd.DataFrame:
        """Return the rows of one split, in order."""
        return self.frame[self.frame["split"] == split].reset_index(drop=True)

    def class_counts(self) -> pd.DataFrame:
        """Return the images of each class (rows) and split (columns)."""
        return pd.crosstab(self.frame["class"], self.frame["split"]).reindex(self.classes, columns=PARTS, fill_value=0)

    def counts(self) -> str:
        """Return the number of images per class and split as aligned lines."""
        table = self.class_counts()
        table = pd.concat([table, table.sum().to_frame("all").T])  # no margins: a class may be called all
        return table.assign(all=table.sum(axis=1)).rename_axis(index="class", columns="split").to_string()

    def save(self, path: Path) -> str:
        """Write the table as CSV. Returns the SHA-256 of the file."""
        return write_csv(path, self.frame)

    def digest(self) -> str:
        """Twelve hex digits that tell whether two runs had the same images in the same splits."""
        return hashlib.sha256(self.frame[list(COLUMNS)].to_csv(index=False, lineterminator="\n").encode()).hexdigest()[
            :12
        ]

    def content_digest(self) -> str:
        """Twelve hex digits that tell whether two runs had the same files."""
        return hashlib.sha256("".join(self.content).encode()).hexdigest()[:12]


def attributes_frame(images: Sequence[FoundImage]) -> pd.DataFrame:
    """Return the attributes of images, a row each, as one block: a block for each column makes wide tables slow."""
    names = list(images[0].attributes) if images else []
    rows = [[image.attributes[name] for name in names] for image in images]
    return pd.DataFrame(rows, columns=names, index=range(len(images)), dtype=object)
