"""All runs as one table: a row a setting, its seeds and folds together."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from medclf.metric_registry import LEADERBOARD
from medclf.overview.run_groups import RunGroup, group_runs, training_seconds
from medclf.overview.run_means import PooledMean, Resampler, get_value
from medclf.overview.runs import EMPTY, RunEntry
from medclf.utils.errors import format_list
from medclf.utils.text_escaping import escape_markdown, markdown_table

LONGEST = 48
"""Characters of a value in a cell; CSV files have them all."""


def leaderboard(entries: Sequence[RunEntry], metrics: Sequence[str] = LEADERBOARD) -> str:
    """Return the settings as a Markdown table, with the best on validation marked and unfinished runs named."""
    settings = group_runs(entries, Resampler(metrics, resamples=1000, seed=0), begun=True)
    head, rows = format_cells(settings, metrics)
    # nothing refers to their numbers here
    parts = [markdown_table(head[1:], [row[1:] for row in rows])] if settings else ["No run has finished."]
    return "\n\n".join([*parts, READING, *format_unfinished(entries)]) + "\n"


READING = (
    "Mean over runs ± sd between them [95 % interval of the mean: bootstrap of patients, the same for all runs]. "
    "The best is chosen by the mean on validation, and the test shows what it is worth; whoever chooses by the test "
    "columns makes the figures of his choice too good."
)


def format_cells(
    settings: Sequence[RunGroup],
    metrics: Sequence[str],
    columns: Sequence[str] = (),
    label: Callable[[str], str] = str,
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table as text.

    Args:
        settings: in order.
        metrics: of test.
        columns: keys of the configuration to be shown.
        label: returns what a metric is called; by default its name.
    """
    head = ["#", "dataset", "model", "differs in", *columns, "runs", "test images (patients)", "validation"]
    head += [*(f"test {label(name)}" for name in metrics), "training"]
    rows = []
    for setting in settings:
        row = [str(setting.number), setting.dataset, setting.model + (" (best)" if setting.best else "")]
        row += [find_differing_keys(setting), *(collect_values(setting, key) for key in columns), setting.runs]
        row += [f"{setting.images} ({setting.patients})", f"{setting.monitor} {setting.validation}"]
        row += [str(setting.test[name]) for name in metrics]
        rows.append([*row, "" if math.isnan(setting.seconds) else f"{setting.seconds:.0f} s"])
    return head, rows


def find_differing_keys(setting: RunGroup, short: bool = False) -> str:
    """Return the keys that distinguish a setting: ``optimizer.lr=0.01``, shortened to the last part of each."""
    if short:
        return ", ".join(_short(key, value) for key, value in setting.differs.items())
    return ", ".join(f"{key}={_cell(value)}" for key, value in setting.differs.items())


def _short(key: str, value: Any) -> str:
    parts = key.split(".")
    if parts[-1] == "_target_":
        return f"{parts[-2]}={str(value).rpartition('.')[2]}"
    return f"{parts[-1]}={_cell(value)}"


def collect_values(setting: RunGroup, key: str) -> str:
    """Return the values that a setting's finished runs have for a key."""
    values = {_cell(entry.config[key]): None for entry in setting.done if key in entry.config}
    return format_list(values, 6)


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
    text = "null" if value is None else text
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}…{text[-LONGEST // 2 + 1 :]}"


def list_reasons(settings: Sequence[RunGroup], label: Callable[[str], str] = str) -> list[str]:
    """Return in sentences why a mean, or its interval, is not there; ``label`` returns what a metric is called."""
    return [
        f"{setting.label} of {setting.dataset}: {'' if math.isnan(mean.value) else 'the interval of '}test "
        f"{label(name)} is not defined: {mean.reason}."
        for setting in settings
        for name, mean in setting.test.items()
        if mean.reason
    ]


def select_unfinished(entries: Sequence[RunEntry]) -> list[tuple[str, str, str]]:
    """Folder, status and what is known of the cause of each run that has no results."""
    return [(entry.run.shown, _status(entry), _cause(entry)) for entry in entries if entry.test is None]


def _status(entry: RunEntry) -> str:
    return "running, or killed" if entry.status == "running" else entry.status


def _cause(entry: RunEntry) -> str:
    if entry.status == EMPTY:
        return "it has no metrics.json, as after trainer.fast_dev_run"
    return " ".join((entry.problem or str(entry.record.get("error", ""))).split())


def format_unfinished(entries: Sequence[RunEntry]) -> list[str]:
    """Return a paragraph and a list of unfinished runs, or nothing."""
    lines = [
        f"- {escape_markdown(run)}: {escape_markdown(status)}" + (f": {escape_markdown(cause)}" if cause else "")
        for run, status, cause in select_unfinished(entries)
    ]
    return ["Not finished, and in no figure:", "\n".join(lines)] if lines else []


def build_settings_frame(settings: Sequence[RunGroup], columns: Sequence[str] = ()) -> pd.DataFrame:
    """Return a row per setting with every figure in a column."""
    rows = []
    for setting in settings:
        row: dict[str, Any] = {"number": setting.number, "dataset": setting.dataset, "model": setting.model}
        row |= {key: collect_values(setting, key) for key in columns} | setting.differs
        row |= {"best": setting.best, "runs": len(setting.entries), "finished": len(setting.done)}
        row |= {"test_images": setting.images, "test_patients": setting.patients, "monitor": setting.monitor}
        row |= {"validation": setting.validation.value, "validation_sd": setting.validation.sd}
        for name, mean in setting.test.items():
            row |= _columns(f"test_{name}", mean)
        rows.append(row | {"training_seconds_median": setting.seconds})
    return pd.DataFrame(rows)


def _columns(name: str, mean: PooledMean) -> dict[str, float | str]:
    interval = {f"{name}_sd": mean.sd, f"{name}_low": mean.low, f"{name}_high": mean.high}
    return {name: mean.value, **interval, f"{name}_reason": mean.reason}


def build_runs_frame(
    entries: Sequence[RunEntry], settings: Sequence[RunGroup], metrics: Sequence[str], columns: Sequence[str] = ()
) -> pd.DataFrame:
    """Return a row per run, unfinished ones included; ``number`` is that of its setting."""
    number = {id(entry): setting.number for setting in settings for entry in setting.entries}
    rows = []
    for entry in entries:
        row: dict[str, Any] = {"run": entry.run.shown, "status": entry.status, "number": number.get(id(entry))}
        row |= {"dataset": entry.dataset, "model": entry.model}
        row |= dict(zip(("seed", "split_seed", "fold"), entry.repetition, strict=True))
        row |= {key: entry.config.get(key) for key in columns}
        row |= {"monitor": entry.monitor, "validation": (entry.metrics or {}).get("monitor_value")}
        row |= {"epoch": (entry.metrics or {}).get("epoch")}
        row |= {f"test_{name}": get_value(entry, name) for name in metrics}
        row |= {"training_seconds": training_seconds(entry), "device": entry.record.get("device")}
        rows.append(row | {"started": entry.record.get("started"), "problem": _cause(entry)})
    frame = pd.DataFrame(rows)
    whole = ["number", "epoch", "seed", "split_seed", "fold"]
    return frame.astype({name: "Int64" for name in whole if pd.api.types.is_float_dtype(frame[name])})
