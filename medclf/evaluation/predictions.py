"""The predictions table: the contract between training and everything after it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn.metrics
import torch
from numpy.typing import NDArray

from medclf.evaluation.metrics import Metrics, classification_metrics

COLUMNS = ("path", "group", "split", "true_class", "predicted_class")


def predictions_table(images: pd.DataFrame, probabilities: NDArray[np.float64], classes: list[str]) -> pd.DataFrame:
    """One row an image: ``COLUMNS``, and ``prob_<class>`` for each class.

    Args:
        images: rows of the image table.
        probabilities: shape (rows, classes), rows that sum to 1.
        classes: their names in the order of the columns.
    """
    table = images[["path", "group", "split", "class"]].rename(columns={"class": "true_class"}).reset_index(drop=True)
    table["predicted_class"] = np.asarray(classes)[probabilities.argmax(1)]
    for column, name in enumerate(classes):
        table[f"prob_{name}"] = probabilities[:, column]
    return table


def save_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write the table as CSV with every digit that a float64 has, so that reading it back gives the same numbers."""
    table.to_csv(path, index=False)


def load_predictions(path: Path) -> pd.DataFrame:
    """Read what save_predictions wrote, to the last bit."""
    text: Any = dict.fromkeys(COLUMNS, str)
    table: pd.DataFrame = pd.read_csv(path, dtype=text, keep_default_na=False, float_precision="round_trip")
    return table


def split_metrics(table: pd.DataFrame, split: str, positive: str | None = None) -> Metrics:
    """The metrics of one split, from the table alone. ``positive`` as in ``classification_metrics``."""
    probabilities, target, classes = _arrays(table, split)
    return classification_metrics(torch.from_numpy(probabilities), torch.from_numpy(target), classes, positive)


def confusion_matrix(table: pd.DataFrame, split: str) -> tuple[NDArray[np.int64], list[str]]:
    """Counts of shape (true class, predicted class) of one split, and the classes in order."""
    probabilities, target, classes = _arrays(table, split)
    counts = sklearn.metrics.confusion_matrix(target, probabilities.argmax(1), labels=range(len(classes)))
    return counts, classes


def _arrays(table: pd.DataFrame, split: str) -> tuple[NDArray[np.float64], NDArray[np.int64], list[str]]:
    rows = table[table["split"] == split]
    classes = [str(name).removeprefix("prob_") for name in table.columns if str(name).startswith("prob_")]
    probabilities = np.asarray(rows[[f"prob_{name}" for name in classes]], dtype=np.float64)
    target = np.asarray([classes.index(name) for name in rows["true_class"]], dtype=np.int64)
    return probabilities, target, classes
