"""The picture of a search."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from medclf.metric_registry import monitor_label
from medclf.plots.style import COLOURS, DPI, GREY, Plot, escape_label

COLUMNS = 4
PANELS = 8


@dataclass(frozen=True)
class SearchTrials:
    """A search: its objective, a row a trial, the best trial's number, its keys.

    ``choices`` has the values of those keys that have few; ``bounds`` low, high and scale (linear, log) of the others.
    """

    monitor: str
    table: pd.DataFrame
    best: int
    keys: Sequence[str]
    choices: dict[str, list[str]]
    bounds: dict[str, tuple[float, float, str]]


def search_plot(searched: SearchTrials) -> Plot:
    """Plot the value of each trial with the best so far, and a panel for each of the first eight keys."""
    keys = list(searched.keys)[:PANELS]
    rows = -(-len(keys) // COLUMNS)
    figure = Figure(figsize=(3.2 * COLUMNS, 3.0 + 2.7 * rows), dpi=DPI, layout="constrained")
    grid = figure.add_gridspec(1 + rows, COLUMNS, height_ratios=[3.0, *[2.7] * rows])
    _draw_trials(figure.add_subplot(grid[0, :]), searched)
    for place, key in enumerate(keys):
        axes = figure.add_subplot(grid[1 + place // COLUMNS, place % COLUMNS])
        _draw_key(axes, searched, key)
        if place % COLUMNS == 0:
            axes.set_ylabel(escape_label(monitor_label(searched.monitor)), fontsize=8)
    caption = "Each trial of the search and the best so far; below, the value by each setting that was searched."
    return Plot("search", figure, caption, searched.table)


def _draw_trials(axes: Axes, searched: SearchTrials) -> None:
    table, done = searched.table, searched.table.dropna(subset=["value"])
    broken = table[table["value"].isna()]
    axes.plot(done["trial"], done["value"], "o", color=COLOURS[0], markersize=5, alpha=0.7, label="trial")
    axes.step(done["trial"], done["best_so_far"], where="post", color=GREY, linewidth=1.4, label="best so far")
    best = table[table["trial"] == searched.best]
    axes.plot(
        best["trial"],
        best["value"],
        "*",
        color=COLOURS[1],
        markersize=13,
        clip_on=False,
        label=f"best: trial {searched.best}",
    )
    if not broken.empty:
        low = [0.03] * len(broken)
        axes.plot(broken["trial"], low, "x", color="black", transform=axes.get_xaxis_transform(), label="not finished")
    axes.set_xlabel("trial", fontsize=8)
    axes.set_ylabel(escape_label(monitor_label(searched.monitor)), fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _tidy(axes)


def _draw_key(axes: Axes, searched: SearchTrials, key: str) -> None:
    done = searched.table.dropna(subset=["value"])
    done = done[done[key].notna()]
    places = done[key]
    if key in searched.choices:
        names = searched.choices[key]
        places = places.astype(str).map(names.index)
        shown = [escape_label(name, 14) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=20 if max(map(len, shown)) > 8 else 0)
        axes.set_xlim(-0.5, len(names) - 0.5)
    else:
        low, high, scale = searched.bounds[key]
        axes.set_xscale(scale)
        axes.set_xlim(low, high)
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.plot(places, done["value"], "o", color=COLOURS[0], markersize=4.5, alpha=0.6)
    best = done["trial"] == searched.best
    axes.plot(places[best], done["value"][best], "*", color=COLOURS[1], markersize=12, clip_on=False)
    axes.set_title(escape_label(key, 30), fontsize=9)
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.tick_params(labelsize=8)
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
