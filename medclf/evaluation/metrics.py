"""Every metric of a predictions table, for one weighting of its images or for thousands at once.

A bootstrap resample is a weighting: how often each image was drawn. So one definition of each metric serves the value
and its interval. What is not defined is NaN: nothing is put in its place.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medclf.evaluation.predictions import Predictions
from medclf.metric_registry import CLASS_MEANS, OF_POSITIVE_CLASS

Floats = NDArray[np.float64]
BINS = 15
"""Bins of equal width of the calibration error."""
SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities below it count as it in the log loss, as in scikit-learn."""


@dataclass(frozen=True)
class MetricValues:
    """Metrics of weightings: ``overall`` by name, shape (weightings,); ``per_class``, shape (weightings, classes)."""

    overall: dict[str, Floats]
    per_class: dict[str, Floats]


def compute_metrics(
    predictions: Predictions, weights: Floats, prevalence: float | None = None, ranks: bool = True
) -> MetricValues:
    """Return all metrics for each weighting.

    Per class, one against the rest: ``sensitivity`` TP / (TP + FN), which is the class's recall; ``specificity``
    TN / (TN + FP); ``ppv`` TP / (TP + FP), which is its precision; ``npv`` TN / (TN + FN); ``f1``
    2 TP / (2 TP + FP + FN); ``auroc``, the area under the ROC curve by trapezoids; ``average_precision``, the sum of
    precision times the gain in recall over the thresholds.

    Overall: ``_macro``, the mean over the classes; ``_weighted``, the mean weighted by their true images;
    ``balanced_accuracy``, the mean sensitivity; ``mcc`` (Gorodkin 2004, R_K); ``cohen_kappa`` (Cohen 1960);
    ``log_loss`` in nats; ``brier``: for two classes the mean squared error of the positive one's probability, in
    [0, 1], for more the sum of it over the classes, in [0, 2] (Brier 1950); ``calibration_error``: the mean distance,
    over 15 bins of equal width, between the probability of the most probable class and how often that class is the true
    one, weighted by their images (Guo et al., ICML 2017). For two classes also ``sensitivity``, ``specificity``,
    ``ppv``, ``npv``, ``f1_positive`` and ``average_precision_positive`` of the positive one, and at a stated prevalence
    ``ppv_at_prevalence`` and ``npv_at_prevalence`` by Bayes' rule.

    Args:
        predictions: of n images.
        weights: of the images, shape (weightings, n), not negative; each has a positive sum.
        prevalence: of the positive class where the classifier will be used; None: not asked for.
        ranks: whether AUROC and average precision, which no threshold changes, are wanted too.
    """
    counts = _counts(predictions, weights)
    per_class = _from_counts(counts) | (_from_ranks(predictions, weights) if ranks else {})
    share = counts.true / counts.total[:, None]
    agreed = counts.hit.sum(1) / counts.total
    overall = {"accuracy": agreed}
    for metric in CLASS_MEANS:
        if metric.of in per_class:
            overall[metric.name] = _mean_over_classes(per_class[metric.of], share, metric.average == "weighted")
    overall |= _agreement(counts) | _of_probabilities(predictions, weights)
    if predictions.positive is not None:
        overall |= _of_positive(per_class, predictions.positive, prevalence)
    return MetricValues(overall, per_class)


def _mean_over_classes(values: Floats, share: Floats, weighted: bool) -> Floats:
    if not weighted:
        return np.asarray(values.mean(1))
    # a class without images has no weight, whatever its value
    return np.asarray((np.where(share > 0, values, 0) * share).sum(1))


class _Counts(NamedTuple):
    """Sums of weights by class, each (weightings, classes): true images, images called so, and those that are both.

    ``total`` is the sum of each weighting.
    """

    true: Floats
    called: Floats
    hit: Floats
    total: Floats


def _counts(predictions: Predictions, weights: Floats) -> _Counts:
    """Sum the weights by class; a whole confusion matrix for each weighting would grow with the classes' square."""
    labels = np.arange(len(predictions.classes))
    true = predictions.target[:, None] == labels
    called = predictions.predicted[:, None] == labels
    sums = [np.asarray(weights @ cells.astype(np.float64)) for cells in (true, called, true & called)]
    return _Counts(sums[0], sums[1], sums[2], sums[0].sum(1))


def _from_counts(counts: _Counts) -> dict[str, Floats]:
    total, true, called, hit = counts.total[:, None], counts.true, counts.called, counts.hit
    rejected = total - true - called + hit  # true negatives
    return {
        "sensitivity": safe_ratio(hit, true),
        "specificity": safe_ratio(rejected, total - true),
        "ppv": safe_ratio(hit, called),
        "npv": safe_ratio(rejected, total - called),
        "f1": np.where(true > 0, safe_ratio(2 * hit, true + called), np.nan),
    }


def _from_ranks(predictions: Predictions, weights: Floats) -> dict[str, Floats]:
    shape = (len(weights), len(predictions.classes))
    auroc, precision = np.empty(shape), np.empty(shape)
    for label in range(shape[1]):
        true, false = cumulative_counts(predictions.probabilities[:, label], predictions.target == label, weights)
        auroc[:, label], precision[:, label] = areas_under_curves(true, false)
    return {"auroc": auroc, "average_precision": precision}


def cumulative_counts(scores: Floats, truth: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats]:
    """True and false positives at each threshold, the highest first, each of shape (weightings, distinct scores).

    Args:
        scores: shape (n,); an image is called positive from the threshold on.
        truth: whether it is, shape (n,).
        weights: shape (weightings, n).
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    ordered = weights[:, order]
    called = ordered.cumsum(1)[:, ends]
    ordered *= truth[order]
    true = ordered.cumsum(1)[:, ends]
    return true, called - true


def areas_under_curves(true: Floats, false: Floats) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision from what ``cumulated`` gives, each of shape (weightings,)."""
    positives, negatives = true[:, -1], false[:, -1]
    gained = np.diff(true, axis=1, prepend=0)
    # a threshold's gain in sensitivity is missed by the false positives above it, and by half of its own
    beaten = (gained * false).sum(1) - (gained * np.diff(false, axis=1, prepend=0)).sum(1) / 2
    auroc = 1 - safe_ratio(beaten, positives * negatives)
    called = true + false
    weighted = gained * np.divide(true, called, out=np.zeros_like(true), where=called > 0)
    precision = np.where(negatives > 0, safe_ratio(weighted.sum(1), positives), np.nan)
    return auroc, precision


def _agreement(counts: _Counts) -> dict[str, Floats]:
    total, hits = counts.total, counts.hit.sum(1)
    true, called = counts.true, counts.called
    chance = (true * called).sum(1)
    spreads = np.stack([total**2 - (true**2).sum(1), total**2 - (called**2).sum(1)])
    # where everything is one class, rounding leaves a little more than nothing; one image of a million leaves 2e-6
    spreads[spreads < 1e-12 * total**2] = 0
    return {
        "mcc": safe_ratio(hits * total - chance, np.sqrt(spreads[0] * spreads[1])),
        "cohen_kappa": safe_ratio(hits * total - chance, total**2 - chance),
    }


def _of_probabilities(predictions: Predictions, weights: Floats) -> dict[str, Floats]:
    probabilities, target = predictions.probabilities, predictions.target
    total = weights.sum(1)
    true = np.eye(probabilities.shape[1])[target]
    squares = np.square(probabilities - true).sum(1)
    log_loss, brier = image_losses(probabilities, target), squares / (2 if len(predictions.classes) == 2 else 1)
    return {
        "log_loss": weights @ log_loss / total,
        "brier": weights @ brier / total,
        "calibration_error": np.abs(weights @ _bin_errors(probabilities, target)).sum(1) / total,
    }


def image_losses(probabilities: Floats, target: NDArray[np.int64]) -> Floats:
    """Return the log loss of each image, shape (n,)."""
    own = probabilities[np.arange(len(target)), target] / probabilities.sum(1)
    return np.asarray(-np.log(np.clip(own, SMALLEST, 1)))


def _bin_errors(probabilities: Floats, target: NDArray[np.int64]) -> Floats:
    """Probability of the most probable class, less 1 where it is the true one, in the column of its bin: (n, bins)."""
    rows = np.arange(len(target))
    confidence = probabilities.max(1)
    errors = np.zeros((len(target), BINS))
    # the bins are open below and closed above
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    errors[rows, bins] = confidence - (probabilities.argmax(1) == target)
    return errors


def _of_positive(per_class: dict[str, Floats], positive: int, prevalence: float | None) -> dict[str, Floats]:
    own = {name: values[:, positive] for name, values in per_class.items()}
    values = {metric.name: own[metric.of] for metric in OF_POSITIVE_CLASS if metric.of in own}
    if "auroc" in own:
        # either class against the other gives the same area but for ties made or broken by rounding: the positive one's
        values |= {"auroc_macro": own["auroc"], "auroc_weighted": own["auroc"]}
    if prevalence is not None:
        found, missed = own["sensitivity"] * prevalence, (1 - own["sensitivity"]) * prevalence
        cleared, alarmed = own["specificity"] * (1 - prevalence), (1 - own["specificity"]) * (1 - prevalence)
        values |= {
            "ppv_at_prevalence": safe_ratio(found, found + alarmed),
            "npv_at_prevalence": safe_ratio(cleared, cleared + missed),
        }
    return values


def safe_ratio(part: Floats, whole: Floats) -> Floats:
    """``part / whole``; NaN where there is no whole."""
    part = np.broadcast_to(part, np.broadcast_shapes(part.shape, whole.shape)).astype(np.float64)
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
