"""Each metric with its n and a 95 % confidence interval, or the reason why it has none."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from medclf.evaluation.bootstrap import PercentileBounds, compute_percentiles
from medclf.evaluation.delong import delong_interval
from medclf.evaluation.metrics import compute_metrics
from medclf.evaluation.predictions import Predictions
from medclf.metric_registry import BASIC_BOOTSTRAP, BOOTSTRAP, DELONG, METRICS, WILSON, Metric
from medclf.utils.errors import format_list

Floats = NDArray[np.float64]
UNDEFINED = 0.05
"""Share of the resamples in which a metric may be undefined before its interval is."""
MAX_REASONS = 20
"""Reasons that are named where a mean over classes is not defined."""


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval ``low`` to ``high`` by ``method``, and ``n``, the images that it is about.

    What is not defined is NaN, and ``reason`` says why.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    method: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "NaN"
        return f"{self.value:.3f}" + ("" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]")


@dataclass(frozen=True)
class Metrics:
    """The metrics of a split: ``overall`` by name, and ``per_class`` by class and name."""

    images: int
    patients: int
    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]


def estimate_metrics(
    predictions: Predictions,
    resamples: int = 2000,
    seed: int = 0,
    prevalence: float | None = None,
    ranks: bool = True,
) -> Metrics:
    """Return all metrics of ``compute_metrics`` with their intervals.

    Where every patient has one image: Wilson (1927) for accuracy, sensitivity, specificity, PPV and NPV, DeLong on the
    logit scale for AUROC of one class against the rest. For all else the percentiles of a bootstrap that draws patients
    within classes (``bootstrap.draws``); for the calibration error, which any resampling makes larger, the basic
    bootstrap (Davison and Hinkley 1997, section 5.2), whose intervals are rough. The bootstrap takes the shares of the
    classes among the test images as given, which matters to PPV and NPV. A proportion that is the same in every
    resample, such as 1.0, has Wilson's interval with patients for images.

    Args:
        predictions: of one split at its operating point.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        prevalence: as ``compute_metrics`` takes it.
        ranks: likewise.
    """
    if len(predictions) == 0:
        return Metrics(0, 0, {}, {})
    values = compute_metrics(predictions, np.ones((1, len(predictions))), prevalence, ranks)
    resampled = compute_percentiles(predictions, resamples, seed, prevalence, ranks)
    counted = _Counted(predictions)
    per_class: dict[str, dict[str, Estimate]] = {}
    for at, label in enumerate(predictions.classes):
        per_class[label] = {
            name: _estimate(counted, METRICS[name], at, float(value[0, at]), resampled.per_class[name][at])
            for name, value in values.per_class.items()
        }
    overall = {}
    for name, value in values.overall.items():
        metric = METRICS[name]
        # sensitivity is the positive class's own, and so on; two classes have a single ROC curve
        whose = predictions.positive if metric.average == "positive class" or metric.interval == DELONG else None
        overall[name] = _estimate(counted, metric, whose, float(value[0]), resampled.overall[name])
    overall["recall_weighted"] = overall["accuracy"]  # the same number by definition, so with the same interval
    return Metrics(len(predictions), predictions.patients, overall, per_class)


class _Counted:
    """What is counted once for all metrics: images of each class, predicted as each class."""

    def __init__(self, predictions: Predictions) -> None:
        self.of = predictions
        self.images = len(predictions)
        count = len(predictions.classes)
        self.true = np.bincount(predictions.target, minlength=count)
        self.called = np.bincount(predictions.predicted, minlength=count)
        self.independent = predictions.one_image_each

    def about(self, metric: Metric, at: int | None) -> NDArray[np.bool_]:
        """Return which images a metric counts: those of its denominator for a proportion, otherwise all."""
        if at is None or metric.interval != WILSON:
            return np.ones(self.images, bool)
        true, called = self.of.target == at, self.of.predicted == at
        counted = {"positive images": true, "negative images": ~true, "positive calls": called}
        return np.asarray(counted.get(metric.needs[0], ~called))

    def reason(self, metric: Metric, at: int | None) -> str:
        """Return why a metric is not defined."""
        if metric.average in ("macro", "weighted"):
            classes = [at for at in range(len(self.true)) if metric.average == "macro" or self.true[at] > 0]
            reasons = [reason for at in classes for reason in self._reasons_of_class(metric, at)[:1]]
            return _joined(list(dict.fromkeys(reasons)))
        if at is None:
            return "all images are of one class or were predicted as one"
        reasons = self._reasons_of_class(metric, at)
        if metric.prevalence:
            return format_list(reasons) or "nothing would be called so"
        return next(iter(reasons), "")

    def _reasons_of_class(self, metric: Metric, at: int) -> list[str]:
        """Return what a metric of a class needs and these predictions lack."""
        label, true, called = self.of.classes[at], self.true[at], self.called[at]
        reasons = {
            "positive images": "" if true else f"no image is of class {label}",
            "negative images": "" if true < self.images else f"every image is of class {label}",
            "positive calls": "" if called else f"class {label} was never predicted",
            "negative calls": "" if called < self.images else f"every image was predicted as class {label}",
        }
        return [reasons[need] for need in metric.needs if reasons[need]]


def _joined(reasons: list[str]) -> str:
    rest = f"; and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return "; ".join(reasons[:MAX_REASONS]) + rest


def _estimate(counted: _Counted, metric: Metric, at: int | None, value: float, resampled: PercentileBounds) -> Estimate:
    about = counted.about(metric, at)
    n = int(about.sum())
    if math.isnan(value):
        return Estimate(value, n=n, reason=counted.reason(metric, at))
    proportion = metric.interval == WILSON
    if counted.independent and proportion:
        return Estimate(value, *wilson_interval(value * n, n), n, WILSON)
    if counted.independent and at is not None and metric.interval == DELONG:
        truth = counted.of.target == at
        if min(truth.sum(), (~truth).sum()) > 1:
            low, high = delong_interval(counted.of.probabilities[:, at], truth)
            if not math.isnan(low):
                return Estimate(value, low, high, n, DELONG)
    low, high, missing = resampled
    if missing > UNDEFINED:
        return Estimate(value, n=n, reason=f"not defined in {missing:.0%} of the resamples")
    if metric.interval == BASIC_BOOTSTRAP and high - low > 1e-12:
        low, high = max(0.0, 2 * value - high), min(1.0, max(value, 2 * value - low))
        return Estimate(value, low, high, n, BASIC_BOOTSTRAP)
    if high - low > 1e-12:
        return Estimate(value, low, high, n, BOOTSTRAP)
    if proportion:
        patients = len(np.unique(counted.of.groups[about]))
        return Estimate(value, *wilson_interval(value * patients, patients), n, "Wilson, patients for images")
    return Estimate(value, n=n, reason="the same in every resample, from which no interval can be told")


def wilson_interval(hits: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    interval = binomtest(round(hits), n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)
