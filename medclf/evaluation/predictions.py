"""The predictions table: the contract between training and everything after it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.utils.atomic_write import write_csv

COLUMNS = ("path", "group", "split", "fold", "true_class", "predicted_class")
"""Columns of text. Beside them ``prob_<class>`` for each class; any other column tells of the patient or the image."""
PROBABILITY = "prob_"
LOGIT = "logit_"


@dataclass(frozen=True)
class Predictions:
    """The predictions for the images of one split.

    ``target`` and ``predicted`` are classes as int64, ``probabilities`` float64, in rows of ``table``; ``groups`` the
    patient of each. ``positive`` is the class that sensitivity is about, where there are two; ``held`` the class that
    a threshold holds back where there are more; None: there is no threshold then.
    """

    table: pd.DataFrame
    classes: list[str]
    positive: int | None
    groups: NDArray[np.int64]
    target: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    predicted: NDArray[np.int64]
    held: int | None = None

    def __len__(self) -> int:
        return len(self.target)

    @property
    def patients(self) -> int:
        """Return the number of patients."""
        return len(np.unique(self.groups))

    @property
    def one_image_each(self) -> bool:
        """Return whether every patient has one image, so that images are independent."""
        return self.patients == len(self)

    @property
    def shown_classes(self) -> list[int]:
        """Return the classes that curves are drawn for: the positive one of two, else all."""
        return list(range(len(self.classes))) if self.positive is None else [self.positive]

    @property
    def gate(self) -> int | None:
        """Return the class that a threshold holds back: of two the negative one."""
        return self.held if self.positive is None else 1 - self.positive

    def subset(self, rows: NDArray[np.bool_]) -> "Predictions":
        """Return the predictions for some of the images."""
        table = self.table[rows].reset_index(drop=True)
        arrays = (self.groups[rows], self.target[rows], self.probabilities[rows], self.predicted[rows])
        return Predictions(table, self.classes, self.positive, *arrays, self.held)

    def as_detector(self) -> "Predictions":
        """Return predictions of two classes: the negative one, and all others together as the positive one.

        Of two classes they are themselves.
        """
        if self.positive is not None or self.gate is None:
            return self
        found = called(self.probabilities, self.gate)
        return replace(
            self,
            classes=[self.classes[self.gate], f"not {self.classes[self.gate]}"],
            positive=1,
            target=(self.target != self.gate).astype(np.int64),
            probabilities=np.stack([1 - found, found], axis=1),
            predicted=(self.predicted != self.gate).astype(np.int64),
            held=None,
        )


def predictions_table(
    images: pd.DataFrame, probabilities: NDArray[np.float64], classes: list[str], fold: int | None = None
) -> pd.DataFrame:
    """Return a row per image: ``COLUMNS``, ``prob_<class>`` for each class, and the image table's other columns.

    A column of the image table that has the name of one of ours is left out.

    Args:
        images: rows of the image table.
        probabilities: shape (rows, classes), rows that sum to 1.
        classes: their names in the order of the columns.
        fold: which one was the test split; None: no folds.
    """
    table = images[["path", "group", "split"]].reset_index(drop=True)
    table["fold"] = "" if fold is None else str(fold)
    table["true_class"] = images["class"].to_numpy()
    table["predicted_class"] = np.asarray(classes)[probabilities.argmax(1)]
    numbers = pd.DataFrame(probabilities, columns=[PROBABILITY + name for name in classes])
    taken = ("class", *COLUMNS)
    others = [str(name) for name in images if name not in taken and not str(name).startswith((PROBABILITY, LOGIT))]
    # joined at once: the time of adding columns one by one grows with the square of their number
    return pd.concat([table, numbers, images[others].reset_index(drop=True)], axis=1)


def save_predictions(table: pd.DataFrame, path: Path) -> str:
    """Write the table as CSV with every digit that a float64 has, so that reading it back gives the same numbers.

    Returns:
        The SHA-256 of the file.
    """
    return write_csv(path, table)


def get_classes(table: pd.DataFrame) -> list[str]:
    """Return the classes in the order of the table's columns."""
    return [str(name).removeprefix(PROBABILITY) for name in table if str(name).startswith(PROBABILITY)]


def get_attributes(table: pd.DataFrame) -> list[str]:
    """Return the columns that describe patients and images, such as sex, age or site."""
    return [str(name) for name in table if name not in COLUMNS and not str(name).startswith((PROBABILITY, LOGIT))]


def select_split(
    table: pd.DataFrame,
    split: str,
    positive: str | None = None,
    threshold: float | None = None,
    gate: str | None = None,
) -> Predictions:
    """Return the predictions of one split.

    Args:
        table: of all.
        split: val or test.
        positive: the class that sensitivity is about, for two classes; None: the last one.
        threshold: the probability of the positive class, or of all classes but the gate, from which on they are
            predicted; None: the most probable class is.
        gate: the class that the threshold holds back, for more than two classes; None: they have no threshold.
    """
    rows = table[table["split"] == split].reset_index(drop=True)
    classes = get_classes(table)
    index = classes.index(positive or classes[-1]) if len(classes) == 2 else None
    held = classes.index(gate) if gate is not None and len(classes) > 2 else None
    probabilities = rows[[PROBABILITY + name for name in classes]].to_numpy(np.float64)
    places: Any = pd.Index(classes).get_indexer(pd.Index(rows["true_class"]))
    return Predictions(
        rows, classes, index,
        groups=np.unique(rows["group"].to_numpy(str), return_inverse=True)[1].reshape(-1).astype(np.int64),
        target=np.asarray(places, np.int64),
        probabilities=probabilities,
        predicted=decide_class(probabilities, index, threshold, held),
        held=held,
    )  # fmt: skip


def decide_class(
    probabilities: NDArray[np.float64], positive: int | None, threshold: float | None, held: int | None = None
) -> NDArray[np.int64]:
    """Return the predicted class of each row; without a threshold, the most probable one.

    Else the class that it holds back (of two the negative one), where all others together are less probable than the
    threshold, and the most probable of the others where they are not.
    """
    gate = held if positive is None else 1 - positive
    if gate is None or threshold is None:
        return np.asarray(probabilities.argmax(1), np.int64)
    others = np.delete(np.arange(probabilities.shape[1]), gate)
    best = others[probabilities[:, others].argmax(1)]
    return np.asarray(np.where(called(probabilities, gate) >= threshold, best, gate), np.int64)


def called(probabilities: NDArray[np.float64], gate: int) -> NDArray[np.float64]:
    """Return the probability of all classes but one, shape (n,); of two classes the other's, to the last bit."""
    return probabilities[:, 1 - gate] if probabilities.shape[1] == 2 else 1 - probabilities[:, gate]
