"""An audit as a person reads it: printed, and in a folder with a table and pictures."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclf.config.schema import DatasetConfig
from medclf.data.audit import Audit, examine_dataset
from medclf.data.build_image_table import DatasetScan
from medclf.data.image_io import decode_image
from medclf.data.image_table import ImageTable
from medclf.plots.image_grids import image_page
from medclf.utils.atomic_write import atomic_file, write_csv, write_text
from medclf.utils.safe_terminal import escape_control

log = logging.getLogger(__name__)
SIDE = 192
ROW = 6
PAIRS = 9
Shown = tuple[Path, str, str]
"""An image on a page: root, path below it, title."""
Read = Callable[[Path, str], NDArray[np.uint8]]
"""Returns the thumbnail of an image, by root and path below it."""


def audit_dataset(config: DatasetConfig, folder: Path) -> Audit:
    """Look into every image of a dataset, print what was found, and save ``audit.txt``, ``images.csv`` and two pages.

    Raises:
        DataError, ConfigError: for what hinders even the audit.
    """
    examined, table, result = examine_dataset(config)
    write_text(folder / "audit.txt", escape_control(result.text()) + "\n")
    write_csv(folder / "images.csv", result.images)
    read = partial(_thumbnail, config.max_megapixels)
    _samples_page(table, folder / "samples.png", read)
    _like_page(examined, folder / "like_pictures.png", read)
    log.info("Audit\n\n%s\n\nTable and pictures: %s", result.text(), folder)
    return result


def _samples_page(table: ImageTable, path: Path, read: Read) -> None:
    """A row of images of each class."""
    random = np.random.default_rng(0)
    chosen: list[Shown | None] = []
    for label in table.classes:
        paths = table.frame.loc[table.frame["class"] == label, "path"].to_numpy()
        picked = sorted(random.choice(paths, min(ROW, len(paths)), replace=False))
        chosen += [(table.root, name, f"{label}\n{Path(name).name[:24]}") for name in picked]
        chosen += [None] * (ROW - len(picked))
    _save_page(chosen, ROW, path, read)


def _like_page(examined: DatasetScan, path: Path, read: Read) -> None:
    """Pairs that look alike, side by side, those under two labels first; no page where there are none."""
    images = examined.found.images
    pairs = [(images[a], images[b]) for a, b in examined.duplicates.pairs.tolist()]
    pairs.sort(key=lambda pair: pair[0].label == pair[1].label)
    named = [(members[0], members[1]) for members in examined.conflicts] + [(a.path, b.path) for a, b in pairs]
    if named:
        names = [name for pair in named[:PAIRS] for name in pair]
        _save_page([(examined.root, name, "\n".join(Path(name).parts[-2:])) for name in names], ROW, path, read)


def _save_page(chosen: list[Shown | None], columns: int, path: Path, read: Read) -> None:
    blank = np.full((3, SIDE, SIDE), 255, dtype=np.uint8)
    pixels = [blank if item is None else read(item[0], item[1]) for item in chosen]
    titles = ["" if item is None else item[2] for item in chosen]
    with atomic_file(path) as file:
        image_page(np.stack(pixels), titles, columns).savefig(file, format="png")


def _thumbnail(max_megapixels: float, root: Path, name: str) -> NDArray[np.uint8]:
    image = decode_image(root, name, grey=False, at_least=SIDE, max_megapixels=max_megapixels)
    image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)
