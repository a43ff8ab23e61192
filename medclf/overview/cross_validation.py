"""The predictions of k folds as one table: every image was once a test image of a network that had not seen it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from medclf.evaluation.metric_intervals import Metrics, estimate_metrics
from medclf.evaluation.predictions import Predictions, select_split
from medclf.overview.run_groups import RunGroup
from medclf.overview.runs import PATIENCE, RunEntry
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import DataError, format_list


@dataclass(frozen=True)
class OutOfFold:
    """The test predictions of all folds of a setting and a seed, each decided by its own network, judged as one."""

    setting: RunGroup
    seed: Any
    split_seed: Any
    folds: int
    predictions: Predictions
    metrics: Metrics

    @property
    def label(self) -> str:
        """Return the name of the joined folds in tables and plots."""
        cut = f", split seed {self.split_seed}" if self.split_seed else ""
        return f"{self.setting.label}, seed {self.seed}{cut}"


def join_folds(settings: Sequence[RunGroup], resamples: int, seed: int) -> tuple[list[OutOfFold], list[str]]:
    """Return the joined tables, and sentences about what could not be joined.

    Args:
        settings: of which some have runs with ``dataset.splits.folds``.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    found, notes = [], []
    groups: dict[tuple[int, Any, Any], list[RunEntry]] = {}
    numbered = {setting.number: setting for setting in settings}
    for setting in settings:
        for entry in setting.done:
            if entry.config.get("dataset.splits.folds"):
                groups.setdefault((setting.number, *entry.repetition[:2]), []).append(entry)
    for (number, own_seed, split_seed), entries in tqdm(groups.items(), "Joining folds", leave=False, delay=PATIENCE):
        setting, folds = numbered[number], int(entries[0].config["dataset.splits.folds"])
        reason = _obstacle(entries, folds)
        if reason:
            notes.append(f"{setting.label}, seed {own_seed}: no out-of-fold table: {reason}.")
            continue
        joined = _joined(entries)
        metrics = estimate_metrics(joined, resamples, seed, entries[0].config.get("evaluation.prevalence"))
        found.append(OutOfFold(setting, own_seed, split_seed, folds, joined, metrics))
    return found, notes


def _obstacle(entries: Sequence[RunEntry], folds: int) -> str:
    """Why these are not all folds, or not of the same images."""
    there = [int(entry.config.get("dataset.splits.fold", -1)) for entry in entries]
    missing = [fold for fold in range(folds) if fold not in there]
    if missing:
        return f"of {folds} folds there is no finished run of fold {format_list(missing)}"
    if len(there) > folds:
        twice = sorted({fold for fold in there if there.count(fold) > 1})
        return f"there are several runs of fold {format_list(twice)}"
    tests = [entry.test for entry in entries if entry.test is not None]
    if len({(tuple(test.classes), test.positive) for test in tests}) > 1:
        return "the classes, or the positive one, are not the same in all folds"
    paths = pd.Index([path for test in tests for path in test.table["path"]])
    if paths.has_duplicates:
        twice = paths[paths.duplicated()].unique()
        return f"{len(twice)} images are in the test part of several folds ({format_list(twice, 3)})"
    absent = pd.Index(_all_paths(entries[0])).difference(paths)
    return f"{len(absent)} images are in the test part of no fold ({format_list(absent, 3)})" if len(absent) else ""


def _all_paths(entry: RunEntry) -> list[str]:
    try:
        return list(read_frame(entry.run.splits, ["path"])["path"])
    except DataError:  # not there, or damaged: then nothing is known of images in no fold
        return []


def _joined(entries: Sequence[RunEntry]) -> Predictions:
    ordered = sorted(entries, key=lambda entry: int(entry.config["dataset.splits.fold"]))
    frames, predicted = [], []
    for entry in ordered:
        assert entry.test is not None
        decided = np.asarray(entry.test.classes)[entry.test.predicted]
        frames.append(entry.test.table.assign(fold=str(entry.config["dataset.splits.fold"]), predicted_class=decided))
        predicted.append(entry.test.predicted)
    test = ordered[0].test
    assert test is not None
    positive = None if test.positive is None else test.classes[test.positive]
    joined = select_split(pd.concat(frames, ignore_index=True), "test", positive)
    return replace(joined, predicted=np.concatenate(predicted))  # each fold has a threshold of its own
