"""Train, validation and test: as the folders give them, else cut by class and patient with a seed of their own."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.config.schema import Dataset, Splits
from medclf.data.folders import FoundImages
from medclf.data.table import PARTS, ImageTable
from medclf.errors import ConfigError, DataError, listed


def split_images(found: FoundImages, config: Dataset) -> ImageTable:
    """Give every image its split.

    A validation part without a test part becomes the test part: it was not held out from anyone's choices otherwise.

    Raises:
        DataError: when a class is too small to be in every split.
        ConfigError: when a batch is larger than the training part.
    """
    given = given_parts(found, config)
    frame = pd.DataFrame(
        [(i.path, i.label, i.group, i.split) for i in found.images], columns=["path", "class", "group", "split"]
    )
    notes = _left_out(found, config)
    frame["split"] = frame["split"].fillna("train").astype(str)
    if "val" in given and "test" not in given:
        frame["split"] = frame["split"].replace("val", "test")
        notes.append("The set has no test part: its validation part is the test split, our own is cut from train.")
    seed = config.splits.seed
    shares = cut_shares(given, config.splits)
    if "test" in shares:
        _cut(frame, "test", shares["test"], seed)
        notes.append(f"The test split, {shares['test']:.0%} of all images, is cut with dataset.splits.seed={seed}.")
    if "val" in shares:
        _cut(frame, "val", shares["val"] / (1 - shares.get("test", 0.0)), seed)
        whole = "all images" if "test" in shares else "the given train part"
        notes.append(f"The validation split, {shares['val']:.0%} of {whole}, is cut with dataset.splits.seed={seed}.")
    notes += _shared_groups(frame)
    _check_every_class_everywhere(frame, found.classes, config)
    check_batch_size(config, int((frame["split"] == "train").sum()))
    return ImageTable(frame, found.classes, notes)


def given_parts(found: FoundImages, config: Dataset) -> set[str]:
    """The parts that folders give: none, or train and others.

    Raises:
        DataError: when there are others without train.
    """
    given = {image.split for image in found.images if image.split is not None}
    if given and "train" not in given:
        raise DataError(f"dataset.root={config.root}: has a {listed(sorted(given))} folder but no train folder")
    return set(given)


def cut_shares(given: set[str], splits: Splits) -> dict[str, float]:
    """The parts to be cut, each as a share of the images that no folder gives to another part."""
    shares = {} if given & {"val", "test"} else {"test": splits.test}
    return shares if {"val", "test"} <= given else {**shares, "val": splits.val}


def check_batch_size(config: Dataset, train_images: int) -> None:
    """Refuse a batch that the training part cannot fill.

    Raises:
        ConfigError: with the largest batch there can be.
    """
    if config.batch_size > train_images:
        raise ConfigError(
            f"dataset.batch_size={config.batch_size}: larger than the training split of {train_images} images; "
            f"set it to {train_images} or less"
        )


def expected_train_images(found: FoundImages, config: Dataset) -> int:
    """About as many training images as there will be, known before anything is cut."""
    given = given_parts(found, config)
    pool = sum(image.split in (None, "train") for image in found.images)
    return round(pool * (1 - sum(cut_shares(given, config.splits).values()))) + 1


def _cut(frame: pd.DataFrame, part: str, fraction: float, seed: int) -> None:
    """Move a share of the training rows to another part."""
    from sklearn.model_selection import train_test_split  # a second of import, which a config error does not pay

    pool = frame[frame["split"] == "train"]
    if pool["group"].nunique() < len(pool):
        chosen = _cut_groups(pool, fraction, seed)
    else:
        _check_class_sizes(pool)
        rows = pool.index.to_numpy()
        size = max(1, round(fraction * len(pool)))
        _, chosen = train_test_split(rows, test_size=size, stratify=pool["class"], random_state=seed)
    frame.loc[chosen, "split"] = part


def _cut_groups(pool: pd.DataFrame, fraction: float, seed: int) -> NDArray[np.int64]:
    """Rows of about ``fraction`` of the pool, class shares kept, no patient torn apart: some of up to 20 folds."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = min(20, int(pool.groupby("class")["group"].nunique().min()))
    if folds < 3:
        raise DataError("a class has fewer than three patients; train, val and test need one each")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    chosen = [test for _, test in splitter.split(pool, pool["class"], pool["group"])]
    rows: NDArray[np.int64] = pool.index.to_numpy()[np.concatenate(chosen[: max(1, round(fraction * folds))])]
    return rows


def _check_class_sizes(pool: pd.DataFrame) -> None:
    small = {label: count for label, count in pool["class"].value_counts().items() if count < 3}
    if small:
        raise DataError(
            f"too few images to be in train, val and test: {listed(f'{k} has {v}' for k, v in small.items())}"
        )


def _check_every_class_everywhere(frame: pd.DataFrame, classes: list[str], config: Dataset) -> None:
    for part in PARTS:
        missing = set(classes) - set(frame.loc[frame["split"] == part, "class"])
        if missing:
            raise DataError(
                f"dataset.root={config.root}: the {part} split has no image of class {listed(sorted(missing))}; add "
                f"images, leave the class out of dataset.classes, or set dataset.splits.val / .test larger"
            )


def _left_out(found: FoundImages, config: Dataset) -> list[str]:
    notes = []
    alone = sum(image.group == image.path for image in found.images) if config.group_pattern else 0
    if alone:
        notes.append(f"In {alone} file names dataset.group_pattern finds no patient: each counts as one of its own.")
    if found.excluded:
        notes.append(f"{found.excluded} files are left out by dataset.exclude.")
    if found.outside:
        notes.append(f"{found.outside} images lie outside every class folder and are left out.")
    return notes


def _shared_groups(frame: pd.DataFrame) -> list[str]:
    parts = frame.groupby("group")["split"].nunique()
    shared = sorted(parts[parts > 1].index)
    if not shared:
        return []
    return [f"{len(shared)} patients are in more than one split of the published set: {listed(shared, 5)}."]
