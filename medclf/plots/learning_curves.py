import pandas as pd
from matplotlib.figure import Figure

from medclf.metric_registry import LEARNING_CURVES, metric_label
from medclf.plots.style import DPI, Plot, get_line_style

COLUMNS = 3
PANELS = 6


def learning_curves_plot(history: pd.DataFrame, best_epoch: int | None, num_classes: int | None = None) -> Plot | None:
    """Loss and metrics of train and validation by epoch, a panel each; None where no epoch was logged.

    Args:
        history: a row an epoch, columns ``epoch`` and ``train/<metric>``, ``val/<metric>``.
        best_epoch: of the checkpoint that was tested.
        num_classes: number of classes, where it is known.
    """
    logged = [name for name in LEARNING_CURVES if any(f"{part}/{name}" in history for part in ("train", "val"))]
    names = logged[:PANELS]
    if history.empty or not names:
        return None
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.7 * rows), dpi=DPI, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels, names, strict=False):
        for place, part in enumerate(("train", "val")):
            if f"{part}/{name}" in history:
                values = history[["epoch", f"{part}/{name}"]].dropna()
                axes.plot(
                    *values.to_numpy().T, marker=".", markersize=4, linewidth=1.3, label=part, **get_line_style(place)
                )
        if best_epoch is not None:
            axes.axvline(best_epoch, color="black", linewidth=0.8, linestyle=":")
        axes.set_title(metric_label(name, num_classes), fontsize="medium")
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(True, color="#e4e4e4", linewidth=0.6)
    panels[0].legend(fontsize=8)
    caption = "Loss and metrics by epoch; dotted: the epoch whose checkpoint validation chose."
    return Plot("learning_curves", figure, caption, history)
