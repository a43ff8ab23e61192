"""The pictures of an overview, those of each dataset."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medclf.metric_registry import METRICS, metric_title, monitor_label, monitor_phrase, monitored_metric
from medclf.overview.run_groups import RunGroup
from medclf.overview.run_means import get_value
from medclf.overview.tables import find_differing_keys
from medclf.plots.style import COLOURS, DPI, GREY, Plot, escape_label, new_axes
from medclf.utils.csv_tables import read_numbers
from medclf.utils.errors import DataError
from medclf.utils.file_names import safe_file_name

MOST = 40
"""Settings in a forest plot; a picture of more is too tall to read."""
PANELS = 4
COLOURED = len(COLOURS) - 1
"""Settings with a colour of their own, where they share axes; black is hard to tell from the grey of the others."""


def draw_overview_plots(settings: Sequence[RunGroup], metrics: Sequence[str]) -> list[Plot]:
    """Draw a forest plot, validation against test, and validation curves, the last two for each monitor."""
    pictures: list[Plot] = []
    for dataset in dict.fromkeys(setting.dataset for setting in settings):
        own = [setting for setting in settings if setting.dataset == dataset]
        name = _name(dataset, pictures)
        pictures.append(forest_plot(name, own, metrics))
        for place, monitor in enumerate(dict.fromkeys(setting.monitor for setting in own)):
            alike = [setting for setting in own if setting.monitor == monitor]
            suffix = f"_{place + 1}" if place else ""
            found = scatter_plot(f"{name}{suffix}", alike), curves_plot(f"{name}{suffix}", alike)
            pictures += [picture for picture in found if picture is not None]
    return pictures


def _name(dataset: str, before: Sequence[Plot]) -> str:
    """The dataset as part of a file's name that no other has."""
    name = safe_file_name(dataset, words_only=True)
    taken = {picture.name for picture in before}
    while f"forest_{name}" in taken:
        name += "_"
    return name


def forest_plot(name: str, settings: Sequence[RunGroup], metrics: Sequence[str]) -> Plot:
    """Draw a panel per metric, a line per setting: the mean over runs with its interval, each run as a dot."""
    shown, panels = settings[:MOST], metrics[:PANELS]
    labels = [escape_label(_label(setting), 60) for setting in shown]
    room = 0.3 + 0.075 * max(len(label) for label in labels)
    size = (room + 2.6 * len(panels), 1.0 + 0.3 * len(shown))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels, strict=True):
        _forest_panel(axes, shown, metric)
        axes.set_title(metric_title(metric), fontsize="medium")
    first = figure.axes[0]
    first.set_yticks(range(len(shown)), labels, fontsize=8)
    for tick, setting in zip(first.get_yticklabels(), shown, strict=True):
        tick.set_fontweight("bold" if setting.best else "normal")
    first.set_ylim(len(shown) - 0.5, -0.5)
    figure.supxlabel("on test", fontsize=9)
    some = [f"the {len(shown)} best of {len(settings)} by validation"] if len(shown) < len(settings) else []
    some += [f"the first {len(panels)} of {len(metrics)} metrics"] if len(panels) < len(metrics) else []
    caption = (
        f"{settings[0].dataset}: test metrics of each setting{', ' + ' and '.join(some) if some else ''}. Large: the "
        "mean over its runs, with the 95 % interval; small: the single runs. Bold and orange: the best by validation."
    )
    return Plot(f"forest_{name}", figure, caption, _forest_data(settings, metrics))


def _forest_panel(axes: Axes, settings: Sequence[RunGroup], metric: str) -> None:
    for place, setting in enumerate(settings):
        colour, mean = COLOURS[1 if setting.best else 0], setting.test[metric]
        if math.isnan(mean.value):
            axes.text(0.5, place, "not defined", transform=axes.get_yaxis_transform(), ha="center", va="center",
                      fontsize=7, color="#555555")  # fmt: skip
            continue
        if not math.isnan(mean.low):
            axes.hlines(place, mean.low, mean.high, color=colour, linewidth=1.6)
        if len(setting.done) > 1:
            runs = [get_value(entry, metric) for entry in setting.done]
            axes.plot(runs, [place + 0.24] * len(runs), "o", color=GREY, markersize=2.6, alpha=0.8)
        axes.plot(mean.value, place, "o", color=colour, markersize=5.5)
    axes.grid(True, axis="x", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)
    axes.locator_params(axis="x", nbins=5)


def _forest_data(settings: Sequence[RunGroup], metrics: Sequence[str]) -> pd.DataFrame:
    rows = []
    for setting in settings:
        for metric in metrics:
            mean = setting.test[metric]
            kind = {"number": setting.number, "model": setting.model, "metric": metric}
            rows.append(kind | {"run": "mean", "value": mean.value, "low": mean.low, "high": mean.high})
            rows += [kind | {"run": entry.run.shown, "value": get_value(entry, metric)} for entry in setting.done]
    return pd.DataFrame(rows)


def _label(setting: RunGroup) -> str:
    differs = find_differing_keys(setting, short=True)
    return f"{setting.label}: {differs}" if differs else setting.label


def scatter_plot(name: str, settings: Sequence[RunGroup]) -> Plot | None:
    """Plot the monitored metric on validation against test, a dot per run; None if test lacks the metric.

    Args:
        name: part of the file's.
        settings: of one dataset and monitor.
    """
    monitor = settings[0].monitor
    metric = monitored_metric(monitor)
    if metric not in METRICS:
        return None
    rows = [
        {"number": setting.number, "run": entry.run.shown, "validation": entry.validation,
         "test": get_value(entry, metric)}
        for setting in settings for entry in setting.done if entry.metrics is not None
    ]  # fmt: skip
    data = pd.DataFrame(rows).dropna(subset=["validation", "test"])
    if data.empty:
        return None
    figure, axes = new_axes(6.4, 5.0)
    for place, setting in reversed(list(enumerate(settings))):
        own = data[data["number"] == setting.number]
        axes.plot(own["validation"], own["test"], "o", markersize=5, **_look(place, setting, len(settings)))
        if place < COLOURED:
            axes.plot(own["validation"].mean(), own["test"].mean(), "D", markersize=8, markeredgecolor="black",
                      markeredgewidth=0.8, color=_colour(place))  # fmt: skip
    if "loss" not in metric:
        limits = axes.get_xlim(), axes.get_ylim()
        axes.axline((0, 0), slope=1, color="black", linewidth=0.7, linestyle=":", zorder=1)
        axes.set(xlim=limits[0], ylim=limits[1])
    axes.set_xlabel(f"validation: {monitor_label(monitor)}")
    axes.set_ylabel(f"test: {METRICS[metric].label}")
    _legend(figure, axes)
    caption = (
        f"{settings[0].dataset}: {monitor_phrase(monitor)} of the chosen checkpoint against test "
        f"{METRICS[metric].phrase}, a dot a run, a diamond the mean of a setting"
        + ("; dotted: equal." if "loss" not in metric else ".")
    )
    return Plot(f"validation_and_test_{name}", figure, caption, data)


def curves_plot(name: str, settings: Sequence[RunGroup]) -> Plot | None:
    """Plot the monitored validation metric by epoch, a line per run; None if no run has a history.

    Args:
        name: part of the file's.
        settings: of one dataset and monitor.
    """
    monitor = settings[0].monitor
    histories = [(place, entry.run.shown, _history(entry.run.history, monitor))
                 for place, setting in enumerate(settings) for entry in setting.done]  # fmt: skip
    known = [(place, run, history) for place, run, history in histories if history is not None and len(history)]
    if not known:
        return None
    figure, axes = new_axes(6.8, 5.0)
    named: set[int] = set()
    for place, _, history in sorted(known, key=lambda one: -one[0]):
        look = _look(place, settings[place], len(settings))
        look["label"] = "_nolegend_" if place in named else look["label"]
        named.add(place)
        look["marker"] = "." if len(history) == 1 else ""
        axes.plot(history["epoch"], history[monitor], linewidth=1.0, **look)
    axes.set_xlabel("epoch")
    axes.set_ylabel(escape_label(monitor_label(monitor), 40))
    axes.locator_params(axis="x", integer=True)
    _legend(figure, axes)
    data = pd.concat([history.assign(number=settings[place].number, run=run) for place, run, history in known])
    caption = f"{settings[0].dataset}: {monitor_phrase(monitor)} of each epoch, a line a finished run."
    return Plot(f"validation_curves_{name}", figure, caption, data)


def _history(path: object, monitor: str) -> pd.DataFrame | None:
    try:
        return read_numbers(Path(str(path)))[["epoch", monitor]].dropna()
    except (DataError, KeyError):  # not there, damaged, or without this metric
        return None


def _look(place: int, setting: RunGroup, settings: int) -> dict[str, Any]:
    label = escape_label(_label(setting), 70) if place < COLOURED else "_nolegend_"
    if place == COLOURED:
        label = f"the other {settings - COLOURED}"
    return {"color": _colour(place), "label": label, "alpha": 0.75 if place < COLOURED else 0.3}


def _colour(place: int) -> str:
    return COLOURS[place] if place < COLOURED else GREY


def _legend(figure: Figure, axes: Axes) -> None:
    """In the order of the table, though the best were drawn last, over the others."""
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda at: (labels[at].startswith("the other"), -at))
    figure.set_figheight(figure.get_figheight() + 0.17 * len(labels))
    figure.legend([handles[at] for at in order], [labels[at] for at in order], fontsize=8,
                  loc="outside lower center", frameon=False)  # fmt: skip
