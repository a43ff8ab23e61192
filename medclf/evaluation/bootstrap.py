"""Resampling the patients of a predictions table."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from medclf.evaluation.metrics import MetricValues, metric_values
from medclf.evaluation.predictions import Predictions

Floats = NDArray[np.float64]
CHUNK = 400_000
"""Weights held at once: few enough to stay in a processor's cache."""


def draws(predictions: Predictions, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each image was drawn, in chunks of shape (some resamples, images).

    Whole patients are drawn with replacement (Field and Welsh 2007), since the images of one are no independent
    evidence, and within each class, so that its share stays as it is: a patient counts for the class that most of his
    images have. The same patients, classes, seed and number give the same draws.
    """
    strata = _strata(predictions)
    patients = int(predictions.groups.max()) + 1
    random = np.random.default_rng(seed)
    step = max(1, CHUNK // len(predictions))
    for begin in range(0, resamples, step):
        count = min(step, resamples - begin)
        drawn = np.zeros(count * patients)
        for members in strata:
            picked = members[random.integers(len(members), size=(count, len(members)))]
            picked += np.arange(count)[:, None] * patients
            drawn += np.bincount(picked.ravel(), minlength=count * patients)
        yield drawn.reshape(count, patients)[:, predictions.groups]


def _strata(predictions: Predictions) -> list[NDArray[np.int64]]:
    """The patients of each class."""
    count = len(predictions.classes)
    images = np.zeros((int(predictions.groups.max()) + 1, count), np.int64)
    np.add.at(images, (predictions.groups, predictions.target), 1)
    present = images.sum(1) > 0  # of a subset, not every patient is there
    label = images.argmax(1)
    strata = [np.flatnonzero(present & (label == at)) for at in range(count)]
    return [members for members in strata if len(members)]


def bootstrap(
    predictions: Predictions, resamples: int, seed: int = 0, prevalence: float | None = None, ranks: bool = True
) -> MetricValues:
    """The metrics of each resample, as ``metric_values`` gives them."""
    parts = [metric_values(predictions, weights, prevalence, ranks) for weights in draws(predictions, resamples, seed)]
    return MetricValues(
        {name: np.concatenate([part.overall[name] for part in parts]) for name in parts[0].overall},
        {name: np.concatenate([part.per_class[name] for part in parts]) for name in parts[0].per_class},
    )
