"""The metrics within each value of a column: sex, age band, site, scanner."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.predictions import Predictions, get_attributes
from medclf.metric_registry import subgroup_names
from medclf.utils.errors import ConfigError, format_list, suggest

FEW = 10
"""Patients of a class below which a subgroup is too small to judge."""
BANDS = 4
MANY = 12
COLUMNS = ["column", "value", "n", "patients", "metric", "estimate", "low", "high", "note"]


def validate_subgroups(columns: Sequence[str] | None, known: Sequence[str]) -> None:
    """Refuse a column that the images do not have.

    Raises:
        ConfigError: with those that they have.
    """
    for name in columns or ():
        if name not in known:
            raise ConfigError(
                f"evaluation.subgroups={name}: the images have no such column; {suggest(name, known)}"
                f"They have: {format_list(known) or 'none beside path, class and patient; dataset=table brings them'}"
            )


def compute_subgroups(
    predictions: Predictions, columns: Sequence[str] | None, resamples: int, seed: int
) -> pd.DataFrame:
    """Return a row per column, value and metric; ``note`` says where images are too few, with NaN estimates.

    Numbers of more than 12 values are cut into bands at their quartiles. A missing value is the group ``missing``.

    Args:
        predictions: of one split.
        columns: of the predictions table; None: every one that tells of patients or images in at most 12 groups, so no
            names and no dates.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: for a column that is not there.
    """
    known = get_attributes(predictions.table)
    validate_subgroups(columns, known)
    rows = []
    for column in known if columns is None else columns:
        values = _groups(predictions.table[column])
        if columns is None and values.nunique() > MANY:
            continue
        for value in sorted(values.unique(), key=_order):
            members = predictions.subset((values == value).to_numpy())
            rows += _rows(members, column, value, resamples, seed)
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(members: Predictions, column: str, value: str, resamples: int, seed: int) -> list[tuple[object, ...]]:
    names = subgroup_names(len(members.classes))
    facts = (column, value, len(members), members.patients)
    few = [
        f"{count} {label}"
        for at, label in enumerate(members.classes)
        if (count := len(np.unique(members.groups[members.target == at]))) < FEW
    ]
    if few:
        note = f"too few to judge: patients of {format_list(few)}"
        return [(*facts, name, np.nan, np.nan, np.nan, note) for name in names]
    found = estimate_metrics(members, resamples, seed).overall
    return [(*facts, name, found[name].value, found[name].low, found[name].high, found[name].reason) for name in names]


def _groups(values: pd.Series) -> "pd.Series[str]":
    """Text as it is; numbers of many values in bands."""
    text = values.astype(object).fillna("").astype(str).str.strip()
    missing = (text == "") | (text.str.lower() == "nan")
    numbers = pd.to_numeric(text.mask(missing), errors="coerce")
    if numbers[~missing].notna().all() and numbers.nunique() > MANY:
        bands = pd.qcut(numbers, BANDS, duplicates="drop")
        text = bands.map(lambda band: f"{band.left:g} to {band.right:g}", na_action="ignore").astype(object)
    return text.mask(missing, "missing")


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value.split(" to ")[0]), value
    except ValueError:
        return np.inf, value
