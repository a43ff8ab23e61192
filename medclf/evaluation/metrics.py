import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    binary_f1_score,
    binary_precision,
    binary_recall,
    binary_specificity,
    multiclass_auroc,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from medclf.errors import listed


@dataclass(frozen=True)
class Metrics:
    """What a split's predictions are worth.

    ``values`` by name in the order of ``metric_names``; ``n`` by name, the images that the value is about; ``reasons``
    by name, why a value is NaN. ``images`` is the size of the split.
    """

    images: int
    values: dict[str, float] = field(default_factory=dict)
    n: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, compute: Callable[[], Tensor], why_not: str | None = None, n: int | None = None) -> None:
        """Add a metric: its value, or NaN where there is a reason why it has none; ``n`` is all images if not given."""
        self.values[name] = math.nan if why_not else float(compute())
        self.n[name] = self.images if n is None else n
        if why_not:
            self.reasons[name] = why_not


def classification_metrics(
    probabilities: Tensor, target: Tensor, classes: list[str], positive: str | None = None
) -> Metrics:
    """Metrics of a whole split, by torchmetrics.

    The predicted class is the most probable one. ``_macro``: the mean over classes, each counting the same, AUROC one
    class against the rest. ``balanced_accuracy`` is by definition the mean recall, ``recall_macro``. For two classes
    also, of the positive one: ``sensitivity`` (its recall), ``specificity`` (the recall of the other),
    ``precision_positive`` and ``f1_positive``.

    What is not defined is NaN with its reason: recall, F1 and AUROC of a class that no image has, precision of a class
    that was never predicted, and every mean over classes that includes such a one.

    Args:
        probabilities: shape (n, classes), rows that sum to 1; float64 keeps the order of nearly equal ones.
        target: the true classes, int64, shape (n,).
        classes: their names in the order of the columns.
        positive: the class that sensitivity is about, for two classes; None: the last one.
    """
    metrics = Metrics(len(target))
    if len(target) == 0:
        return metrics
    count = len(classes)
    predicted = probabilities.argmax(1)
    absent = _reason("no image is of class {}", target, classes)
    never = _reason("class {} was never predicted", predicted, classes)
    macro: dict[str, Any] = {"num_classes": count, "average": "macro", "validate_args": False}

    metrics.add("accuracy", lambda: (predicted == target).double().mean())
    metrics.add("balanced_accuracy", lambda: multiclass_recall(predicted, target, **macro), absent)
    metrics.add("precision_macro", lambda: multiclass_precision(predicted, target, **macro), never)
    metrics.add("recall_macro", lambda: multiclass_recall(predicted, target, **macro), absent)
    metrics.add("f1_macro", lambda: multiclass_f1_score(predicted, target, **macro), absent)
    if count > 2:
        metrics.add("auroc_macro", lambda: multiclass_auroc(probabilities, target, **macro), absent)
    else:
        _add_binary(metrics, probabilities, target, classes, classes.index(positive or classes[-1]))
    return metrics


def _add_binary(metrics: Metrics, probabilities: Tensor, target: Tensor, classes: list[str], positive: int) -> None:
    truth = (target == positive).long()
    called = (probabilities.argmax(1) == positive).long()
    name, other = classes[positive], classes[1 - positive]
    positives, calls = int(truth.sum()), int(called.sum())
    no_positive = None if positives else f"no image is of class {name}"
    no_negative = f"no image is of class {other}" if positives == len(truth) else None
    not_called = None if calls else f"class {name} was never predicted"
    # either class against the other gives the same area
    metrics.add("auroc_macro", lambda: binary_auroc(probabilities[:, positive], truth), no_positive or no_negative)
    metrics.add("sensitivity", lambda: binary_recall(called, truth), no_positive, positives)
    metrics.add("specificity", lambda: binary_specificity(called, truth), no_negative, len(truth) - positives)
    metrics.add("precision_positive", lambda: binary_precision(called, truth), not_called, calls)
    metrics.add("f1_positive", lambda: binary_f1_score(called, truth), no_positive)


def _reason(text: str, values: Tensor, classes: list[str]) -> str | None:
    counts = torch.bincount(values, minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    return text.format(listed(missing)) if missing else None
