"""What the curves of a split are made of, as tables; a column ``class`` where there is one a class."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.evaluation.bootstrap import draw_resamples
from medclf.evaluation.metric_intervals import wilson_interval
from medclf.evaluation.metrics import cumulative_counts, safe_ratio
from medclf.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
BAND = 500
"""Resamples behind the band of a curve."""
AT_ONCE = 100
"""Classes whose resampled curves are held at once: 40 MB."""
GRID = np.linspace(0, 1, 101)
THRESHOLDS = np.linspace(0.01, 0.99, 99)
RELIABILITY_BINS = 10


def roc_curve(predictions: Predictions, seed: int = 0) -> pd.DataFrame:
    """Sensitivity at each false positive rate from 0 to 1 in steps of 0.01, with its pointwise 95 % band.

    Columns: class, false_positive_rate, sensitivity, low, high. Classes without images of both kinds have no rows.
    """
    return _curves(predictions, seed, _sensitivity, ("false_positive_rate", "sensitivity"))


def precision_recall_curve(predictions: Predictions, seed: int = 0) -> pd.DataFrame:
    """Precision at each recall from 0 to 1 in steps of 0.01, with its pointwise 95 % band.

    It is the precision at the highest threshold that reaches the recall. Columns: class, recall, precision, low, high.
    """
    return _curves(predictions, seed, _precision, ("recall", "precision"))


def _sensitivity(true: Floats, false: Floats) -> Floats:
    """At ``GRID`` of the false positive rate, by straight lines between the thresholds."""
    return np.asarray(np.interp(GRID, np.append(0, false / false[-1]), np.append(0, true / true[-1])))


def _precision(true: Floats, false: Floats) -> Floats:
    """At ``GRID`` of the recall."""
    reached = np.searchsorted(true / true[-1], np.maximum(GRID - 1e-12, 1e-12))
    return np.asarray(true[reached] / (true[reached] + false[reached]))


def _curves(
    predictions: Predictions, seed: int, curve: Callable[[Floats, Floats], Floats], names: tuple[str, str]
) -> pd.DataFrame:
    truths = {label: predictions.target == label for label in predictions.shown_classes}
    defined = [label for label, truth in truths.items() if truth.any() and not truth.all()]
    frames = []
    for begin in range(0, len(defined), AT_ONCE):
        labels = defined[begin : begin + AT_ONCE]
        for label, resampled in zip(labels, _resampled(predictions, seed, curve, labels), strict=True):
            counts = cumulative_counts(
                predictions.probabilities[:, label], truths[label], np.ones((1, len(predictions)))
            )
            value = curve(*(count[0] for count in counts))
            low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
            columns = {"class": predictions.classes[label], names[0]: GRID, names[1]: value, "low": low, "high": high}
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["class", *names, "low", "high"])


def _resampled(
    predictions: Predictions, seed: int, curve: Callable[[Floats, Floats], Floats], labels: list[int]
) -> list[Floats]:
    """Return for each of some classes its curve in each resample in which it is defined, shape (resamples, points)."""
    found: list[list[Floats]] = [[] for _ in labels]
    for weights in draw_resamples(predictions, BAND, seed):
        for label, curves in zip(labels, found, strict=True):
            counts = cumulative_counts(predictions.probabilities[:, label], predictions.target == label, weights)
            curves += [curve(true, false) for true, false in zip(*counts, strict=True) if min(true[-1], false[-1]) > 0]
    return [np.stack(curves) for curves in found]


def reliability_curve(predictions: Predictions) -> pd.DataFrame:
    """Return observed frequencies in ten bins of predicted probability, with Wilson's 95 % interval.

    For two classes of the positive one's probability, for more of the most probable class's. Columns: probability (the
    mean in the bin), share (how often true), low, high, n.
    """
    if predictions.positive is None:
        probability = predictions.probabilities.max(1)
        came_true = predictions.probabilities.argmax(1) == predictions.target
    else:
        probability = predictions.probabilities[:, predictions.positive]
        came_true = predictions.target == predictions.positive
    bins = np.minimum((probability * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
    rows = []
    for at in np.unique(bins):
        inside = bins == at
        n, hits = int(inside.sum()), int(came_true[inside].sum())
        rows.append((float(probability[inside].mean()), hits / n, *wilson_interval(hits, n), n))
    return pd.DataFrame(rows, columns=["probability", "share", "low", "high", "n"])


def score_histogram(predictions: Predictions) -> pd.DataFrame:
    """Return images of each class by probability in 20 bins: columns class, from, to, images.

    For two classes the probability of the positive one; for more, that of the true class.
    """
    edges = np.linspace(0, 1, 21)
    own = predictions.probabilities[np.arange(len(predictions)), predictions.target]
    score = own if predictions.positive is None else predictions.probabilities[:, predictions.positive]
    frames = []
    for at, label in enumerate(predictions.classes):
        images = np.histogram(score[predictions.target == at], edges)[0]
        frames.append(pd.DataFrame({"class": label, "from": edges[:-1], "to": edges[1:], "images": images}))
    return pd.concat(frames, ignore_index=True)


def decision_curve(predictions: Predictions, seed: int = 0) -> pd.DataFrame:
    """Net benefit of acting on the prediction (Vickers and Elkin, Medical Decision Making 2006), for two classes.

    At a threshold t it is TP / n - FP / n * t / (1 - t). Columns: threshold, net_benefit, low, high (pointwise 95 %
    band), treat_all. Treating nobody has a net benefit of 0.
    """
    assert predictions.positive is not None
    truth = (predictions.target == predictions.positive)[:, None]
    called = predictions.probabilities[:, [predictions.positive]] >= THRESHOLDS
    odds = THRESHOLDS / (1 - THRESHOLDS)
    benefit = np.where(truth, called, -odds * called)
    resampled = np.concatenate(
        [
            safe_ratio(weights @ benefit, weights.sum(1, keepdims=True))
            for weights in draw_resamples(predictions, BAND, seed)
        ]
    )
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    prevalence = float(truth.mean())
    columns = {"threshold": THRESHOLDS, "net_benefit": benefit.mean(0), "low": low, "high": high}
    return pd.DataFrame(columns | {"treat_all": prevalence - (1 - prevalence) * odds})


def confusion_matrix(predictions: Predictions) -> pd.DataFrame:
    """Counts: a row a true class, a column a predicted one."""
    count = len(predictions.classes)
    cells = np.bincount(predictions.target * count + predictions.predicted, minlength=count * count)
    return pd.DataFrame(cells.reshape(count, count), index=predictions.classes, columns=predictions.classes)
