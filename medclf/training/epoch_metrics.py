from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchmetrics import CatMetric, MeanMetric
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


def build_epoch_metrics(
    probabilities: Tensor, target: Tensor, classes: list[str], positive: str | None = None
) -> dict[str, float]:
    """Metrics of a whole split for an epoch's log, by torchmetrics, in the order of ``metric_names``.

    The names mean what they mean in ``medclf.evaluation.metrics``; the predicted class is the most probable one. NaN
    where a metric is not defined: recall, F1 and AUROC of a class that no image has, precision of a class that was
    never predicted, and every mean over classes that includes such a one.

    Args:
        probabilities: shape (n, classes), rows that sum to 1; float64 keeps the order of nearly equal ones.
        target: the true classes, int64, shape (n,).
        classes: their names in the order of the columns.
        positive: the class that sensitivity is about, for two classes; None: the last one.
    """
    count = len(classes)
    predicted = probabilities.argmax(1)
    present = _all_there(target, count)
    called = _all_there(predicted, count)
    macro: dict[str, Any] = {"num_classes": count, "average": "macro", "validate_args": False}
    nan = torch.tensor(torch.nan)
    values = {
        "accuracy": (predicted == target).double().mean(),
        "balanced_accuracy": multiclass_recall(predicted, target, **macro) if present else nan,
        "precision_macro": multiclass_precision(predicted, target, **macro) if called else nan,
        "recall_macro": multiclass_recall(predicted, target, **macro) if present else nan,
        "f1_macro": multiclass_f1_score(predicted, target, **macro) if present else nan,
    }
    if count == 2:
        values |= _binary(probabilities, target, classes.index(positive or classes[-1]))
    else:
        values["auroc_macro"] = multiclass_auroc(probabilities, target, **macro) if present else nan
    return {name: float(value) for name, value in values.items()}


def _binary(probabilities: Tensor, target: Tensor, positive: int) -> dict[str, Tensor]:
    truth = (target == positive).long()
    called = (probabilities.argmax(1) == positive).long()
    nan = torch.tensor(torch.nan)
    positives, negatives = bool(truth.any()), not bool(truth.all())
    return {
        # either class against the other gives the same area
        "auroc_macro": binary_auroc(probabilities[:, positive], truth) if positives and negatives else nan,
        "sensitivity": binary_recall(called, truth) if positives else nan,
        "specificity": binary_specificity(called, truth) if negatives else nan,
        "ppv": binary_precision(called, truth) if called.any() else nan,
        "f1_positive": binary_f1_score(called, truth) if positives else nan,
    }


def _all_there(values: Tensor, count: int) -> bool:
    return bool((torch.bincount(values, minlength=count) > 0).all())


class EpochOutputs(torch.nn.Module):
    """Logits, targets and mean loss of an epoch, gathered from all processes: metrics are of the whole split.

    Args:
        num_classes: columns of the logits.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        # not-a-number must be seen, not left out
        self._logits = CatMetric(nan_strategy="disable")
        self._target = CatMetric()
        self._loss = MeanMetric(nan_strategy="disable")

    def update(self, logits: Tensor, target: Tensor, loss: Tensor) -> None:
        """Add a batch: logits (n, classes), classes (n,), and the mean loss."""
        self._logits.update(logits.detach())
        self._target.update(target)
        self._loss.update(loss.detach(), len(target))

    def compute(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (images, classes), classes (images,) and the mean loss of what was added; it begins anew after."""
        logits, target, loss = self._logits.compute(), self._target.compute(), self._loss.compute()
        for metric in (self._logits, self._target, self._loss):
            metric.reset()
        return logits.reshape(-1, self.num_classes), target.long(), loss


class EpochHistory:
    """The metrics of each epoch, in float32 as loggers store them; checkpoints keep them for a resumed run."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, float]] = {}

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Add metrics to an epoch, or replace them.

        Args:
            epoch: number of the epoch, the first being 0.
            metrics: values by name, ``train/…`` or ``val/…``.
        """
        self._rows.setdefault(epoch, {}).update({name: float(np.float32(value)) for name, value in metrics.items()})

    def table(self) -> pd.DataFrame:
        """Return a row an epoch: ``epoch``, and a column for each metric, NaN where it was not computed."""
        names = sorted({name for row in self._rows.values() for name in row})
        frame = pd.DataFrame.from_dict(self._rows, orient="index", columns=names).sort_index()
        return frame.rename_axis("epoch").reset_index()

    def state_dict(self) -> dict[int, dict[str, float]]:
        """Return the metrics by epoch and name."""
        return {epoch: dict(row) for epoch, row in self._rows.items()}

    def load_state_dict(self, state: Mapping[int, Mapping[str, float]]) -> None:
        """Take the place of what was added.

        Raises:
            TypeError, ValueError, AttributeError: for a state that ``state_dict`` did not return.
        """
        self._rows = {}
        for epoch, row in state.items():
            self.add(int(epoch), {str(name): float(value) for name, value in row.items()})


def logits_to_probabilities(logits: Tensor) -> Tensor:
    """Class probabilities (n, classes) on the CPU in float64: softmax in less makes ties of confident predictions."""
    return logits.cpu().double().softmax(1)
