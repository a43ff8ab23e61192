"""Runs that repeat each other, together: which settings there are, and which is the best of a dataset."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from medclf.metric_registry import monitor_mode
from medclf.overview.run_means import PooledMean, Resampler, compute_mean, test_means
from medclf.overview.runs import PATIENCE, RunEntry, select_finished


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in their seeds and folds alone.

    ``number`` is its place in the table, ``differs`` what sets it apart from others of its dataset and model. It is
    ``best`` where the mean of its validation is the best of its dataset and monitor. ``images`` and ``patients`` are
    those that any of its runs was tested on, each once; ``seconds`` the median of training.
    """

    number: int
    dataset: str
    model: str
    monitor: str
    differs: dict[str, Any]
    entries: list[RunEntry]
    validation: PooledMean
    test: dict[str, PooledMean]
    images: int
    patients: int
    seconds: float
    best: bool = False

    @property
    def done(self) -> list[RunEntry]:
        """Return the finished runs."""
        return select_finished(self.entries)

    @property
    def label(self) -> str:
        """Return the name of the setting in tables and plots."""
        return f"#{self.number} {self.model}"

    @property
    def runs(self) -> str:
        """Return the number of runs, and how many of them count."""
        done, all_of_them = len(self.done), len(self.entries)
        return str(done) if done == all_of_them else f"{done} of {all_of_them}"


def group_runs(entries: Sequence[RunEntry], resampler: Resampler, begun: bool = False) -> list[RunGroup]:
    """Group runs by setting, by dataset and monitor, the best on validation first.

    Args:
        entries: all runs.
        resampler: for the intervals of their test metrics.
        begun: whether settings of which no run has finished, but one has begun to train, are wanted too, as the last.
    """
    groups: dict[tuple[str, str], list[RunEntry]] = {}
    for entry in entries:
        groups.setdefault((entry.dataset, entry.setting_id), []).append(entry)
    # before training begins a run has not its whole configuration
    members = [g for g in groups.values() if select_finished(g) or (begun and any(e.run.config.is_file() for e in g))]
    varied = _varied([group[0] for group in members])
    bar = tqdm(members, "Drawing patients", leave=False, delay=PATIENCE)
    settings = sorted((_setting(group, varied, resampler) for group in bar), key=_order)
    leaders = {(setting.dataset, setting.monitor): setting for setting in reversed(settings)}
    return [
        replace(
            setting, number=number, best=setting is leaders[setting.dataset, setting.monitor] and _is_ranked(setting)
        )
        for number, setting in enumerate(settings, start=1)
    ]


def _order(setting: RunGroup) -> tuple[str, str, float]:
    value = setting.validation.value
    rank = value if monitor_mode(setting.monitor) == "min" else -value
    return setting.dataset, setting.monitor, rank if _is_ranked(setting) else math.inf


def _is_ranked(setting: RunGroup) -> bool:
    return not math.isnan(setting.validation.value)


def _setting(members: list[RunEntry], varied: dict[tuple[str, str], list[str]], resampler: Resampler) -> RunGroup:
    done = select_finished(members)
    first = members[0]
    seconds = [seconds for entry in done if (seconds := training_seconds(entry)) is not None]
    tables = [entry.test.table for entry in done if entry.test is not None]
    return RunGroup(
        number=0,
        dataset=first.dataset,
        model=first.model,
        monitor=(done or members)[0].monitor,
        differs={key: first.setting.get(key) for key in varied[first.dataset, first.model]},
        entries=members,
        validation=compute_mean([entry.validation for entry in done]),
        test=test_means(done, resampler),
        images=len({path for table in tables for path in table["path"]}),
        patients=len({group for table in tables for group in table["group"]}),
        seconds=float(np.median(seconds)) if seconds else math.nan,
    )


def training_seconds(entry: RunEntry) -> float | None:
    """Return how long a run trained; None if its record does not say."""
    seconds = entry.record.get("training_seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def _varied(firsts: Iterable[RunEntry]) -> dict[tuple[str, str], list[str]]:
    """By dataset and model the keys in which its settings differ."""
    alike: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in firsts:
        alike.setdefault((entry.dataset, entry.model), []).append(entry.setting)
    return {kind: _differing(settings) for kind, settings in alike.items()}


def _differing(settings: Sequence[dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for setting in settings for key in setting)
    return [key for key in keys if len({json.dumps(setting.get(key), default=str) for setting in settings}) > 1]
