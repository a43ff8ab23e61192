"""A comparison of classifiers as a person reads it: tables, words, a picture, files."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medclf.evaluation.comparison import Difference
from medclf.evaluation.estimates import Estimate, Metrics
from medclf.evaluation.predictions import Predictions
from medclf.evaluation.summary import metrics_frame

BINARY = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "f1_positive", "auroc_macro", "brier",
    "log_loss",
)  # fmt: skip
MULTICLASS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "brier", "log_loss", "mcc")
LOSSES = ("brier", "log_loss", "calibration_error")
"""Metrics of which less is better."""
TRADED = ("sensitivity", "specificity", "ppv", "npv", "ppv_at_prevalence", "npv_at_prevalence")
"""Metrics of which one is had for the other, by another threshold."""
ALPHA = 0.05
DPI, COLOUR, GREY = 120, "#0072B2", "#767676"


@dataclass(frozen=True)
class Comparison:
    """Classifiers by label, what was estimated of them, and how they differ.

    ``origins`` say where each comes from and at which operating point; ``several_seeds`` whether every model is there
    with two seeds or more.
    """

    runs: Mapping[str, Predictions]
    found: Mapping[str, Metrics]
    differences: Sequence[Difference]
    origins: Mapping[str, str]
    several_seeds: bool
    resamples: int
    seed: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The labels of each pair."""
        return list(combinations(self.runs, 2))

    @property
    def test(self) -> Predictions:
        """The first classifier's predictions: the images are the same for all."""
        return next(iter(self.runs.values()))


def text(result: Comparison) -> str:
    """The comparison in Markdown: the metrics of each classifier, each pair's differences and conclusions, cautions."""
    origins = [f"- {label}: {origin}" for label, origin in result.origins.items()]
    parts = [_overview(result), "\n".join(origins)]
    for pair in result.pairs:
        rows = [row for row in result.differences if (row.first, row.second) == pair]
        parts += [_pair_table(rows, len(result.pairs)), "\n".join(_sentences(rows, len(result.pairs)))]
    return "\n\n".join([*parts, "\n".join(f"- {line}" for line in _cautions(result))]) + "\n"


def _overview(result: Comparison) -> str:
    test = result.test
    numbers = {name: at for at, name in enumerate(test.classes)}
    rows = [
        (title, *(_estimate(metrics.overall[name]) for metrics in result.found.values()))
        for title, name in _overview_rows(test)
    ]
    head = f"- **Classes:** `{numbers}`\n- **Test Data Size:** `{len(test)}`\n\n"
    return head + _table(("Metric", *result.found), rows) + _reasons(result)


def _overview_rows(test: Predictions) -> list[tuple[str, str]]:
    if test.positive is None:
        of, names = "weighted", ("recall_weighted", "precision_weighted", "f1_weighted")
    else:
        of, names = test.classes[test.positive], ("sensitivity", "ppv", "f1_positive")
    titles = [f"{title} ({of})" for title in ("Recall", "Precision", "F1 Score")]
    auroc = "AUROC" if test.positive is not None else "AUROC (macro)"
    ends = [(auroc, "auroc_macro"), ("Balanced accuracy", "balanced_accuracy")]
    return [("Accuracy", "accuracy"), *zip(titles, names, strict=True), *ends]


def _reasons(result: Comparison) -> str:
    shown = [(title, label, metrics.overall[name].reason) for title, name in _overview_rows(result.test)
             for label, metrics in result.found.items()]  # fmt: skip
    return "".join(f"\n\n{title} of {label}: {reason}" for title, label, reason in shown if reason)


def _pair_table(rows: Sequence[Difference], pairs: int) -> str:
    first, second = rows[0].first, rows[0].second
    corrected = ["p (Holm)"] if pairs > 1 else []
    cells = []
    for row in rows:
        difference = _valued(row.difference, row.low, row.high, "+")
        p_values = [_p(p).removeprefix("= ") for p in (row.p, row.p_holm)[: 1 + len(corrected)]]
        values = [_valued(value, math.nan, math.nan) for value in (row.first_value, row.second_value)]
        cells.append([row.metric, *values, difference, *p_values, row.test, str(row.n)])
    head = ["Metric", first, second, f"{second} minus {first}", "p", *corrected, "Test", "n"]
    return f"## {second} against {first}\n\n{_table(head, cells)}"


def _sentences(rows: Sequence[Difference], pairs: int) -> Iterator[str]:
    for row in rows:
        yield f"- {row.metric}: {conclusion(row, pairs)}"


def conclusion(row: Difference, pairs: int = 1) -> str:
    """What may be concluded of a difference, at 5 % after the correction for so many pairs."""
    if math.isnan(row.p):
        return f"cannot be compared: {row.reason}"
    p = f"p {_p(row.p_holm)}" + (f" after correction for {pairs} pairs" if pairs > 1 else "")
    disagree = f"the methods disagree, so nothing is concluded: {p} by {row.test}, but the interval of the bootstrap"
    if row.p_holm < ALPHA:
        return _winner(row, p) if _leaves_out_0(row) else f"{disagree}, {_span(row)}, contains 0"
    if row.p < ALPHA:
        return f"no difference can be concluded: p {_p(row.p)} for this pair alone, but {p}"
    if math.isnan(row.low):
        return f"no difference can be concluded: {p}; {row.reason}"
    if _leaves_out_0(row):
        return f"{disagree}, {_span(row)}, leaves out 0"
    if row.low == row.high:
        return "no difference can be concluded: they are equal in every resample"
    return f"no difference can be concluded: the data agree with {row.second} being {_range(row)}"


def is_concluded(row: Difference) -> bool:
    """Whether the test and the interval both say that there is a difference."""
    return row.p_holm < ALPHA and _leaves_out_0(row)


def _leaves_out_0(row: Difference) -> bool:
    return not row.low <= 0 <= row.high  # so does an interval that is not defined


def _winner(row: Difference, p: str) -> str:
    higher = row.second if row.difference > 0 else row.first
    lower = row.first if row.difference > 0 else row.second
    span = "" if math.isnan(row.low) else f" {_span(row, absolute=True)}"
    by = f"by {_short(abs(row.difference))}{span}, {p}"
    if row.metric in TRADED:
        return f"{higher} has the higher {row.metric}: {by}"
    if row.metric in LOSSES:
        return f"{lower} is better: {row.metric} lower {by}"
    return f"{higher} is better: {row.metric} higher {by}"


def _span(row: Difference, absolute: bool = False) -> str:
    ends = (row.low, row.high) if row.difference >= 0 or not absolute else (-row.high, -row.low)
    return "[{}, {}]".format(*map(_short, ends))


def _range(row: Difference) -> str:
    """From the worst to the best that the interval leaves open for the second."""
    low, high = (-row.high, -row.low) if row.metric in LOSSES else (row.low, row.high)
    worse, better = ("lower", "higher") if row.metric in TRADED else ("worse", "better")
    return f"{_short(abs(low))} {worse} to {_short(abs(high))} {better}"


def _cautions(result: Comparison) -> Iterator[str]:
    test = result.test
    yield f"All are of the same {len(test)} test images of {test.patients} patients."
    yield (
        "Intervals are of 95 %; those of differences by the paired bootstrap of patients, "
        f"{result.resamples} resamples of seed {result.seed}."
    )
    if not test.one_image_each:
        yield "Patients have several images, so every p-value is by the bootstrap too."
    yield (
        "p-values are corrected for the number of pairs by Holm (1979); metrics are not corrected for each other: "
        "choose one before you look."
    )
    smallest = 2 * len(result.pairs) / (result.resamples + 1)
    if smallest >= ALPHA:
        yield (
            f"{result.resamples} resamples are too few for {len(result.pairs)} pairs: no corrected p-value of the "
            f"bootstrap can be below {ALPHA}; type a larger --resamples."
        )
    yield (
        f"A difference is concluded where the corrected p is below {ALPHA} and the interval leaves out 0. "
        "That none can be concluded does not mean that there is none."
    )
    if any(row.metric in TRADED for row in result.differences):
        yield "Sensitivity is had for specificity by another threshold: look at both, or at AUROC."
    recipes = "" if result.several_seeds else ": another seed may turn the order"
    yield f"This compares these trained networks, not the recipes that they were trained by{recipes}."


def save(result: Comparison, written: str, folder: Path) -> None:
    """Write ``comparison.md``, ``comparison.csv`` (a pair and metric a row), ``table.csv`` and ``differences.png``.

    Raises:
        OSError: where the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "comparison.md").write_text(written, encoding="utf-8")
    rows = pd.DataFrame([vars(row) for row in result.differences])
    counts = ["only_first_right", "only_second_right"]
    rows[counts] = rows[counts].astype("Int64")
    rows["conclusion"] = [conclusion(row, len(result.pairs)) for row in result.differences]
    rows.to_csv(folder / "comparison.csv", index=False)
    metrics_frame(result.found).rename(columns={"split": "run"}).to_csv(folder / "table.csv", index=False)
    differences_figure(result.differences).savefig(folder / "differences.png")


def differences_figure(differences: Sequence[Difference]) -> Figure:
    """A panel a metric: the difference of each pair with its interval, filled where a difference is concluded."""
    metrics = list(dict.fromkeys(row.metric for row in differences))
    pairs = len(differences) // len(metrics)
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    longest = max(len(name) for row in differences for name in (row.first, row.second))
    size = (3.1 * columns + 0.2 + 0.075 * longest, lines * (1.05 + 0.42 * pairs) + 0.35)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        _panel(axes, [row for row in differences if row.metric == metric])
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    title = "Differences with 95 % intervals; filled and blue: a difference is concluded"
    figure.suptitle(textwrap.fill(title, int(11 * size[0])), fontsize="medium")
    return figure


def _panel(axes: Axes, rows: Sequence[Difference]) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        colour = COLOUR if is_concluded(row) else GREY
        axes.hlines(place, row.low, row.high, color=colour, linewidth=1.6)
        axes.plot(row.difference, place, "o", color=colour, markerfacecolor=colour if is_concluded(row) else "white")
        if math.isnan(row.difference):
            axes.text(0.5, place, "not defined", transform=axes.get_yaxis_transform(), ha="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [_pair_label(row) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(rows[0].metric + (" (less is better)" if rows[0].metric in LOSSES else ""), fontsize="medium")
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)


def _pair_label(row: Difference) -> str:
    return f"{row.second}\n- {row.first}".replace("$", r"\$")  # which Matplotlib would read as mathematics


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _estimate(found: Estimate) -> str:
    return _valued(found.value, found.low, found.high)


def _valued(value: float, low: float, high: float, sign: str = "") -> str:
    if math.isnan(value):
        return "NaN"
    interval = "" if math.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
    return f"{value:{sign}.4f}{interval}"


def _p(p: float) -> str:
    return "= NaN" if math.isnan(p) else "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def _short(value: float) -> str:
    """Three decimals, and two digits of what is small."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.2g}"
