import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_f1_score,
    binary_precision,
    binary_recall,
    binary_specificity,
    multiclass_accuracy,
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

    What is not defined is NaN with its reason: recall and AUROC of a class that no image has, precision of a class that
    was never predicted, and every mean over classes that includes such a one.

    Args:
        probabilities: shape (n, classes), rows that sum to 1.
        target: the true classes, int64, shape (n,).
        classes: their names in the order of the columns.
        positive: the class that sensitivity is about, for two classes; None: the last one.
    """
    predicted = probabilities.argmax(1)
    count = len(classes)
    true_counts = torch.bincount(target, minlength=count)
    absent = [name for name, n in zip(classes, true_counts.tolist(), strict=True) if n == 0]
    unpredicted = [
        name for name, n in zip(classes, torch.bincount(predicted, minlength=count).tolist(), strict=True) if n == 0
    ]
    no_image = f"no image is of class {listed(absent)}"
    never = f"class {listed(unpredicted)} was never predicted"
    collected = _Collected()
    if len(target) == 0:
        return Metrics({}, {}, 0)
    macro: dict[str, Any] = {"num_classes": count, "average": "macro", "validate_args": False}
    collected.add("accuracy", multiclass_accuracy(predicted, target, count, average="micro", validate_args=False))
    recall = multiclass_recall(predicted, target, **macro)
    collected.add("balanced_accuracy", recall, absent, no_image)
    collected.add("precision_macro", multiclass_precision(predicted, target, **macro), unpredicted, never)
    collected.add("recall_macro", recall, absent, no_image)
    collected.add("f1_macro", multiclass_f1_score(predicted, target, **macro), absent, no_image)
    # in float64, so that near-equal probabilities keep their order
    collected.add("auroc_macro", multiclass_auroc(probabilities.double(), target, **macro), absent, no_image)
    if count == 2:
        _add_binary(collected, predicted, target, classes, positive or classes[-1])
    return Metrics(collected.values, collected.reasons, len(target))


class _Collected:
    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.reasons: dict[str, str] = {}

    def add(self, name: str, value: Tensor, blockers: list[str] | None = None, reason: str = "") -> None:
        if blockers:
            self.reasons[name] = reason
        self.values[name] = math.nan if blockers else float(value)


def _add_binary(collected: _Collected, predicted: Tensor, target: Tensor, classes: list[str], positive: str) -> None:
    index = classes.index(positive)
    negative = classes[1 - index]
    truth, called = (target == index).long(), (predicted == index).long()
    no_positive = [] if truth.any() else [positive]
    no_negative = [] if (1 - truth).any() else [negative]
    not_called = [] if called.any() else [positive]
    collected.add("sensitivity", binary_recall(called, truth), no_positive, f"no image is of class {positive}")
    collected.add("specificity", binary_specificity(called, truth), no_negative, f"no image is of class {negative}")
    collected.add(
        "precision_positive", binary_precision(called, truth), not_called, f"class {positive} was never predicted"
    )
    collected.add("f1_positive", binary_f1_score(called, truth), no_positive, f"no image is of class {positive}")
