import pandas as pd
from matplotlib.figure import Figure

from medclf.figures.style import COLOURS, DPI, Picture


def subgroup_picture(data: pd.DataFrame) -> Picture | None:
    """Each metric of each subgroup with its interval, a panel a metric; None where there are no subgroups."""
    if data.empty:
        return None
    metrics = list(data["metric"].unique())
    groups = data.drop_duplicates(["column", "value"])
    labels = [f"{row.column} = {row.value} (n = {row.n})" for row in groups.itertuples()]
    figure = Figure(figsize=(2.2 + 2.3 * len(metrics), 1.2 + 0.32 * len(labels)), dpi=DPI, layout="constrained")
    for panel, (axes, metric) in enumerate(
        zip(figure.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True)
    ):
        rows = data[data["metric"] == metric].reset_index(drop=True)
        axes.hlines(rows.index, rows["low"], rows["high"], color=COLOURS[0], linewidth=1.5)
        axes.plot(rows["estimate"], rows.index, "o", color=COLOURS[0], markersize=5)
        for place in rows.index[rows["estimate"].isna()]:
            axes.text(0.5, place, "too few to judge", ha="center", va="center", fontsize=7, color="#555555")
        axes.set(xlim=(-0.02, 1.02), ylim=(len(labels) - 0.5, -0.5))
        axes.set_title(metric, fontsize="medium")
        axes.set_yticks(range(len(labels)), labels if panel == 0 else [""] * len(labels), fontsize=8)
        axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    return Picture("subgroups", figure, "Metrics within subgroups, with their 95 % intervals.", data)
