"""The names of the metrics, known without importing torch, so that a wrong monitor is refused at once."""

from typing import Literal

MULTICLASS = (
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "auroc_macro",
)
BINARY = ("sensitivity", "specificity", "ppv", "f1_positive")

HEADLINE = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "average_precision_macro", "mcc", "brier")
HEADLINE_BINARY = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1_positive", "auroc_macro",
    "average_precision_positive", "mcc", "brier",
)  # fmt: skip

MAX_SHOWN_CLASSES = 20
"""Classes whose metrics a table, a plot or a sentence shows; the CSV files have them all."""


def metric_names(num_classes: int) -> tuple[str, ...]:
    """Names of the metrics that an epoch logs of a set with so many classes, in the order in which they are shown."""
    return MULTICLASS + BINARY if num_classes == 2 else MULTICLASS


def headline_names(num_classes: int) -> tuple[str, ...]:
    """Names of the metrics that a run ends with; ``metrics.csv`` has them all."""
    return HEADLINE_BINARY if num_classes == 2 else HEADLINE


def monitor_names(metrics: tuple[str, ...]) -> tuple[str, ...]:
    """Names that an epoch logs on validation and a checkpoint may be chosen by."""
    return ("val/loss", *(f"val/{name}" for name in metrics))


def monitor_mode(monitor: str) -> Literal["min", "max"]:
    """Return ``min`` for a monitor of which smaller values are better (a loss), and ``max`` for all others."""
    return "min" if monitor.endswith("loss") else "max"
