"""The runs below some folders: what each was told, how it went, and what it predicts of its test images."""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from medclf.config.run_file_schemas import read_metrics, read_record, validate_keys, verify_run_file
from medclf.evaluation.predictions import Predictions, select_split
from medclf.evaluation.predictions_io import load_predictions
from medclf.utils.errors import DataError
from medclf.utils.json_yaml import flatten, read_yaml
from medclf.utils.run_folder import Run

ITS_OWN = (
    "seed", "resume", "resume_from", "sweep", "logger", "dataset.splits.seed", "dataset.splits.fold", "dataset.store",
    "dataset.num_workers", "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.log_every_n_steps",
    "evaluation.resamples", "evaluation.seed", "evaluation.subgroups", "evaluation.plots", "evaluation.gallery",
    "evaluation.grad_cam",
)  # fmt: skip
"""What may differ among the runs of one setting: they are its repetitions."""
FOUND = {"tune.lr": "optimizer.lr", "tune.batch_size": "dataset.batch_size"}
"""By the key that has each run search for it, what is then its own."""
DAMAGED, EMPTY = "damaged", "finished without results"
PATIENCE = 5
"""Seconds before a bar is shown, so that short work has none."""


@dataclass(frozen=True)
class RunEntry:
    """A run: its flat configuration and its record; if it finished, its metrics and its test predictions.

    Those are at the run's own operating point. ``problem`` says what is wrong in the files of a damaged run.
    """

    run: Run
    config: dict[str, Any]
    record: dict[str, Any]
    metrics: dict[str, Any] | None = None
    test: Predictions | None = None
    problem: str = ""

    @property
    def status(self) -> str:
        """``finished``, or ``running`` (or killed), ``interrupted``, ``failed``, ``damaged`` and the like."""
        if self.problem:
            return DAMAGED
        status = str(self.record["status"])
        return EMPTY if status == "finished" and self.metrics is None else status

    @property
    def dataset(self) -> str:
        """Return the name of the dataset."""
        return str(self.config.get("dataset.name", "?"))

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return str(self.config.get("model.name", "?"))

    @property
    def monitor(self) -> str:
        """Return the validation metric that chose the checkpoint."""
        return str((self.metrics or {}).get("monitor") or self.config.get("monitor", "?"))

    @property
    def validation(self) -> float:
        """Return the monitored value at that checkpoint; NaN without one."""
        value = (self.metrics or {}).get("monitor_value")
        return math.nan if value is None else float(value)

    @property
    def repetition(self) -> tuple[Any, ...]:
        """Return the seed, split seed and fold: what differs between runs of one setting."""
        return tuple(self.config.get(key) for key in ("seed", "dataset.splits.seed", "dataset.splits.fold"))

    @cached_property
    def setting(self) -> dict[str, Any]:
        """Return the configuration without seeds, folds and keys that change no outcome."""
        own = {*ITS_OWN, *(key for search, key in FOUND.items() if self.config.get(search))}
        return {key: value for key, value in self.config.items() if not own & {key, key.partition(".")[0]}}

    @cached_property
    def setting_id(self) -> str:
        """Tells whether two runs repeat each other."""
        content = json.dumps(self.setting, sort_keys=True, default=str)
        return hashlib.sha256(content.encode()).hexdigest()[:8]


def select_finished(entries: Iterable[RunEntry]) -> list[RunEntry]:
    """Return the runs that have results."""
    return [entry for entry in entries if entry.test is not None]


def read_runs(runs: Sequence[Run]) -> list[RunEntry]:
    """Return the record of each run, damaged ones marked as such, with a progress bar if it takes long."""
    return [_entry(run) for run in tqdm(runs, "Reading runs", leave=False, delay=PATIENCE)]


def find_runs(folders: Sequence[Path]) -> list[Run]:
    """Return every run in or below the folders, in order, each once.

    Raises:
        DataError: for a folder that is not there, or where no run is.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder")
        records = sorted(folder.rglob("run.json"))
        if not records:
            raise DataError(f"{folder}: no run is there, nor below (no run.json)")
        for record in records:
            found.setdefault(record.parent.resolve(), Run(record.parent))
    return list(found.values())


def _entry(run: Run) -> RunEntry:
    config: dict[str, Any] = {}
    record: dict[str, Any] = {"status": "not begun"}
    try:
        config = _config(run)
        if run.record.is_file():
            record = read_record(run)
        if record["status"] != "finished" or not (run.metrics.is_file() or run.predictions.is_file()):
            return RunEntry(run, config, record)
        metrics = _metrics(run)
        return RunEntry(run, config, record, metrics, _test(run, metrics))
    except DataError as error:
        return RunEntry(run, config, record, problem=str(error))


def _config(run: Run) -> dict[str, Any]:
    path = run.config if run.config.is_file() else run.folder / ".hydra" / "config.yaml"
    if not path.is_file():
        return {}
    content = flatten(read_yaml(path))
    validate_keys(path, content)
    return content


def _metrics(run: Run) -> dict[str, Any]:
    metrics = read_metrics(run)
    if metrics.get("test") is None:
        raise DataError(f"{run.metrics}: is no file of metrics of a run: 'test' is missing")
    return metrics


def _test(run: Run, metrics: dict[str, Any]) -> Predictions:
    """The test predictions at the run's own operating point."""
    verify_run_file(run, run.predictions)
    table = load_predictions(run.predictions)
    point = metrics.get("operating_point") or {}
    if not isinstance(point, dict) or not isinstance(point.get("threshold"), int | float | None):
        raise DataError(f"{run.metrics}: its operating_point cannot be read")
    positive = metrics.get("positive")
    if positive is not None and f"prob_{positive}" not in table:
        raise DataError(f"{run.predictions}: has no column prob_{positive}, the positive class of {run.metrics.name}")
    gate = point.get("gate")
    if gate is not None and f"prob_{gate}" not in table:
        raise DataError(f"{run.predictions}: has no column prob_{gate}, which {run.metrics.name} holds back")
    rows = table[table["split"] == "test"].reset_index(drop=True)
    return select_split(_interned(rows), "test", positive, point.get("threshold"), gate)


def _interned(table: pd.DataFrame) -> pd.DataFrame:
    """With one copy of each text: hundreds of runs name the same images."""
    text = [name for name in table if all(isinstance(value, str) for value in table[name])]
    return table.assign(**{str(name): table[name].map(sys.intern).astype(object) for name in text})
