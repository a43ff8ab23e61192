"""What the runs of one setting came to together: means, sd, and intervals by a bootstrap of patients."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.evaluation.bootstrap import draw_resamples, split_into_blocks
from medclf.evaluation.metric_intervals import UNDEFINED
from medclf.evaluation.metrics import compute_metrics
from medclf.evaluation.predictions import Predictions
from medclf.metric_registry import BASIC_BOOTSTRAP, METRICS
from medclf.overview.runs import RunEntry
from medclf.utils.errors import DataError, format_list

Floats = NDArray[np.float64]
IMAGE = ["path", "group", "true_class"]
"""Columns that say which image of whom it is."""


@dataclass(frozen=True)
class PooledMean:
    """The mean of a metric over ``runs``, the sd between them, and a 95 % interval of the mean.

    What is not defined is NaN, and ``reason`` says why.
    """

    value: float
    sd: float = math.nan
    low: float = math.nan
    high: float = math.nan
    runs: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "NaN"
        spread = "" if math.isnan(self.sd) else f" ± {self.sd:.3f}"
        return f"{self.value:.3f}{spread}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


def compute_mean(values: Sequence[float]) -> PooledMean:
    """Mean and sd (n - 1) of some runs' values; one that is not defined makes the mean so."""
    if not values:
        return PooledMean(math.nan, reason="no run has finished")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return PooledMean(float(np.mean(values)), sd, runs=len(values))


class Population:
    """The test images of some runs, each once, with their patients: what is resampled.

    Args:
        parts: test predictions with the same classes.

    Raises:
        DataError: where they disagree about the class or the patient of an image, or about the classes.
    """

    def __init__(self, parts: Sequence[Predictions]) -> None:
        classes = list(dict.fromkeys(tuple(part.classes) for part in parts))
        if len(classes) > 1:
            raise DataError(f"its runs have different classes: {'; '.join(format_list(names) for names in classes)}")
        self.images = pd.concat([part.table[IMAGE] for part in parts]).drop_duplicates().sort_values("path")
        self.images = self.images.reset_index(drop=True)
        twice = self.images["path"][self.images["path"].duplicated()]
        if len(twice):
            raise DataError(
                f"its runs disagree about class or patient of {len(twice)} images ({format_list(twice, 3)})"
            )
        self.digest = hashlib.sha256(self.images.to_csv(index=False).encode()).hexdigest()
        self._places = pd.Index(self.images["path"])
        self._classes = list(classes[0])

    def __len__(self) -> int:
        return len(self.images)

    @property
    def patients(self) -> int:
        """Return the number of patients."""
        return int(self.images["group"].nunique())

    def rows(self, part: Predictions) -> NDArray[np.int64]:
        """Return the rows of a run's images in this population."""
        return np.asarray(self._places.get_indexer(pd.Index(part.table["path"])), np.int64)

    def drawable(self) -> Predictions:
        """Return predictions from which ``draw_resamples`` can draw; their probabilities are not used."""
        count = len(self._classes)
        target = np.asarray(pd.Index(self._classes).get_indexer(pd.Index(self.images["true_class"])), np.int64)
        groups = np.unique(self.images["group"].to_numpy(str), return_inverse=True)[1].reshape(-1).astype(np.int64)
        nothing = np.full((len(self), count), 1 / count)
        return Predictions(self.images, self._classes, None, groups, target, nothing, target)


class Resampler:
    """Metrics of runs in each of the same resamples of patients.

    Patients are drawn with replacement out of all that the runs of a setting were tested on, the same for each run, so
    that one who was tested by several counts as one. Settings with the same test images have the same draws. What was
    computed is kept.

    Args:
        names: of metrics.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    def __init__(self, names: Sequence[str], resamples: int, seed: int) -> None:
        self.names, self.resamples, self.seed = tuple(names), resamples, seed
        self._known: dict[tuple[str, str], dict[str, Floats]] = {}

    def values(self, entries: Sequence[RunEntry], population: Population) -> list[dict[str, Floats]]:
        """Return each run's metrics in each resample, shape (resamples,); NaN where they are not defined."""
        keys = [(entry.run.folder.as_posix(), population.digest) for entry in entries]
        unknown = {key: entry for key, entry in zip(keys, entries, strict=True) if key not in self._known}
        if unknown:
            self._known |= self._resampled(unknown, population)
        return [self._known[key] for key in keys]

    def _resampled(
        self, entries: dict[tuple[str, str], RunEntry], population: Population
    ) -> dict[tuple[str, str], dict[str, Floats]]:
        ranks = any(METRICS[name].basis == "ranking" for name in self.names)
        rows = {key: population.rows(_test(entry)) for key, entry in entries.items()}
        found: dict[tuple[str, str], dict[str, list[Floats]]] = {
            key: {name: [] for name in self.names} for key in entries
        }
        for weights in draw_resamples(population.drawable(), self.resamples, self.seed):
            for key, entry in entries.items():
                own, prevalence = np.take(weights, rows[key], axis=1), entry.config.get("evaluation.prevalence")
                for block in split_into_blocks(own, len(_test(entry).classes)):
                    with np.errstate(invalid="ignore", divide="ignore"):  # of a small fold no patient may be drawn
                        overall = compute_metrics(_test(entry), block, prevalence, ranks).overall
                    for name in self.names:
                        found[key][name].append(overall.get(name, np.full(len(block), np.nan)))
        return {key: {name: np.concatenate(parts) for name, parts in own.items()} for key, own in found.items()}


def _test(entry: RunEntry) -> Predictions:
    assert entry.test is not None
    return entry.test


def get_value(entry: RunEntry, name: str) -> float:
    """Return a test metric of a finished run from its metrics.json; NaN if it is not defined."""
    value = (entry.metrics or {}).get("test", {}).get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def get_reason(entry: RunEntry, name: str) -> str:
    """Why a run has no such value."""
    test = (entry.metrics or {}).get("test", {})
    known = f"there is no such metric for its {len(_test(entry).classes)} classes" if name not in test else ""
    return str(test.get("not_defined", {}).get(name) or known or "not defined")


def test_means(entries: Sequence[RunEntry], resampler: Resampler) -> dict[str, PooledMean]:
    """Test metrics of the finished runs of one setting: mean, sd, and a bootstrap interval of the mean.

    In each resample the metric is computed of each run and averaged. The interval holds for new patients and these
    networks; what other seeds would give shows the sd.
    """
    means = {name: _mean(entries, name) for name in resampler.names}
    if not entries:
        return means
    try:
        drawn = resampler.values(entries, Population([_test(entry) for entry in entries]))
    except DataError as error:
        return {name: _with(mean, reason=mean.reason or str(error)) for name, mean in means.items()}
    for name, mean in means.items():
        if not mean.reason:
            low, high, reason = compute_interval(METRICS[name].interval, mean.value, average_draws(drawn, name))
            means[name] = _with(mean, low, high, reason)
    return means


def _mean(entries: Sequence[RunEntry], name: str) -> PooledMean:
    mean = compute_mean([get_value(entry, name) for entry in entries])
    without = [entry for entry in entries if math.isnan(get_value(entry, name))]
    if not without:
        return mean
    return _with(mean, reason=f"{len(without)} of {len(entries)} runs have none: {get_reason(without[0], name)}")


def _with(mean: PooledMean, low: float = math.nan, high: float = math.nan, reason: str = "") -> PooledMean:
    return PooledMean(mean.value, mean.sd, low, high, mean.runs, reason)


def average_draws(drawn: Sequence[dict[str, Floats]], name: str) -> Floats:
    """Return the mean over runs in each resample, shape (resamples,)."""
    return np.asarray(np.mean([own[name] for own in drawn], axis=0))


def compute_interval(method: str, value: float, drawn: Floats) -> tuple[float, float, str]:
    """Return a 95 % interval by the percentiles of the resamples, or NaN twice and the reason why there is none.

    Args:
        method: interval method of the metric; the basic bootstrap replaces the percentiles, as in
            ``medclf.evaluation.metric_intervals``, other methods do not apply to several runs.
        value: of the metric.
        drawn: values of the metric in each resample, shape (resamples,).
    """
    missing = float(np.isnan(drawn).mean())
    if missing > UNDEFINED:
        return math.nan, math.nan, f"not defined in {missing:.0%} of the resamples"
    low, high = (float(end) for end in np.nanpercentile(drawn, [2.5, 97.5]))
    if high - low <= 1e-12:
        return math.nan, math.nan, "the same in every resample, from which no interval can be told"
    if method == BASIC_BOOTSTRAP:
        low, high = max(0.0, 2 * value - high), min(1.0, max(value, 2 * value - low))
    return low, high, ""
