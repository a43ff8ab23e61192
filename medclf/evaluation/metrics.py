import math
from collections.abc import Callable
from dataclasses import dataclass
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
    """Values by name, in the order of ``metric_names``; ``reasons`` says of each NaN why it is one."""

    values: dict[str, float]
    reasons: dict[str, str]
    n: int


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
    if len(target) == 0:
        return Metrics({}, {}, 0)
    count = len(classes)
    positive = positive or classes[-1]
    predicted = probabilities.argmax(1)
    metrics = _Metrics({}, {})
    absent = _reason("no image is of class {}", target, classes)
    never = _reason("class {} was never predicted", predicted, classes)
    macro: dict[str, Any] = {"num_classes": count, "average": "macro", "validate_args": False}

    metrics.add("accuracy", None, lambda: (predicted == target).double().mean())
    metrics.add("balanced_accuracy", absent, lambda: multiclass_recall(predicted, target, **macro))
    metrics.add("precision_macro", never, lambda: multiclass_precision(predicted, target, **macro))
    metrics.add("recall_macro", absent, lambda: multiclass_recall(predicted, target, **macro))
    metrics.add("f1_macro", absent, lambda: multiclass_f1_score(predicted, target, **macro))
    if count > 2:
        metrics.add("auroc_macro", absent, lambda: multiclass_auroc(probabilities, target, **macro))
    else:
        _add_binary(metrics, probabilities, target, classes, classes.index(positive))
    return Metrics(metrics.values, metrics.reasons, len(target))


@dataclass(frozen=True)
class _Metrics:
    values: dict[str, float]
    reasons: dict[str, str]

    def add(self, name: str, why_not: str | None, compute: Callable[[], Tensor]) -> None:
        """The value of a metric, or NaN where there is a reason why it has none."""
        self.values[name] = math.nan if why_not else float(compute())
        if why_not:
            self.reasons[name] = why_not


def _add_binary(metrics: _Metrics, probabilities: Tensor, target: Tensor, classes: list[str], positive: int) -> None:
    truth = (target == positive).long()
    called = (probabilities.argmax(1) == positive).long()
    name, other = classes[positive], classes[1 - positive]
    no_positive = None if truth.any() else f"no image is of class {name}"
    no_negative = f"no image is of class {other}" if truth.all() else None
    not_called = None if called.any() else f"class {name} was never predicted"
    # either class against the other gives the same area
    metrics.add("auroc_macro", no_positive or no_negative, lambda: binary_auroc(probabilities[:, positive], truth))
    metrics.add("sensitivity", no_positive, lambda: binary_recall(called, truth))
    metrics.add("specificity", no_negative, lambda: binary_specificity(called, truth))
    metrics.add("precision_positive", not_called, lambda: binary_precision(called, truth))
    metrics.add("f1_positive", no_positive, lambda: binary_f1_score(called, truth))


def _reason(text: str, values: Tensor, classes: list[str]) -> str | None:
    counts = torch.bincount(values, minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    return text.format(listed(missing)) if missing else None
