"""What the runs of one setting came to together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medclf.evaluation.bootstrap import draws
from medclf.evaluation.metrics import metric_values
from medclf.evaluation.predictions import Predictions, split_of
from medclf.evaluation.reading import load_predictions
from medclf.overview.collect import Entry


@dataclass(frozen=True)
class Mean:
    """The mean of a metric over runs, the sd between them, and a 95 % interval of the mean; NaN where there is none."""

    value: float
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    runs: int = 0

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "NaN"
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.3f}"
        return f"{self.value:.3f}{spread}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and sd (n - 1) of some runs' values; one that is not defined makes the mean so."""
    if not values:
        return Mean(math.nan)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Mean(float(np.mean(values)), sd, runs=len(values))


def test_means(entries: Sequence[Entry], names: Sequence[str], resamples: int = 1000, seed: int = 0) -> dict[str, Mean]:
    """Test metrics of finished runs: mean, sd, and a bootstrap interval of the mean.

    Patients are drawn with replacement, the same for all runs, so that one who was tested by several seeds counts as
    one; in each resample the metric is computed of each run and averaged. It holds for new patients and these networks;
    what other seeds would give shows the sd.

    Args:
        entries: finished runs of one setting.
        names: of metrics, as metrics.json has them.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    found = {}
    stored = [entry.metrics["test"] for entry in entries if entry.metrics]
    intervals = _intervals([_test(entry) for entry in entries], names, resamples, seed)
    for name in names:
        values = [math.nan if test.get(name) is None else float(test[name]) for test in stored]
        mean = mean_of(values)
        low, high = intervals[name]
        found[name] = Mean(mean.value, mean.sd, low, high, mean.runs)
    return found


def _intervals(
    parts: Sequence[Predictions], names: Sequence[str], resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    whole = _together(parts)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    sums: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for weights in draws(whole, resamples, seed):
        of_runs = [
            metric_values(part, np.ascontiguousarray(own)).overall
            for part, own in zip(parts, np.split(weights, ends, axis=1), strict=True)
        ]
        for name in names:
            sums[name].append(np.mean([overall[name] for overall in of_runs], axis=0))
    return {name: _percentiles(np.concatenate(values)) for name, values in sums.items()}


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    if np.isnan(values).mean() > 0.05 or np.nanmax(values) - np.nanmin(values) < 1e-12:
        return math.nan, math.nan
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _test(entry: Entry) -> Predictions:
    """The test predictions at the run's own operating point."""
    assert entry.metrics is not None
    threshold = entry.metrics.get("operating_point", {}).get("threshold")
    table = load_predictions(entry.run.predictions)
    return split_of(table, "test", entry.metrics.get("positive"), threshold)


def _together(parts: Sequence[Predictions]) -> Predictions:
    names = np.concatenate([part.table["group"].to_numpy(str) for part in parts])
    groups = np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64)
    first = parts[0]
    return Predictions(
        pd.concat([part.table for part in parts], ignore_index=True), first.classes, first.positive, groups,
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.predicted for part in parts]),
    )  # fmt: skip
