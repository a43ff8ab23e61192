"""The results of a run as a person reads them, and as metrics.json and metrics.csv hold them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from medclf.evaluation.metric_intervals import Estimate, Metrics
from medclf.metric_registry import CLASS_SUMMARY, MAX_SHOWN_CLASSES, METRICS, headline_names
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import DataError

COLUMNS = ["split", "metric", "class", "value", "low", "high", "n", "method", "reason"]
NUMBERS = ("value", "low", "high")


def metrics_table(metrics: Metrics, split: str) -> str:
    """Return lines of name, value, 95 % interval and n, per class for three or more, with reasons below.

    ``n`` counts the images that a value is about: for sensitivity the positive ones, for PPV those called so.
    """
    names = [name for name in headline_names(len(metrics.per_class)) if name in metrics.overall]
    rows = {name: metrics.overall[name] for name in names}
    rows |= {name: value for name, value in metrics.overall.items() if METRICS[name].prevalence}
    if 2 < len(metrics.per_class) <= MAX_SHOWN_CLASSES:
        rows |= {f"{name} of {label}": own[name] for label, own in metrics.per_class.items() for name in CLASS_SUMMARY}
    width = max(map(len, rows), default=0)
    lines = [f"{split + ' metric':<{width}}    value   95 % interval       n"]
    lines += [_line(name, estimate, width) for name, estimate in rows.items()]
    lines += [
        f"  {name}: {'its interval ' if not math.isnan(value.value) else ''}is not defined: {value.reason}"
        for name, value in rows.items()
        if value.reason
    ]
    if len(metrics.per_class) > MAX_SHOWN_CLASSES:
        lines.append(f"  The metrics of each of the {len(metrics.per_class)} classes: metrics.csv")
    return "\n".join(lines)


def _line(name: str, estimate: Estimate, width: int) -> str:
    shown = "NaN" if math.isnan(estimate.value) else f"{estimate.value:.4f}"
    interval = "" if math.isnan(estimate.low) else f"[{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{name:<{width}}   {shown:>6}  {interval:>14}  {estimate.n:>6}"


def metrics_frame(parts: Mapping[str, Metrics]) -> pd.DataFrame:
    """Return a row per metric and split with the columns ``COLUMNS``; ``class`` is empty for overall metrics."""
    rows = []
    for split, metrics in parts.items():
        named = [("", metrics.overall), *metrics.per_class.items()]
        for label, estimates in named:
            rows += [
                (split, name, label, e.value, e.low, e.high, e.n, e.method, e.reason) for name, e in estimates.items()
            ]
    return pd.DataFrame(rows, columns=COLUMNS)


def read_metrics_frame(path: Path) -> pd.DataFrame:
    """Read a ``metrics.csv``, with the types and to the last bit of the numbers that ``metrics_frame`` gives.

    Raises:
        DataError: where it is damaged.
    """
    frame = read_frame(path, COLUMNS)[COLUMNS]
    try:
        numbers = {name: [math.nan if text == "" else float(text) for text in frame[name]] for name in NUMBERS}
        return frame.assign(**numbers, n=[int(text) for text in frame["n"]])
    except ValueError as error:
        raise DataError(f"{path}: {error}; copy the file again from the run") from error


def metrics_to_json(metrics: Metrics) -> dict[str, Any]:
    """Return metrics for a JSON file: values by name, with intervals, their methods, n and reasons.

    What is not defined is null and has its reason in ``not_defined``.
    """
    content = {"n": metrics.images, "patients": metrics.patients, **_named(metrics.overall)}
    return {**content, "per_class": {label: _named(estimates) for label, estimates in metrics.per_class.items()}}


def _named(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    defined = {name: value for name, value in estimates.items() if not math.isnan(value.low)}
    return {
        **{name: format_number(value.value) for name, value in estimates.items()},
        "interval_95": {name: [value.low, value.high] for name, value in defined.items()},
        "interval_method": {name: value.method for name, value in defined.items()},
        "n_of": {name: value.n for name, value in estimates.items()},
        "not_defined": {name: value.reason for name, value in estimates.items() if value.reason},
    }


def format_number(value: float) -> float | None:
    """Return a number for a JSON file, which has no NaN."""
    return None if math.isnan(value) else value
