"""What is in a dataset and what is wrong with it, said before a network is trained."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from medclf.config.schema import DatasetConfig
from medclf.data.build_image_table import DatasetScan, build_image_table, scan_dataset
from medclf.data.image_io import decode_image
from medclf.data.image_table import ImageTable
from medclf.utils.errors import format_list

SENSITIVITIES = (0.8, 0.9, 0.95)
IMBALANCED = 10
LOOKED_AT = 64
GREY = 3
"""Mean difference between the channels, out of 255, up to which an image is grey: JPEG leaves so much."""


@dataclass(frozen=True)
class Audit:
    """A fingerprint of a dataset.

    ``facts`` are names and values as a person reads them; ``findings`` what should be looked at, a line each;
    ``images`` the image table with width, height, mode, hashes and what was found of each image.
    """

    facts: dict[str, str]
    counts: str
    findings: list[str]
    images: pd.DataFrame

    def text(self) -> str:
        """Return the audit as lines of text."""
        width = max(map(len, self.facts))
        facts = [f"{name:<{width}}  {value}" for name, value in self.facts.items()]
        found = [f"- {line}" for line in self.findings] or ["- nothing that stands out"]
        return "\n".join([*facts, "", self.counts, "", "Findings", *found])


def examine_dataset(config: DatasetConfig, progress: bool = True) -> tuple[DatasetScan, ImageTable, Audit]:
    """Look into every image of a dataset; what training refuses is put aside and becomes a finding.

    Args:
        config: of the dataset.
        progress: whether a bar is shown.

    Raises:
        DataError, ConfigError: for what hinders even the audit.
    """
    lenient = config.duplicates.model_copy(
        update={"on_conflict": config.duplicates.on_conflict.replace("error", "drop")}
    )
    examined = scan_dataset(config.model_copy(update={"on_unreadable": "drop", "duplicates": lenient}), progress)
    table = build_image_table(examined, config.model_copy(update={"batch_size": 1}))
    return examined, table, compute_audit(examined, table, config)


def compute_audit(examined: DatasetScan, table: ImageTable, config: DatasetConfig) -> Audit:
    """Describe the images of a dataset and name what is wrong with them.

    Args:
        examined: what was found by looking into the images.
        table: the same images with their splits.
        config: of the dataset.
    """
    prints, frame = examined.prints, table.frame
    sizes = Counter(f"{image.width}x{image.height}" for image in prints)
    images = frame.assign(
        width=[image.width for image in prints],
        height=[image.height for image in prints],
        mode=[image.mode for image in prints],
        sha256=[image.sha256 for image in prints],
        perceptual_hash=[image.perceptual for image in prints],
    )
    skipped = sum(map(len, examined.found.skipped.values()))
    facts = {
        "dataset": config.name,
        "root": str(examined.root),
        "images": f"{len(frame)} used, {examined.found.excluded} left out by dataset.exclude, {skipped} skipped",
        "patients": f"{frame['group'].nunique()} groups (patients, or pictures that look alike)",
        "sizes": f"{len(sizes)} different, commonest "
        f"{format_list(f'{size} ({n})' for size, n in sizes.most_common(3))}",
        "modes": format_list(f"{mode} ({n})" for mode, n in Counter(image.mode for image in prints).most_common()),
        "colour": _colour(table, config),
        "split hash": table.digest(),
    }
    return Audit(facts, table.counts(), audit_findings(examined, table, config), images)


def audit_findings(examined: DatasetScan, table: ImageTable, config: DatasetConfig) -> list[str]:
    """Return what needs attention, one line each, including what can be expected of the test split.

    Args: as ``audit`` takes them.
    """
    lines = [*table.notes, *_expected(examined, config), *_imbalance(table.frame), *_small(examined, config)]
    lines += [*_leaks(examined, table), *_labels(examined), *expected_intervals(table.frame, table.classes)]
    return lines


def _colour(table: ImageTable, config: DatasetConfig) -> str:
    """How many of some images hold colour, whatever their files could hold."""
    paths = table.frame["path"].sample(min(LOOKED_AT, len(table.frame)), random_state=0)
    read = partial(decode_image, grey=False, at_least=64, max_megapixels=config.max_megapixels)
    coloured = 0
    for path in paths:
        pixels = np.asarray(read(table.root, path).resize((64, 64)), dtype=float)
        coloured += bool((pixels.max(2) - pixels.min(2)).mean() > GREY)
    if coloured:
        return f"{coloured} of {len(paths)} looked at are in colour"
    return f"none of {len(paths)} looked at is in colour; dataset.channels=1 loses nothing"


def expected_intervals(frame: pd.DataFrame, classes: list[str]) -> list[str]:
    """Return the expected width of the 95 % interval (Wilson 1927) of each class's sensitivity on the test split."""
    lines = []
    test = frame[frame["split"] == "test"]
    for label in classes:
        n = int((test["class"] == label).sum())
        shown = format_list(_wilson(round(value * n), n) for value in SENSITIVITIES)
        lines.append(f"Sensitivity for {label} and its 95 % interval, if the test finds: {shown}.")
    return lines


def _wilson(hits: int, n: int) -> str:
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return f"{hits} of {n} -> {hits / n:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def _expected(examined: DatasetScan, config: DatasetConfig) -> list[str]:
    if config.expected is None:
        return []
    counts = examined.counts
    off = [f"{label} {counts[label]} instead of {n}" for label, n in config.expected.items() if counts[label] != n]
    return [f"Not the published number of images: {format_list(off)}."] if off else []


def _imbalance(frame: pd.DataFrame) -> list[str]:
    counts = frame["class"].value_counts()
    if counts.max() < IMBALANCED * counts.min():
        return []
    return [f"Class {counts.idxmax()} has {counts.max() / counts.min():.0f} times the images of {counts.idxmin()}."]


def _small(examined: DatasetScan, config: DatasetConfig) -> list[str]:
    small = sum(min(image.width, image.height) < config.image_size for image in examined.prints)
    if not small:
        return []
    return [f"{small} images are smaller than dataset.image_size={config.image_size} and are enlarged."]


def _leaks(examined: DatasetScan, table: ImageTable) -> list[str]:
    """Copies of one picture in several published parts, where the source gives them."""
    split = table.frame["split"].to_numpy()
    pairs = [(a, b) for a, b in examined.duplicates.pairs.tolist() if split[a] != split[b]]
    if not pairs:
        return []
    paths = list(table.frame["path"])
    shown = format_list((f"{paths[a]} ~ {paths[b]}" for a, b in pairs), 5)
    return [f"{len(pairs)} pairs of like pictures lie in different parts of the published split: {shown}."]


def _labels(examined: DatasetScan) -> list[str]:
    images = examined.found.images
    pairs = [(a, b) for a, b in examined.duplicates.pairs.tolist() if images[a].label != images[b].label]
    if not pairs:
        return []
    shown = format_list((f"{images[a].path} ~ {images[b].path}" for a, b in pairs), 10)
    return [f"{len(pairs)} pairs of like pictures have different labels; look at them: {shown}."]
