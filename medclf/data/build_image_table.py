"""From the config of group ``dataset`` to its image table: found, looked at, cleaned, split."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.config.schema import DatasetConfig
from medclf.data.duplicates import DuplicateGroups, find_duplicates, hamming_distance, link_groups
from medclf.data.image_fingerprints import Fingerprint, compute_fingerprints
from medclf.data.image_table import COLUMNS, ImageTable, attributes_frame
from medclf.data.phantom import ensure_phantom
from medclf.data.sources.discovery import extract_archive, find_images, image_root
from medclf.data.sources.records import FoundImage, FoundImages
from medclf.data.splits import split_images
from medclf.utils.errors import DataError, format_list

LISTED = 20
"""Files that a message names, each on a line."""
CONFLICTS = {
    "keep": "kept",
    "drop": "dropped with all their copies",
    "error": "refused by training (dataset.duplicates.on_conflict=drop drops them with all their copies)",
}
"""What becomes of an image under two labels."""
SAME_PICTURE = 2
"""Bits of 256 by which the hashes of one picture differ that was saved in another size or format."""


@dataclass(frozen=True)
class DatasetScan:
    """The images of a dataset and what was found by looking into them.

    ``counts`` are of all images found, by class. ``found`` and ``prints`` (aligned) are the images that are kept; the
    others are in ``unreadable`` (path: reason) and in ``conflicts`` (a list of paths for each picture under several
    labels). ``duplicates`` are rows of ``found``.
    """

    root: Path
    counts: Counter[str]
    found: FoundImages
    prints: list[Fingerprint]
    duplicates: DuplicateGroups
    unreadable: dict[str, str]
    conflicts: list[list[str]]


class RunImages(NamedTuple):
    """The images of a run: what the scan of the dataset found, and the image table that was made from it."""

    scan: DatasetScan
    table: ImageTable


def load_run_images(config: DatasetConfig, progress: bool = True) -> RunImages:
    """Scan a dataset and split its images.

    Args:
        config: the dataset.
        progress: whether to show a progress bar.

    Raises:
        DataError, ConfigError: as ``load_image_table``.
    """
    scan = scan_dataset(config, progress)
    return RunImages(scan, build_image_table(scan, config))


def load_image_table(config: DatasetConfig, progress: bool = True) -> ImageTable:
    """Find the images of a dataset, look into each, and split them.

    The phantom is made, and an archive extracted, where that has not been done. Images of one patient and copies of one
    picture come into the same split. What cannot be read, and pictures under two labels, go as the config says.

    Raises:
        DataError, ConfigError: for what a user should mend.
    """
    return load_run_images(config, progress).table


def build_image_table(examined: DatasetScan, config: DatasetConfig) -> ImageTable:
    """Return the image table of a scan: split, with the findings as its notes.

    Raises:
        DataError, ConfigError: where they cannot be split.
    """
    notes = format_findings(examined, config)
    table = split_images(replace(examined.found, images=_joined(examined)), config)
    content = [image.sha256 for image in examined.prints]
    return replace(table, root=examined.root, content=content, notes=[*notes, *table.notes])


def build_test_table(
    examined: DatasetScan, config: DatasetConfig, class_of: Mapping[str, str | None], left_out: NDArray[np.bool_]
) -> ImageTable:
    """Return all scanned images as one test split, for a network trained on others.

    Args:
        examined: the images.
        config: of the dataset.
        class_of: the network's name of each class found; None: its images are left out.
        left_out: other images that are, by their place.
    """
    known = [class_of[image.label] is not None for image in examined.found.images]
    kept = np.flatnonzero(np.array(known) & ~left_out).tolist()
    joined = _joined(examined)
    images = [joined[at] for at in kept]
    rows = [(image.path, class_of[image.label], image.group, "test") for image in images]
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).join(attributes_frame(images))
    content = [examined.prints[at].sha256 for at in kept]
    classes = sorted({name for name in class_of.values() if name is not None})
    return ImageTable(frame, classes, format_findings(examined, config), examined.root, content)


def _joined(examined: DatasetScan) -> list[FoundImage]:
    """The images, those of one patient and copies of one picture with the same group."""
    images = examined.found.images
    groups = link_groups([image.group for image in images], examined.duplicates.pairs)
    return [replace(image, group=group) for image, group in zip(images, groups, strict=True)]


def scan_dataset(config: DatasetConfig, progress: bool = True) -> DatasetScan:
    """Find the images of a dataset and take their fingerprints; those that cannot be used are put aside.

    Raises:
        DataError: where there are such and the config says ``error``.
    """
    if config.phantom is not None:
        ensure_phantom(Path(config.root), config.phantom)
    extract_archive(config)
    found, root = find_images(config), image_root(config)
    counts = Counter(image.label for image in found.images)
    paths = [image.path for image in found.images]
    prints = compute_fingerprints(root, paths, Path(config.store), progress, config.max_megapixels)
    unreadable = {i.path: p.error for i, p in zip(found.images, prints, strict=True) if p.error}
    _refuse_unreadable(unreadable, len(prints), config)
    found, prints = _without(set(unreadable), found, prints)
    duplicates = find_duplicates(prints, config.duplicates.near)
    conflicts = _conflicts(found.images, prints, duplicates)
    if conflicts and config.duplicates.on_conflict != "keep":
        _refuse_conflicts(conflicts, config)
        dropped = {path for paths in conflicts for path in paths}
        duplicates = duplicates.among([image.path not in dropped for image in found.images])
        found, prints = _without(dropped, found, prints)
    return DatasetScan(root, counts, found, prints, duplicates, unreadable, conflicts)


def format_findings(examined: DatasetScan, config: DatasetConfig) -> list[str]:
    """Return the scan's findings for the log, one line each; expected facts are left out."""
    found, lines = examined.found, []
    if found.excluded:
        lines.append(f"{found.excluded} files are left out by dataset.exclude.")
    if found.outside:
        lines.append(f"{found.outside} images lie outside every class folder and are left out.")
    lines += _skipped(found)
    if examined.unreadable:
        lines.append(_unreadable(examined.unreadable, sum(examined.counts.values()), config))
    noted = [f"{image.path}: {one.note}" for image, one in zip(found.images, examined.prints, strict=True) if one.note]
    if noted:
        lines.append(_with_lines(f"Images of which something is ignored: {len(noted)}", noted))
    if examined.conflicts:
        done = CONFLICTS[config.duplicates.on_conflict]
        shown = format_list((" = ".join(paths) for paths in examined.conflicts), 5)
        lines.append(f"Under two labels, and {done}: {shown}.")
    exact, near = len(examined.duplicates.exact), len(examined.duplicates.near)
    if exact or near:
        lines.append(f"Equal to an earlier image: {exact}. Pairs that look alike: {near}. They stay in one split.")
    alone = sum(image.group == image.path for image in found.images) if config.group_pattern else 0
    if alone:
        lines.append(f"In {alone} file names dataset.group_pattern finds no patient: each counts as one of its own.")
    return lines


def _skipped(found: FoundImages) -> list[str]:
    """Return a line for each kind of file that is not read, with a count and an example."""
    return [
        f"{kind}: {len(paths)} {'file' if len(paths) == 1 else 'files'} skipped, e.g. {paths[0]}"
        for kind, paths in sorted(found.skipped.items())
    ]


def _unreadable(unreadable: Mapping[str, str], count: int, config: DatasetConfig) -> str:
    """Return how many of the images cannot be read, what becomes of them, and why, up to ``LISTED`` of them."""
    done = "they are dropped"
    if config.on_unreadable == "error":
        done = "training refuses them: repair or remove them, or set dataset.on_unreadable=drop"
    reasons = [f"{path}: {reason}" for path, reason in unreadable.items()]
    return _with_lines(f"{len(unreadable)} of {count} images cannot be read; {done}", reasons)


def _with_lines(text: str, lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return "\n  ".join([f"{text}:", *lines[:LISTED], *more])


def _without(
    paths: set[str], found: FoundImages, prints: Sequence[Fingerprint]
) -> tuple[FoundImages, list[Fingerprint]]:
    kept = [(image, value) for image, value in zip(found.images, prints, strict=True) if image.path not in paths]
    left = {image.label for image, _ in kept}
    emptied = [label for label in found.classes if label not in left]
    if emptied:
        raise DataError(f"no image is left of class {format_list(emptied)}: all are unreadable or under two labels")
    return replace(found, images=[image for image, _ in kept]), [value for _, value in kept]


def _conflicts(
    images: Sequence[FoundImage], prints: Sequence[Fingerprint], duplicates: DuplicateGroups
) -> list[list[str]]:
    same = [
        pair for pair in duplicates.near.tolist() if hamming_distance(prints[pair[0]], prints[pair[1]]) <= SAME_PICTURE
    ]
    pictures: dict[str, list[int]] = {}
    rows = link_groups([str(row) for row in range(len(images))], duplicates.exact_and(same))
    for row, picture in enumerate(rows):
        pictures.setdefault(picture, []).append(row)
    several = [members for members in pictures.values() if len({images[row].label for row in members}) > 1]
    return [[images[row].path for row in members] for members in several]


def _refuse_unreadable(unreadable: dict[str, str], count: int, config: DatasetConfig) -> None:
    if unreadable and config.on_unreadable == "error":
        raise DataError(f"dataset.root={config.root}: {_unreadable(unreadable, count, config)}")


def _refuse_conflicts(conflicts: list[list[str]], config: DatasetConfig) -> None:
    if config.duplicates.on_conflict == "error":
        lines = "\n  ".join(" = ".join(paths) for paths in conflicts[:20])
        raise DataError(
            f"dataset.root={config.root}: {len(conflicts)} pictures stand under two labels; mend them, or set "
            f"dataset.duplicates.on_conflict=drop:\n  {lines}"
        )
