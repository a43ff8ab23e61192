"""The metrics: names, labels, directions, averages, intervals, tests, and which of them each table and plot shows.

Every other module reads them here. Imports nothing heavy, so that a wrong metric is refused at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

WILSON = "Wilson"
DELONG = "DeLong"
BOOTSTRAP = "bootstrap of patients"
BASIC_BOOTSTRAP = "basic bootstrap of patients"
MCNEMAR = "exact McNemar"

Average = Literal["none", "macro", "weighted", "positive class"]
Basis = Literal["decisions", "probabilities", "ranking"]
Needed = Literal["positive images", "negative images", "positive calls", "negative calls", "two classes"]

MAX_SHOWN_CLASSES = 20
"""Classes whose metrics a table, a plot or a sentence shows; the CSV files have them all."""


_PROPER_NOUNS = ("Brier", "Cohen")


@dataclass(frozen=True)
class Metric:
    """A metric and what has to be known to show, estimate and compare it.

    Args:
        name: key in files, in the configuration and in TensorBoard tags.
        label: name shown to people.
        description: definition in a few words.
        average: how one value is made of those of the classes; ``positive class``: it exists for two classes only.
        of: metric of each class that is averaged, or taken of the positive class.
        direction: whether higher or lower values are better.
        basis: what it is computed from; no threshold changes a metric of probabilities or of their ranking.
        interval: method of its 95 % interval where every patient has one image. DeLong's needs a single ROC curve, so
            for a mean over more than two classes, and for patients with several images, it is the bootstrap.
        test: paired test where every patient has one image, otherwise the bootstrap. DeLong's needs two classes.
        needs: images and calls without which it is not defined, those counted in its denominator first.
        trade_off: whether another threshold improves it at the cost of another metric.
        per_class: whether it is computed for each class against the rest.
        overall: whether it is computed over all images.
        prevalence: whether it is computed only for a stated prevalence.
        binary_label: label for two classes where it differs from ``label``.
    """

    name: str
    label: str
    description: str
    average: Average = "none"
    of: str = ""
    direction: Literal["higher", "lower"] = "higher"
    basis: Basis = "decisions"
    interval: str = BOOTSTRAP
    test: str = BOOTSTRAP
    needs: tuple[Needed, ...] = ()
    trade_off: bool = False
    per_class: bool = False
    overall: bool = True
    prevalence: bool = False
    binary_label: str = ""

    @property
    def lower_is_better(self) -> bool:
        """Return whether smaller values are better."""
        return self.direction == "lower"

    @property
    def phrase(self) -> str:
        """Return the label as it is written inside a sentence."""
        keeps_capital = not self.label[1:2].islower() or self.label.startswith(_PROPER_NOUNS)
        return self.label if keeps_capital else self.label[0].lower() + self.label[1:]


def _rate(name: str, label: str, description: str, needs: Needed, test: str = BOOTSTRAP) -> Metric:
    """Return a proportion of the images or calls that ``needs`` names."""
    return Metric(
        name, label, description, "positive class", name, interval=WILSON, test=test, needs=(needs,), trade_off=True,
        per_class=True,
    )  # fmt: skip


SENSITIVITY = _rate("sensitivity", "Sensitivity", "TP / (TP + FN), the recall of a class", "positive images", MCNEMAR)
SPECIFICITY = _rate("specificity", "Specificity", "TN / (TN + FP)", "negative images", MCNEMAR)
PPV = _rate("ppv", "PPV", "TP / (TP + FP), the precision of a class", "positive calls")
NPV = _rate("npv", "NPV", "TN / (TN + FN)", "negative calls")
F1 = Metric("f1", "F1", "2 TP / (2 TP + FP + FN)", needs=("positive images",), per_class=True, overall=False)
AUROC = Metric(
    "auroc", "AUROC", "area under the ROC curve: whether positive images rank above negative ones at any threshold",
    basis="ranking", interval=DELONG, needs=("positive images", "negative images"), per_class=True, overall=False,
)  # fmt: skip
AVERAGE_PRECISION = Metric(
    "average_precision", "Average precision", "sum of precision times the gain in recall over the thresholds",
    basis="ranking", needs=("positive images", "negative images"), per_class=True, overall=False,
)  # fmt: skip


def _mean(
    of: Metric, average: Average, name: str, label: str, interval: str = BOOTSTRAP, test: str = BOOTSTRAP,
    binary_label: str = "",
) -> Metric:  # fmt: skip
    """Return a mean over the classes, plain or weighted by their images, or the value of the positive class."""
    description = {
        "macro": f"mean of each class's {of.phrase}",
        "weighted": f"mean of each class's {of.phrase}, weighted by its images",
        "positive class": f"{of.phrase} of the positive class",
    }[average]
    return Metric(
        name, label, description, average, of.name, basis=of.basis, interval=interval, test=test, needs=of.needs,
        binary_label=binary_label,
    )  # fmt: skip


_OVERALL = (
    Metric("accuracy", "Accuracy", "share of images classified correctly", interval=WILSON, test=MCNEMAR),
    _mean(SENSITIVITY, "macro", "balanced_accuracy", "Balanced accuracy"),
    _mean(PPV, "macro", "precision_macro", "Precision (macro)"),
    _mean(SENSITIVITY, "macro", "recall_macro", "Recall (macro)"),
    _mean(F1, "macro", "f1_macro", "F1 (macro)"),
    _mean(SPECIFICITY, "macro", "specificity_macro", "Specificity (macro)"),
    _mean(NPV, "macro", "npv_macro", "NPV (macro)"),
    _mean(AUROC, "macro", "auroc_macro", "AUROC (macro)", DELONG, DELONG, binary_label=AUROC.label),
    _mean(AVERAGE_PRECISION, "macro", "average_precision_macro", "Average precision (macro)"),
    _mean(PPV, "weighted", "precision_weighted", "Precision (weighted)"),
    _mean(SENSITIVITY, "weighted", "recall_weighted", "Recall (weighted)", WILSON),
    _mean(F1, "weighted", "f1_weighted", "F1 (weighted)"),
    _mean(AUROC, "weighted", "auroc_weighted", "AUROC (weighted)", DELONG),
    _mean(AVERAGE_PRECISION, "weighted", "average_precision_weighted", "Average precision (weighted)"),
    Metric("mcc", "MCC", "Matthews correlation coefficient (Gorodkin 2004)", needs=("two classes",)),
    Metric("cohen_kappa", "Cohen's kappa", "agreement beyond chance (Cohen 1960)", needs=("two classes",)),
    Metric(
        "log_loss", "Log loss", "mean negative logarithm of the true class's probability",
        direction="lower", basis="probabilities",
    ),
    Metric(
        "brier", "Brier score", "mean squared error of the probabilities (Brier 1950)",
        direction="lower", basis="probabilities",
    ),
    Metric(
        "calibration_error", "Calibration error",
        "mean distance between the largest probability and how often its class is the true one",
        direction="lower", basis="probabilities", interval=BASIC_BOOTSTRAP,
    ),
    SENSITIVITY,
    SPECIFICITY,
    PPV,
    NPV,
    _mean(F1, "positive class", "f1_positive", "F1 (positive class)"),
    _mean(
        AVERAGE_PRECISION, "positive class", "average_precision_positive", "Average precision (positive class)"
    ),
    Metric(
        "ppv_at_prevalence", "PPV at the stated prevalence", "PPV at evaluation.prevalence, by Bayes' rule",
        "positive class", needs=("positive images", "negative images"), trade_off=True, prevalence=True,
    ),
    Metric(
        "npv_at_prevalence", "NPV at the stated prevalence", "NPV at evaluation.prevalence, by Bayes' rule",
        "positive class", needs=("positive images", "negative images"), trade_off=True, prevalence=True,
    ),
)  # fmt: skip
"""Metrics over all images, in the order of ``metrics.json`` and ``metrics.csv``."""
_PER_CLASS = (SENSITIVITY, SPECIFICITY, PPV, NPV, F1, AUROC, AVERAGE_PRECISION)
"""Metrics of each class against the rest, in the same order."""
_LOSS = Metric(
    "loss", "Loss", "training criterion, logged every epoch", direction="lower", basis="probabilities", overall=False
)

METRICS = {metric.name: metric for metric in (*_OVERALL, *_PER_CLASS, _LOSS)}
"""Every metric by name."""
CLASS_METRICS = tuple(metric.name for metric in _PER_CLASS)
"""Names of the metrics of each class."""
PROBABILITY_METRICS = tuple(metric.name for metric in _OVERALL if metric.basis == "probabilities")
"""Names of the metrics that calibration changes."""
CLASS_MEANS = tuple(metric for metric in _OVERALL if metric.average in ("macro", "weighted"))
"""Means over the classes, in the order in which they are computed."""
OF_POSITIVE_CLASS = tuple(metric for metric in _OVERALL if metric.average == "positive class" and metric.of)
"""Metrics of a single class that are taken from the positive one of two, in the same order."""

# What is shown where; a pair is for two classes and for more.
_EPOCH = ("accuracy", "balanced_accuracy", "precision_macro", "recall_macro", "f1_macro", "auroc_macro")
_EPOCH_BINARY = (*_EPOCH, "sensitivity", "specificity", "ppv", "f1_positive")
_HEADLINE = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "average_precision_macro", "mcc", "brier")
_HEADLINE_BINARY = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1_positive", "auroc_macro",
    "average_precision_positive", "mcc", "brier",
)  # fmt: skip
_CARDS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro")
_CARDS_BINARY = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "auroc_macro")
_DEMO = ("auroc_macro", "accuracy", "balanced_accuracy")
_DEMO_BINARY = ("auroc_macro", "sensitivity", "specificity")
_COMPARED = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "brier", "log_loss", "mcc")
_COMPARED_BINARY = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "f1_positive", "auroc_macro", "brier",
    "log_loss",
)  # fmt: skip
_SUBGROUP = ("accuracy", "balanced_accuracy", "auroc_macro")
_SUBGROUP_BINARY = ("accuracy", "sensitivity", "specificity", "auroc_macro")
CLASS_SUMMARY = ("sensitivity", "specificity", "ppv", "f1", "auroc")
"""Metrics of each class that the terminal shows."""
THRESHOLD_RATES = ("sensitivity", "specificity", "ppv", "npv")
"""Metrics by which thresholds are compared."""
LEADERBOARD = ("accuracy", "balanced_accuracy", "auroc_macro")
"""Test metrics of the overview where none were typed."""
LEADERBOARD_TESTED = ("balanced_accuracy", "auroc_macro")
"""Test metrics that the overview compares with the best where none were typed."""
LEARNING_CURVES = (
    "loss", "auroc_macro", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision_macro", "f1_macro",
)  # fmt: skip
"""Metrics of an epoch that are drawn, the most important first."""


def metric_names(num_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics that an epoch logs for so many classes, in the order in which they are shown."""
    return _EPOCH_BINARY if num_classes == 2 else _EPOCH


def headline_names(num_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics that a run ends with; ``metrics.csv`` has them all."""
    return _HEADLINE_BINARY if num_classes == 2 else _HEADLINE


def card_names(num_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics at the top of the report."""
    return _CARDS_BINARY if num_classes == 2 else _CARDS


def demo_names(num_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics on the demo page."""
    return _DEMO_BINARY if num_classes == 2 else _DEMO


def comparison_names(num_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics that a comparison tests where none were typed."""
    return _COMPARED_BINARY if num_classes == 2 else _COMPARED


def subgroup_names(num_classes: int) -> tuple[str, ...]:
    """Return the names of the metrics of each subgroup."""
    return _SUBGROUP_BINARY if num_classes == 2 else _SUBGROUP


def overall_names(num_classes: int, prevalence: bool = False) -> tuple[str, ...]:
    """Return the names of all metrics over all images, in the order of the files.

    Args:
        num_classes: number of classes.
        prevalence: whether a prevalence was stated.
    """
    return tuple(
        metric.name
        for metric in _OVERALL
        if (num_classes == 2 or metric.average != "positive class") and (prevalence or not metric.prevalence)
    )


def published_rows(positive: str | None) -> list[tuple[str, str]]:
    """Return title and name of each row of the table that opens a comparison, in the words of published tables.

    Args:
        positive: positive class of two; None: more classes, whose means are weighted.
    """
    names = ("recall_weighted", "precision_weighted", "f1_weighted")
    if positive is not None:
        names = ("sensitivity", "ppv", "f1_positive")
    titles = [f"{title} ({positive or 'weighted'})" for title in ("Recall", "Precision", "F1 Score")]
    plain = [(metric_label(name, 2 if positive else None), name) for name in ("auroc_macro", "balanced_accuracy")]
    return [("Accuracy", "accuracy"), *zip(titles, names, strict=True), *plain]


def metric_label(name: str, num_classes: int | None = None) -> str:
    """Return the label of a metric for people.

    Args:
        name: name of a known metric.
        num_classes: number of classes, where it is known: for two of them the mean AUROC is that of either.
    """
    metric = METRICS[name]
    return metric.binary_label if num_classes == 2 and metric.binary_label else metric.label


def metric_phrase(name: str) -> str:
    """Return the label of a metric as it is written inside a sentence."""
    return METRICS[name].phrase


def metric_title(name: str, num_classes: int | None = None) -> str:
    """Return the label of a metric as the title of a plot, which says where lower is better."""
    return metric_label(name, num_classes) + (" (lower is better)" if METRICS[name].lower_is_better else "")


def suggest_metric(typed: str, known: Iterable[str]) -> str:
    """Return the metric or monitor nearest to what was typed as a question, or nothing.

    Args:
        typed: name, the beginning of one, or a label.
        known: names to choose from, with or without the prefix of a monitor.
    """
    words = {_logged_name(name): name for name in known}
    word = _logged_name(typed).strip().lower().replace(" ", "_")
    labelled = [name for name in words if name in METRICS and METRICS[name].label.lower().replace(" ", "_") == word]
    begun = [name for name in words if word and name.startswith(word)]
    nearest = [*labelled, *begun, *get_close_matches(word, words, n=1, cutoff=0.6)]
    return f"did you mean '{words[nearest[0]]}'? " if nearest else ""


def monitor_names(metrics: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names that an epoch logs on validation and a checkpoint may be chosen by."""
    return ("val/loss", *(f"val/{name}" for name in metrics))


def monitor_mode(monitor: str) -> Literal["min", "max"]:
    """Return ``min`` for a monitor whose smaller values are better (a loss), and ``max`` for all others."""
    metric = METRICS.get(_logged_name(monitor))
    return "min" if metric is not None and metric.lower_is_better else "max"


def monitor_label(monitor: str) -> str:
    """Return the label of a monitor for people; one that is no known metric is shown as it is."""
    metric = METRICS.get(_logged_name(monitor))
    return monitor if metric is None else metric.label


def monitor_phrase(monitor: str) -> str:
    """Return what a monitor is called inside a sentence; one that is no known metric is shown as it is."""
    metric = METRICS.get(_logged_name(monitor))
    return monitor if metric is None else f"validation {metric.phrase}"


def monitored_metric(monitor: str) -> str:
    """Return the name of the test metric that corresponds to a monitor: the log loss to the loss."""
    name = _logged_name(monitor)
    return "log_loss" if name == "loss" else name


def _logged_name(monitor: str) -> str:
    return monitor.rpartition("/")[2]
