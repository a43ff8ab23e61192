"""Reading a predictions table, ours or anybody's, and saying what is wrong with it."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from medclf.config.limits import MAX_CLASSES
from medclf.evaluation.predictions import COLUMNS, LOGIT, PROBABILITY, get_attributes, get_classes
from medclf.utils.csv_tables import read_csv
from medclf.utils.errors import DataError, format_list, suggest

TOLERANCE = 0.005
"""How far from one the probabilities of an image may sum, for tables written with few digits."""


def load_predictions(path: Path) -> pd.DataFrame:
    """Read a predictions table, to the last bit of its numbers.

    ``path``, ``true_class`` and ``prob_<class>`` for each class are needed; ``logit_<class>`` will do instead. Without
    ``split`` every row is a test image; an image without ``group`` is a patient of its own.

    Raises:
        DataError: for what is missing, and for probabilities that are none, unknown classes and rows that occur twice:
            which rows, and how to mend them.
    """
    return check_predictions(_read(path), path)


def convert_predictions(frame: pd.DataFrame, name: str = "predictions") -> pd.DataFrame:
    """Check a predictions table in memory: the same as ``load_predictions`` gives for the frame written as CSV.

    Args:
        frame: with the columns that ``load_predictions`` takes, of any types; its index does not count.
        name: what messages call it.

    Raises:
        DataError: as ``load_predictions`` does.
    """
    if not isinstance(frame, pd.DataFrame):
        raise DataError(f"{name}: is {type(frame).__name__}; pass a pandas DataFrame with a row an image")
    names = [str(column) for column in frame.columns]
    if len(set(names)) < len(names):
        raise DataError(f"{name}: a column occurs more than once: {format_list(names)}; rename or remove one")
    text = io.StringIO(frame.to_csv(index=False), newline="")
    try:
        _, *rows = csv.reader(text)
    except csv.Error as error:
        raise DataError(f"{name}: a cell cannot be read as text: {error}; shorten or remove it") from error
    return check_predictions(pd.DataFrame(rows, columns=names, dtype=object), name)


def check_predictions(table: pd.DataFrame, path: Path | str) -> pd.DataFrame:
    """Complete a table whose cells are text.

    Args:
        table: with the columns that ``load_predictions`` takes.
        path: what messages call it.

    Raises:
        DataError: as ``load_predictions`` does.
    """
    _refuse_missing(table, path)
    table = _with_probabilities(table, path)
    table = _with_defaults(table)
    _refuse_wrong(table, path)
    numbers = [PROBABILITY + name for name in get_classes(table)]
    return table[[*COLUMNS, *numbers, *get_attributes(table)]]


def _read(path: Path) -> pd.DataFrame:
    """Every cell as text."""
    table = read_csv(path)
    return pd.DataFrame(table.rows, columns=table.columns, dtype=object)


def list_remarks(table: pd.DataFrame, chosen: bool = False) -> list[str]:
    """Return limitations of a valid table that its reader should know.

    Args:
        table: of predictions.
        chosen: whether threshold and temperature were chosen on other images.
    """
    lines = []
    if not chosen and not (table["split"] == "val").any():
        lines.append("There are no validation images to choose by: the threshold is 0.5 and the temperature 1.")
    if (table["group"] == table["path"]).all():
        lines.append("Every image counts as a patient of its own.")
    if (table["fold"] == "").all():
        by_split = table.groupby("group")["split"].nunique()
        several = list(by_split.index[by_split > 1])
        if several:
            lines.append(
                f"Patients in more than one split, which flatters: {len(several)} ({format_list(several, 5)})."
            )
    return lines


def _refuse_missing(table: pd.DataFrame, path: Path | str) -> None:
    names = [str(name) for name in table]
    for name in ("path", "true_class"):
        if name not in names:
            raise DataError(
                f"{path}: has no column '{name}'; {suggest(name, names)}A predictions table has path, true_class "
                f"and prob_<class> for each class. Columns: {format_list(names) or 'none'}"
            )
    if not any(name.startswith((PROBABILITY, LOGIT)) for name in names):
        raise DataError(
            f"{path}: has neither prob_<class> nor logit_<class> columns, one for each class. Columns: "
            f"{format_list(names)}"
        )


def _with_probabilities(table: pd.DataFrame, path: Path | str) -> pd.DataFrame:
    kind = PROBABILITY if any(str(name).startswith(PROBABILITY) for name in table) else LOGIT
    names = [str(name) for name in table if str(name).startswith(kind)]
    if len(names) < 2:
        raise DataError(f"{path}: has {names[0]} only; two classes or more need a column each")
    if len(names) > MAX_CLASSES:
        raise DataError(f"{path}: has {len(names)} classes, over the limit of {MAX_CLASSES}; merge classes")
    values = np.empty((len(table), len(names)))
    for column, name in enumerate(names):
        # read_csv's fast parser may miss the last bit; float() does not
        values[:, column] = [_number(text) for text in table[name]]
    _refuse(~np.isfinite(values).all(1), "no number where a probability or logit should be", table, path)
    if kind == LOGIT:
        values = softmax(values, axis=1)
    _refuse(((values < 0) | (values > 1)).any(1), "a probability below 0 or above 1", table, path)
    _refuse(abs(values.sum(1) - 1) > TOLERANCE, "probabilities that do not sum to 1", table, path)
    probabilities = pd.DataFrame(values, columns=[name.replace(kind, PROBABILITY, 1) for name in names])
    # joined at once: the time of adding columns one by one grows with the square of their number
    kept = [name for name in table if name not in {*names, *probabilities}]
    return pd.concat([table[kept], probabilities], axis=1)


def _with_defaults(table: pd.DataFrame) -> pd.DataFrame:
    classes = get_classes(table)
    likeliest = np.asarray(classes)[table[[PROBABILITY + name for name in classes]].to_numpy(float).argmax(1)]
    defaults = {"group": table["path"], "split": "test", "fold": "", "predicted_class": likeliest}
    table = table.assign(**{name: value for name, value in defaults.items() if name not in table})
    # who is not named is nobody else
    return table.assign(group=table["group"].mask(table["group"] == "", table["path"]))


def _refuse_wrong(table: pd.DataFrame, path: Path | str) -> None:
    classes = get_classes(table)
    unknown = sorted(set(table["true_class"]) - set(classes))
    if unknown:
        raise DataError(
            f"{path}: true_class {format_list(map(repr, unknown))}: there is no column prob_<class> of that name; "
            f"{suggest(unknown[0], classes)}Classes: {format_list(classes)}"
        )
    splits = sorted(set(table["split"]) - {"train", "val", "test"})
    if splits:
        raise DataError(f"{path}: split {format_list(map(repr, splits))}: is none of train, val, test")
    _refuse(table.duplicated(["path", "split", "fold"]).to_numpy(), "an image that occurs twice", table, path)
    if not (table["split"] == "test").any():
        raise DataError(f"{path}: has no row of split test")


def _refuse(wrong: Any, what: str, table: pd.DataFrame, path: Path | str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        shown = format_list((f"row {row + 2} ({table['path'].iloc[row]})" for row in rows), 5)
        raise DataError(f"{path}: {len(rows)} of {len(table)} rows have {what}: {shown}; mend or remove them")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
