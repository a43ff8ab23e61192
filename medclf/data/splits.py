"""Train, validation and test: as the source gives them, read from a file, or cut by class and patient.

Whatever is cut has a seed of its own, so that all runs on a dataset have the same split.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.config.schema import DatasetConfig, SplitsConfig
from medclf.data.image_table import PARTS, ImageTable, attributes_frame
from medclf.data.sources.discovery import validate_classes
from medclf.data.sources.records import FoundImages
from medclf.utils.csv_tables import read_csv, require_columns
from medclf.utils.errors import ConfigError, DataError, format_list

DRAWS = 20
TINY = 30
Rows = NDArray[np.int64]


def split_images(found: FoundImages, config: DatasetConfig) -> ImageTable:
    """Give every image its split; a patient (``group``) is in one.

    By ``splits.file``, else by ``splits.folds``, else as the source gives it, with what is missing cut off. A given
    validation part without a test part becomes the test part. In a published split patients may be in several parts:
    that is counted and said.

    Raises:
        DataError: when there is one class only or a class is too small to be in every split, or the file does not fit.
        ConfigError: when a batch is larger than the training part.
    """
    validate_classes(found, config)
    rows = [(image.path, image.label, image.group, image.split) for image in found.images]
    frame = pd.DataFrame(rows, columns=["path", "class", "group", "split"])
    frame = frame.join(attributes_frame(found.images))
    if config.splits.file is not None:
        notes = _read(frame, Path(config.splits.file), config)
    elif config.splits.folds is not None:
        notes = _cut_fold(frame, config.splits, config.splits.folds)
    else:
        notes = _as_given(frame, read_given_splits(found, config), config.splits)
    _check_every_class_everywhere(frame, found.classes, config)
    validate_batch_size(config, int((frame["split"] == "train").sum()))
    return ImageTable(frame, found.classes, notes)


def read_given_splits(found: FoundImages, config: DatasetConfig) -> set[str]:
    """Return the splits that the source gives: none, or train and others.

    Raises:
        DataError: when there are others without train.
    """
    given = {str(image.split) for image in found.images if image.split is not None}
    if given and "train" not in given:
        raise DataError(f"dataset.root={config.root}: has a {format_list(sorted(given))} part but no train part")
    return given


def split_by_shares(given: set[str], splits: SplitsConfig) -> dict[str, float]:
    """Return the splits to create, each as a share of the images without a given split."""
    shares = {} if given & {"val", "test"} else {"test": splits.test}
    return shares if {"val", "test"} <= given else {**shares, "val": splits.val}


def validate_batch_size(config: DatasetConfig, train_images: int) -> None:
    """Refuse a batch that the training part cannot fill.

    Raises:
        ConfigError: with the largest batch there can be.
    """
    if config.batch_size > train_images:
        raise ConfigError(
            f"dataset.batch_size={config.batch_size}: larger than the training split of {train_images} images; "
            f"set it to {train_images} or less"
        )


def expected_train_images(found: FoundImages, config: DatasetConfig) -> int:
    """About the most training images there can be, known before anything is cut."""
    if config.splits.file is not None or config.splits.folds is not None:
        return len(found.images)
    given = read_given_splits(found, config)
    pool = sum(image.split in (None, "train") for image in found.images)
    return round(pool * (1 - sum(split_by_shares(given, config.splits).values()))) + 1


def _as_given(frame: pd.DataFrame, given: set[str], splits: SplitsConfig) -> list[str]:
    notes = []
    frame["split"] = frame["split"].fillna("train").astype(str)
    if "val" in given and "test" not in given:
        frame["split"] = frame["split"].replace("val", "test")
        notes.append("The set has no test part: its validation part is the test split, our own is cut from train.")
    shares = split_by_shares(given, splits)
    if "test" in shares:
        _cut(frame, "test", shares["test"], splits.seed)
        notes.append(f"The test split, {shares['test']:.0%} of all images, is cut with seed {splits.seed}.")
    if "val" in shares:
        _cut(frame, "val", shares["val"] / (1 - shares.get("test", 0.0)), splits.seed)
        whole = "all images" if "test" in shares else "the given train part"
        notes.append(f"The validation split, {shares['val']:.0%} of {whole}, is cut with seed {splits.seed}.")
    tiny = int((frame["split"] == "val").sum())
    if "val" not in shares and tiny < TINY:
        notes.append(
            f"The given validation part has {tiny} images, too few to choose by; to cut one from train: "
            "dataset.splits.folders.val=train"
        )
    shared = _groups_in_several(frame)
    if shared:
        several = f"{len(shared)} patients (or copies of a picture) are in more than one part of the published split"
        notes.append(f"{several}: {format_list(shared, 5)}.")
    return notes


def _cut_fold(frame: pd.DataFrame, splits: SplitsConfig, folds: int) -> list[str]:
    from sklearn.model_selection import StratifiedGroupKFold  # a second of import, which a config error does not pay

    given = frame["split"].notna().any()
    frame["split"] = "train"
    _check_class_sizes(frame, folds)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=splits.seed)
    chosen = list(splitter.split(frame, frame["class"], frame["group"]))[splits.fold][1]
    frame.loc[chosen, "split"] = "test"
    _cut(frame, "val", splits.val, splits.seed)
    notes = [f"The test split is fold {splits.fold} of {folds}, cut with seed {splits.seed}."]
    notes.append(f"The validation split is {splits.val:.0%} of the other folds.")
    return [*notes, "The parts that the source gives are not used."] if given else notes


def _read(frame: pd.DataFrame, file: Path, config: DatasetConfig) -> list[str]:
    table = read_csv(file, f"dataset.splits.file={file}")
    require_columns(table.columns, ["path", "split"], f"dataset.splits.file={file}")
    path_at, split_at = table.columns.index("path"), table.columns.index("split")
    counts = Counter(row[path_at] for row in table.rows)
    _refuse(file, "images have several rows", sorted(path for path, count in counts.items() if count > 1))
    split_of = {row[path_at]: row[split_at] for row in table.rows}
    absent = [path for path in frame["path"] if path not in split_of]
    _refuse(file, "images have no row", absent, "; they are left out by dataset.exclude=[NAME,NAME]")
    _refuse(file, "splits are none of train, val, test", sorted(set(split_of.values()) - set(PARTS)))
    frame["split"] = frame["path"].map(split_of).astype(str)
    _refuse(file, "patients (or copies of a picture) are in several splits", _groups_in_several(frame))
    notes = [f"The split is read from {file}."]
    unused = len(set(split_of) - set(frame["path"]))
    return [*notes, f"{unused} rows of it are of images that are not used."] if unused else notes


def _refuse(file: Path, what: str, items: list[str], remedy: str = "") -> None:
    if items:
        raise DataError(f"dataset.splits.file={file}: {len(items)} {what}: {format_list(items)}{remedy}")


def _cut(frame: pd.DataFrame, part: str, fraction: float, seed: int) -> None:
    """Move about a share of the training rows to another part: class shares kept, no patient torn apart.

    Patients are drawn several times, stratified by their commonest class; the draw whose number of images comes
    nearest to the share of each class is taken.
    """
    from sklearn.model_selection import train_test_split

    pool = frame[frame["split"] == "train"]
    _check_class_sizes(pool, 3)
    group = pool["group"].factorize()[0]
    label, classes = pool["class"].factorize()
    images = np.zeros((group.max() + 1, len(classes)), dtype=np.int64)
    np.add.at(images, (group, label), 1)
    random = np.random.RandomState(seed)
    size = max(1, round(fraction * len(images)))
    commonest = images.argmax(1)
    # patients with images of several classes can leave a class with too few of its own to draw from
    strata = commonest if np.bincount(commonest, minlength=len(classes)).min() > 1 and size >= len(classes) else None
    draws: Iterable[Rows] = (
        train_test_split(np.arange(len(images)), test_size=size, stratify=strata, random_state=random)[1]
        for _ in range(DRAWS if len(images) < len(pool) or strata is None else 1)
    )
    best = min(draws, key=lambda draw: float(np.abs(images[draw].sum(0) - fraction * images.sum(0)).max()))
    frame.loc[pool.index[np.isin(group, best)], "split"] = part


def _check_class_sizes(pool: pd.DataFrame, least: int) -> None:
    counts = pool.groupby("class")["group"].nunique()
    small = [f"{label} has {count}" for label, count in counts.items() if count < least]
    if small:
        raise DataError(
            f"too few images (of different patients) for the splits, {least} are needed: {format_list(small)}"
        )


def _check_every_class_everywhere(frame: pd.DataFrame, classes: list[str], config: DatasetConfig) -> None:
    for part in PARTS:
        missing = set(classes) - set(frame.loc[frame["split"] == part, "class"])
        if missing:
            raise DataError(
                f"dataset.root={config.root}: the {part} split has no image of class {format_list(sorted(missing))}; "
                "add "
                f"images, leave the class out of dataset.classes, or set dataset.splits.val / .test larger"
            )


def _groups_in_several(frame: pd.DataFrame) -> list[str]:
    parts = frame.groupby("group")["split"].nunique()
    return sorted(parts[parts > 1].index)
