from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medclf.evaluation.curves import confusion_matrix
from medclf.evaluation.predictions import Predictions
from medclf.plots.style import DPI, Plot, escape_label, select_shown_classes


def confusion_plot(predictions: Predictions, part: str) -> Plot:
    """Draw the confusion matrix of a split; of many classes the most frequent, as shares of all their images."""
    counts = confusion_matrix(predictions)
    figure = confusion_matrix_figure(counts.to_numpy(), predictions.classes, f"{part}, n = {len(predictions)}")
    note = select_shown_classes(counts.to_numpy().sum(1))[1]
    caption = f"Confusion matrix of the {part} split: counts, and shares of each true class.{note}"
    return Plot(f"confusion_matrix_{part}", figure, caption, counts.rename_axis("true_class"))


def confusion_matrix_figure(counts: NDArray[np.int64], classes: Sequence[str], title: str) -> Figure:
    """Counts, and shares of each true class as shades, true classes downwards; of many classes the most frequent.

    Args:
        counts: shape (true class, predicted class).
        classes: names in order.
        title: stands above.
    """
    places, _ = select_shown_classes(counts.sum(1))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    counts, shares = (cells[np.ix_(places, places)] for cells in (counts, shares))
    names = [escape_label(classes[place]) for place in places]
    side, room = 2.4 + 0.9 * len(names), 0.08 * max(0, max(map(len, names)) - 14)
    figure = Figure(figsize=(side + 0.8 + room, side + room), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        label = f"{count}\n{share:.0%}" if counts[row].sum() else f"{count}"
        axes.text(column, row, label, ha="center", va="center", color="white" if share > 0.5 else "black")
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(title, fontsize="medium")
    figure.colorbar(picture, label="share of the true class", shrink=0.8)
    return figure
