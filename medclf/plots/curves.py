"""Curves of a split: ROC, precision-recall, reliability, scores, net benefit."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from medclf.evaluation.curves import (
    decision_curve,
    precision_recall_curve,
    reliability_curve,
    roc_curve,
    score_histogram,
)
from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.metric_intervals import Metrics
from medclf.evaluation.predictions import Predictions
from medclf.metric_registry import metric_label
from medclf.plots.style import (
    COLOURS,
    GREY,
    Plot,
    add_legend,
    escape_label,
    get_line_style,
    new_axes,
    select_shown_classes,
)

BANDS = 5
"""Classes up to which bands can be told apart; their data hold them for more too."""


def draw_curve_plots(evaluation: Evaluation) -> list[Plot]:
    """Draw the curves of the test split; those for two classes only where there are two."""
    pictures = [roc_plot(evaluation), precision_recall_plot(evaluation)]
    pictures += [reliability_plot(evaluation), histogram_plot(evaluation)]
    if evaluation.test.positive is not None:
        pictures.append(decision_plot(evaluation))
    return pictures


def roc_plot(evaluation: Evaluation) -> Plot:
    """ROC curves with their bands, and the operating point."""
    data = roc_curve(evaluation.test, evaluation.config.seed)
    shown, note = _most_frequent(evaluation.test, data)
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    _curves(axes, shown, "false_positive_rate", "sensitivity", evaluation.metrics["test"], "auroc")
    found = evaluation.metrics["test"].overall
    if "specificity" in found and len(data):
        at = (1 - found["specificity"].value, found["sensitivity"].value)
        axes.plot(*at, "o", color="black", markersize=6, label=f"operating point {evaluation.point.threshold:.3g}")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_title(f"ROC curve, test, n = {len(evaluation.test)}", fontsize="medium")
    add_legend(figure, axes)
    caption = f"ROC curve with its pointwise 95 % band (bootstrap of patients).{note}"
    return Plot("roc_curve", figure, caption, data)


def precision_recall_plot(evaluation: Evaluation) -> Plot:
    """Precision-recall curves with their bands; the dotted line is what chance gives."""
    test = evaluation.test
    data = precision_recall_curve(test, evaluation.config.seed)
    shown, note = _most_frequent(test, data)
    figure, axes = new_axes()
    for place, label in enumerate(shown["class"].unique()):
        share = float((test.target == test.classes.index(label)).mean())
        axes.axhline(share, color=COLOURS[place % len(COLOURS)], linewidth=0.8, linestyle=":")
    _curves(axes, shown, "recall", "precision", evaluation.metrics["test"], "average_precision")
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_title(f"Precision-recall curve, test, n = {len(test)}", fontsize="medium")
    add_legend(figure, axes)
    caption = "Precision-recall curve with its pointwise 95 % band; dotted: the share of the class, which chance gives."
    return Plot("precision_recall_curve", figure, caption + note, data)


def _most_frequent(test: Predictions, data: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows of the classes that one plot has room for, and what its caption adds."""
    places, note = select_shown_classes(np.bincount(test.target, minlength=len(test.classes)))
    return data[data["class"].isin([test.classes[place] for place in places])], note


def _curves(axes: Axes, data: pd.DataFrame, x: str, y: str, metrics: Metrics, name: str) -> None:
    for place, (label, rows) in enumerate(data.groupby("class", sort=False)):
        line = get_line_style(place)
        text = f"{escape_label(str(label))}: {metric_label(name)} {metrics.per_class[str(label)][name]}"
        axes.plot(rows[x], rows[y], label=text, linewidth=1.8, **line)
        if data["class"].nunique() <= BANDS:
            axes.fill_between(rows[x], rows["low"], rows["high"], color=line["color"], alpha=0.15, linewidth=0)
    if data.empty:
        axes.text(0.5, 0.5, "not defined: one class only", ha="center", va="center")


def reliability_plot(evaluation: Evaluation) -> Plot:
    """Draw observed against predicted frequencies, before and after temperature scaling."""
    test = evaluation.test
    figure, axes = new_axes()
    frames = {"before": reliability_curve(test), "after": reliability_curve(evaluation.calibrated)}
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for place, (when, rows) in enumerate(frames.items()):
        error = evaluation.calibration[when]["calibration_error"]
        text = f"{when} (temperature {evaluation.temperature.value:.2f})" if when == "after" else when
        distances = [rows["share"] - rows["low"], rows["high"] - rows["share"]]
        axes.errorbar(
            rows["probability"], rows["share"], yerr=distances, marker="os"[place], markersize=5, capsize=2,
            linewidth=1.2, elinewidth=0.8, label=f"{text}: ECE {error}", **get_line_style(place),
        )  # fmt: skip
    what = "the most probable class" if test.positive is None else test.classes[test.positive]
    axes.set(xlabel=f"predicted probability of {escape_label(what)}", ylabel="share that came true")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"Reliability, test, n = {len(test)}", fontsize="medium")
    add_legend(figure, axes)
    data = pd.concat([rows.assign(temperature=when) for when, rows in frames.items()], ignore_index=True)
    caption = (
        "Reliability before and after the temperature fitted on validation; bars: Wilson's 95 % interval of images."
    )
    return Plot("reliability", figure, caption, data)


def histogram_plot(evaluation: Evaluation) -> Plot:
    """Draw the distribution of the scores of each class."""
    test = evaluation.test
    data = score_histogram(test)
    shown, note = _most_frequent(test, data)
    figure, axes = new_axes()
    for place, (label, rows) in enumerate(shown.groupby("class", sort=False)):
        edges = [*rows["from"], 1.0]
        text = f"{escape_label(str(label))} (n = {rows['images'].sum()})"
        axes.stairs(rows["images"], edges, fill=True, color=get_line_style(place)["color"], alpha=0.2)
        axes.stairs(rows["images"], edges, linewidth=1.6, label=text, **get_line_style(place))
    threshold = evaluation.point.threshold
    if threshold is not None and test.positive is not None:
        axes.axvline(threshold, color="black", linewidth=1, linestyle="--", label=f"threshold {threshold:.3g}")
    whose = "the true class" if test.positive is None else test.classes[test.positive]
    axes.set(xlabel=f"predicted probability of {escape_label(whose)}", ylabel="images", xlim=(-0.01, 1.01))
    axes.set_title(f"Scores, test, n = {len(test)}", fontsize="medium")
    add_legend(figure, axes)
    return Plot("score_histogram", figure, f"How the predicted probabilities of {whose} are spread.{note}", data)


def decision_plot(evaluation: Evaluation) -> Plot:
    """Net benefit against treating all and treating nobody."""
    test = evaluation.calibrated
    assert test.positive is not None
    data = decision_curve(test, evaluation.config.seed)
    figure, axes = new_axes()
    axes.plot(data["threshold"], data["net_benefit"], linewidth=1.8, label="model", **get_line_style(0))
    axes.fill_between(data["threshold"], data["low"], data["high"], color=COLOURS[0], alpha=0.15, linewidth=0)
    axes.plot(data["threshold"], data["treat_all"], linewidth=1.2, color=COLOURS[1], linestyle="--", label="treat all")
    axes.axhline(0, color="black", linewidth=1, label="treat nobody")
    top = max(float(data["high"].max()), 0.05)
    axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-top / 4, top * 1.1))
    axes.set_title(f"Decision curve, test, n = {len(test)}", fontsize="medium")
    add_legend(figure, axes)
    caption = "Net benefit of acting on the calibrated probability (Vickers and Elkin 2006) with its 95 % band."
    return Plot("decision_curve", figure, caption, data)
