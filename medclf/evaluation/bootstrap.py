"""Resampling the patients of a predictions table."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from medclf.evaluation.metrics import MetricValues, compute_metrics
from medclf.evaluation.predictions import Predictions
from medclf.utils.errors import ConfigError

Floats = NDArray[np.float64]
LOW, HIGH = 0.025, 0.975
"""Quantiles that bound 95 % of the values."""


class PercentileBounds(NamedTuple):
    """The 2.5 and 97.5 percentiles of the values that are numbers, and the share of those that are none (NaN)."""

    low: float
    high: float
    missing: float


class Percentiles:
    """Collect rows of numbers and keep their tails, from which the percentiles follow exactly.

    The result equals that of ``np.nanpercentile`` on all rows together, to the last bit.

    Args:
        rows: number of rows that will be added at most.
    """

    def __init__(self, rows: int) -> None:
        self._kept = int(LOW * rows) + 2
        self._rows = 0
        self._missing: NDArray[np.int64] | None = None
        self._waiting: list[Floats] = []
        self._low: Floats | None = None
        self._high: Floats | None = None

    def add(self, block: Floats) -> None:
        """Add values of shape (some rows, columns)."""
        missing = np.isnan(block).sum(0)
        self._missing = missing if self._missing is None else self._missing + missing
        self._rows += len(block)
        self._waiting.append(block)
        if sum(map(len, self._waiting)) >= self._kept:
            self._fold()

    def spreads(self) -> list[PercentileBounds]:
        """Return the spread of each column; NaN twice where every value is missing."""
        self._fold()
        if self._low is None or self._high is None or self._missing is None:
            return []
        count = self._rows - self._missing
        places = [np.asarray(quantile * (count - 1), np.float64) for quantile in (LOW, HIGH)]
        low = _at(np.sort(self._low, axis=0), places[0], count, from_top=False)
        high = _at(np.sort(self._high, axis=0), places[1], count, from_top=True)
        shares = self._missing / self._rows
        return [PercentileBounds(*map(float, one)) for one in zip(low, high, shares, strict=True)]

    def _fold(self) -> None:
        """Merge the waiting rows into the tails; the upper one is kept with its signs turned, so that NaN stay last."""
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting)
        self._waiting = []
        self._low = self._smallest(self._low, rows)
        self._high = self._smallest(self._high, -rows)

    def _smallest(self, tail: Floats | None, rows: Floats) -> Floats:
        joined = rows if tail is None else np.concatenate([tail, rows])
        if len(joined) <= self._kept:
            return joined
        return np.partition(joined, self._kept - 1, axis=0)[: self._kept].copy()


def _at(tail: Floats, places: Floats, count: NDArray[np.int64], from_top: bool) -> Floats:
    """Interpolate each column of a sorted tail as NumPy's method ``linear`` does.

    Args:
        tail: shape (kept, columns), ascending; of the upper end the negated values.
        places: fractional ranks among ``count`` values, shape (columns,).
        count: numbers in each column.
        from_top: whether the tail is that of the upper end.
    """
    before = np.floor(np.maximum(places, 0)).astype(np.int64)
    after = np.minimum(before + 1, np.maximum(count - 1, 0))
    share = np.maximum(places, 0) - before
    if from_top:
        one, two = (-_take(tail, np.maximum(count - 1 - rank, 0)) for rank in (before, after))
    else:
        one, two = (_take(tail, rank) for rank in (before, after))
    step = two - one
    value = np.where(share >= 0.5, two - step * (1 - share), one + step * share)
    return np.where(count > 0, value, np.nan)


def _take(tail: Floats, ranks: NDArray[np.int64]) -> Floats:
    return np.asarray(np.take_along_axis(tail, ranks[None], axis=0)[0])


CHUNK = 400_000
"""Weights held at once: few enough to stay in a processor's cache."""
BLOCK = 2**21
"""Values (resamples x classes) of one metric that are computed at once, so that many classes need little memory."""
MAX_VALUES = 2**27
"""Resampled values (classifiers x metrics x resamples) that a comparison may hold: one GiB."""
PATIENCE = 5
"""Seconds before a bar is shown."""


def draw_resamples(predictions: Predictions, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often each image was drawn, in chunks of shape (some resamples, images).

    Whole patients are drawn with replacement (Field and Welsh 2007), since the images of one are no independent
    evidence, and within each class, so that its share stays as it is: a patient counts for the class that most of his
    images have. The same patients, classes, seed and number give the same draws.
    """
    # of a subset, not every patient is present: counting those alone keeps memory in proportion to the images
    groups = np.unique(predictions.groups, return_inverse=True)[1].reshape(-1)
    strata = _strata(groups, predictions.target, len(predictions.classes))
    patients = int(groups.max()) + 1
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // len(predictions))
    for begin in range(0, resamples, step):
        count = min(step, resamples - begin)
        drawn = np.zeros(count * patients)
        for members in strata:
            picked = members[random.integers(len(members), size=(count, len(members)))]
            picked += np.arange(count)[:, None] * patients
            drawn += np.bincount(picked.ravel(), minlength=count * patients)
        yield drawn.reshape(count, patients)[:, groups]


def _strata(groups: NDArray[np.intp], target: NDArray[np.int64], classes: int) -> list[NDArray[np.int64]]:
    """Return the patients of each class that has any."""
    images = np.zeros((int(groups.max()) + 1, classes), np.int64)
    np.add.at(images, (groups, target), 1)
    label = images.argmax(1)
    strata = [np.flatnonzero(label == at) for at in range(classes)]
    return [members for members in strata if len(members)]


@dataclass(frozen=True)
class MetricPercentiles:
    """How each metric varies over the resamples: ``overall`` by name, ``per_class`` by name and in order of classes."""

    overall: dict[str, PercentileBounds]
    per_class: dict[str, list[PercentileBounds]]


def compute_percentiles(
    predictions: Predictions, resamples: int, seed: int = 0, prevalence: float | None = None, ranks: bool = True
) -> MetricPercentiles:
    """Return the 95 % percentiles of each metric over the resamples.

    Memory grows with neither the number of resamples (but for the twentieth of them in the tails) nor the square of
    the classes.

    Args:
        predictions: of one split.
        resamples: number of draws, at least one.
        seed: of the draws.
        prevalence: as ``compute_metrics`` takes it.
        ranks: likewise.
    """
    overall: dict[str, Percentiles] = {}
    per_class: dict[str, Percentiles] = {}
    for values in _resampled(predictions, resamples, seed, prevalence, ranks):
        for name, column in values.overall.items():
            overall.setdefault(name, Percentiles(resamples)).add(column[:, None])
        for name, columns in values.per_class.items():
            per_class.setdefault(name, Percentiles(resamples)).add(columns)
    return MetricPercentiles(
        {name: found.spreads()[0] for name, found in overall.items()},
        {name: found.spreads() for name, found in per_class.items()},
    )


def bootstrap_metrics(
    predictions: Predictions,
    resamples: int,
    seed: int = 0,
    prevalence: float | None = None,
    ranks: bool = True,
    names: Collection[str] | None = None,
) -> MetricValues:
    """Return the metrics of each resample, as ``compute_metrics`` does.

    Args:
        predictions: of one split.
        resamples: number of draws.
        seed: of the draws.
        prevalence: as ``compute_metrics`` takes it.
        ranks: likewise.
        names: overall metrics to keep, and none of single classes; None: all of both.
    """
    parts = []
    for values in _resampled(predictions, resamples, seed, prevalence, ranks):
        kept = {name: column for name, column in values.overall.items() if names is None or name in names}
        parts.append(MetricValues(kept, values.per_class if names is None else {}))
    return MetricValues(
        {name: np.concatenate([part.overall[name] for part in parts]) for name in parts[0].overall},
        {name: np.concatenate([part.per_class[name] for part in parts]) for name in parts[0].per_class},
    )


def _resampled(
    predictions: Predictions, resamples: int, seed: int, prevalence: float | None, ranks: bool
) -> Iterator[MetricValues]:
    with tqdm(total=resamples, desc="Resampling", leave=False, delay=PATIENCE) as bar:
        for weights in draw_resamples(predictions, resamples, seed):
            for block in split_into_blocks(weights, len(predictions.classes)):
                yield compute_metrics(predictions, block, prevalence, ranks)
                bar.update(len(block))


def split_into_blocks(weights: Floats, classes: int) -> Iterator[Floats]:
    """Yield the rows of some draws, as many at once as ``BLOCK`` allows for so many classes."""
    rows = max(1, BLOCK // classes)
    for begin in range(0, len(weights), rows):
        yield weights[begin : begin + rows]


def validate_resamples(resamples: int, columns: int) -> None:
    """Raise if the resampled values of a comparison would not fit ``MAX_VALUES``.

    Args:
        resamples: value of ``resamples``.
        columns: number of classifiers x metrics.

    Raises:
        ConfigError: with the largest number that fits.
    """
    most = MAX_VALUES // max(columns, 1)
    if resamples > most:
        raise ConfigError(
            f"resamples={resamples}: too many for {columns} columns (classifiers x metrics), which would fill the "
            f"memory; set resamples={most}, or choose fewer metrics: metrics=NAME"
        )
