"""All runs as one table: a row a setting, its seeds and folds together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from medclf.config.resolvers import monitor_mode
from medclf.overview.collect import Entry
from medclf.overview.pooled import Mean, mean_of, test_means

METRICS = ("accuracy", "balanced_accuracy", "auroc_macro")


@dataclass(frozen=True)
class Setting:
    """Runs that repeat each other: what sets them apart from others, their validation and their test."""

    dataset: str
    model: str
    differs: dict[str, Any]
    entries: list[Entry]
    monitor: str
    validation: Mean
    test: dict[str, Mean]
    seconds: float

    @property
    def finished(self) -> int:
        """How many of the runs have."""
        return sum(entry.status == "finished" for entry in self.entries)


def settings_of(entries: Sequence[Entry], metrics: Sequence[str] = METRICS) -> list[Setting]:
    """The settings, those of one dataset together, the best by validation first; those without a finished run last."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.dataset, entry.setting_id), []).append(entry)
    varied = _varied([members[0] for members in groups.values()])
    settings = [_setting(members, varied, metrics) for members in groups.values()]
    return sorted(settings, key=lambda setting: (setting.dataset, _rank(setting)))


def _rank(setting: Setting) -> float:
    value = setting.validation.value
    if math.isnan(value):
        return math.inf
    return value if monitor_mode(setting.monitor) == "min" else -value


def _setting(members: list[Entry], varied: Sequence[str], metrics: Sequence[str]) -> Setting:
    done = [entry for entry in members if entry.metrics is not None]
    first = members[0]
    validation = mean_of([float(entry.metrics["monitor_value"]) for entry in done if entry.metrics])
    seconds = [float(entry.record["training_seconds"]) for entry in done if "training_seconds" in entry.record]
    return Setting(
        first.dataset,
        first.model,
        {key: first.config[key] for key in varied if key in first.config},
        members,
        str(first.config.get("monitor", "?")),
        validation,
        test_means(done, metrics) if done else {name: Mean(math.nan) for name in metrics},
        float(pd.Series(seconds).median()) if seconds else math.nan,
    )


def _varied(firsts: Sequence[Entry]) -> list[str]:
    """The keys by which settings of one dataset and model differ, beside those that say nothing more."""
    keys: set[str] = set()
    for entry in firsts:
        alike = [other for other in firsts if (other.dataset, other.model) == (entry.dataset, entry.model)]
        for other in alike:
            names = entry.setting.keys() | other.setting.keys()
            keys |= {key for key in names if entry.setting.get(key) != other.setting.get(key)}
    return sorted(keys)


def frame_of(settings: Sequence[Setting]) -> pd.DataFrame:
    """A row a setting, every figure a column of its own."""
    rows = []
    for setting in settings:
        row: dict[str, Any] = {"dataset": setting.dataset, "model": setting.model, **setting.differs}
        row |= {"runs": len(setting.entries), "finished": setting.finished, "monitor": setting.monitor}
        row |= _columns("validation", setting.validation)
        for name, mean in setting.test.items():
            row |= _columns(f"test_{name}", mean)
        rows.append(row | {"training_seconds_median": setting.seconds})
    return pd.DataFrame(rows)


def _columns(name: str, mean: Mean) -> dict[str, float]:
    return {name: mean.value, f"{name}_sd": mean.sd, f"{name}_low": mean.low, f"{name}_high": mean.high}


def leaderboard(entries: Sequence[Entry], metrics: Sequence[str] = METRICS) -> str:
    """The settings as a Markdown table, the best by validation of each dataset marked, and unfinished runs by name."""
    settings = settings_of(entries, metrics)
    head = ["dataset", "model", "differs in", "runs", "validation", *(f"test {name}" for name in metrics), "training"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    best: set[str] = set()
    for setting in settings:
        mark = ""
        if setting.dataset not in best and not math.isnan(setting.validation.value):
            best.add(setting.dataset)
            mark = " (best)"
        differs = ", ".join(f"{key}={value}" for key, value in setting.differs.items())
        runs = (
            f"{setting.finished}"
            if setting.finished == len(setting.entries)
            else (f"{setting.finished} of {len(setting.entries)}")
        )
        cells = [setting.dataset, setting.model + mark, differs, runs, f"{setting.monitor} {setting.validation}"]
        cells += [str(setting.test[name]) for name in metrics]
        cells.append("" if math.isnan(setting.seconds) else f"{setting.seconds:.0f} s")
        lines.append(" | ".join(cells))
    table = "\n".join(f"| {line} |" for line in lines)
    said = (
        "Mean over runs ± sd between them [95 % interval: bootstrap of patients, the same for all runs]. The best is "
        "chosen on validation; the test figures of the best of many are too good by what choosing among them gained."
    )
    open_runs = [
        f"- {entry.run.shown}: {entry.status}" + (f": {entry.record['error']}" if "error" in entry.record else "")
        for entry in entries
        if entry.status != "finished"
    ]
    unfinished = "\n\nNot finished:\n\n" + "\n".join(open_runs) if open_runs else ""
    return f"{table}\n\n{said}{unfinished}\n"
