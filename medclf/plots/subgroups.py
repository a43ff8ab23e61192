import pandas as pd
from matplotlib.figure import Figure

from medclf.metric_registry import metric_label
from medclf.plots.style import COLOURS, DPI, Plot, escape_label

MOST = 60


def subgroup_plot(data: pd.DataFrame, num_classes: int | None = None) -> Plot | None:
    """Draw each metric of each subgroup with its interval, a panel a metric; None where there are no subgroups.

    Where there are more than 60, as of a column that names each patient, the first 60 of those that can be judged.

    Args:
        data: table of subgroups and their metrics.
        num_classes: number of classes, where it is known.
    """
    shown = _shown(data)
    if shown.empty:
        return None
    metrics = list(shown["metric"].unique())
    groups = shown.drop_duplicates(["column", "value"])
    labels = [
        f"{escape_label(str(row.column))} = {escape_label(str(row.value))} (n = {row.n})" for row in groups.itertuples()
    ]
    room = 0.08 * max(map(len, labels))
    figure = Figure(figsize=(0.6 + room + 2.3 * len(metrics), 1.2 + 0.32 * len(labels)), dpi=DPI, layout="constrained")
    for panel, (axes, metric) in enumerate(
        zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True)
    ):
        rows = shown[shown["metric"] == metric].reset_index(drop=True)
        axes.hlines(rows.index, rows["low"], rows["high"], color=COLOURS[0], linewidth=1.5)
        axes.plot(rows["estimate"], rows.index, "o", color=COLOURS[0], markersize=5)
        for place in rows.index[rows["estimate"].isna()]:
            axes.text(0.5, place, "too few to judge", ha="center", va="center", fontsize=7, color="#555555")
        axes.set(xlim=(-0.02, 1.02), ylim=(len(labels) - 0.5, -0.5))
        axes.set_title(metric_label(metric, num_classes), fontsize="medium")
        axes.set_yticks(range(len(labels)), labels if panel == 0 else [""] * len(labels), fontsize=8)
        axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    left_out = len(data) - len(shown)
    caption = "Metrics within subgroups, with their 95 % intervals" + (", some of them." if left_out else ".")
    return Plot("subgroups", figure, caption, data)


def _shown(data: pd.DataFrame) -> pd.DataFrame:
    groups = data[["column", "value"]].drop_duplicates()
    if len(groups) > MOST:
        groups = data.loc[data["estimate"].notna(), ["column", "value"]].drop_duplicates()[:MOST]
    return data.merge(groups, on=["column", "value"])
