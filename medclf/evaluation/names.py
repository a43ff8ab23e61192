"""The names of the metrics, known without importing torch, so that a wrong monitor is refused at once."""

MULTICLASS = (
    "accuracy",
    "balanced_accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "auroc_macro",
)
BINARY = ("sensitivity", "specificity", "precision_positive", "f1_positive")


def metric_names(num_classes: int) -> tuple[str, ...]:
    """Names of the metrics of a set with so many classes, in the order in which they are shown."""
    return MULTICLASS + BINARY if num_classes == 2 else MULTICLASS


def monitor_names(metrics: tuple[str, ...]) -> tuple[str, ...]:
    """Names that an epoch logs on validation and a checkpoint may be chosen by."""
    return ("val/loss", *(f"val/{name}" for name in metrics))
