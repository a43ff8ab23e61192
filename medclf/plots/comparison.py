import math
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medclf.comparison.conclusions import is_concluded
from medclf.comparison.paired_tests import Difference
from medclf.metric_registry import metric_title
from medclf.plots.style import COLOURS, DPI, GREY, Plot, escape_label

MAX_PAIRS = 40
"""Pairs in a panel; a plot of more is too tall to read, and to draw."""
LABEL = 60
"""Characters of a classifier's name."""


def differences_plot(differences: Sequence[Difference], num_classes: int | None = None) -> Plot:
    """Draw a panel a metric: the difference of each pair with its interval, filled where a difference is concluded.

    Of more than 40 pairs the first 40.

    Args:
        differences: of every pair and metric.
        num_classes: number of classes, where it is known.
    """
    metrics = list(dict.fromkeys(row.metric for row in differences))
    every = len(differences) // len(metrics)
    pairs = min(every, MAX_PAIRS)
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    longest = max(len(escape_label(name, LABEL)) for row in differences for name in (row.first, row.second))
    size = (3.1 * columns + 0.2 + 0.075 * longest, lines * (1.05 + 0.42 * pairs) + 0.35)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes, metric in zip(grid.flat, metrics, strict=False):
        _panel(axes, [row for row in differences if row.metric == metric][:MAX_PAIRS])
        axes.set_title(metric_title(metric, num_classes), fontsize="medium")
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    caption = "Differences with 95 % intervals; filled and blue: a difference is concluded"
    caption += f"; the first {pairs} of {every} pairs" if pairs < every else ""
    figure.suptitle(textwrap.fill(caption, int(11 * size[0])), fontsize="medium")
    return Plot("differences", figure, f"{caption}.")


def _panel(axes: Axes, rows: Sequence[Difference]) -> None:
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        colour = COLOURS[0] if is_concluded(row) else GREY
        axes.hlines(place, row.low, row.high, color=colour, linewidth=1.6)
        axes.plot(row.difference, place, "o", color=colour, markerfacecolor=colour if is_concluded(row) else "white")
        if math.isnan(row.difference):
            axes.text(0.5, place, "not defined", transform=axes.get_yaxis_transform(), ha="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [_pair_label(row) for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _pair_label(row: Difference) -> str:
    return f"{escape_label(row.second, LABEL)}\n- {escape_label(row.first, LABEL)}"
