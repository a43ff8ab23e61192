"""The runs below some folders, as their records tell of them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from medclf.errors import DataError
from medclf.runs import Run, read_json

ITS_OWN = ("seed", "resume", "resume_from", "sweep", "dataset.splits.seed", "dataset.splits.fold", "dataset.store",
           "dataset.num_workers", "trainer.enable_progress_bar", "trainer.enable_model_summary")  # fmt: skip
"""What may differ among the runs of one setting: they are its repetitions."""


@dataclass(frozen=True)
class Entry:
    """A run: its configuration (flat, by key), its record, and the metrics that it left, if it finished."""

    run: Run
    config: dict[str, Any]
    record: dict[str, Any]
    metrics: dict[str, Any] | None

    @property
    def status(self) -> str:
        """Running (or killed), interrupted, failed or finished."""
        return str(self.record["status"])

    @property
    def dataset(self) -> str:
        """Its name."""
        return str(self.config.get("dataset.name", "?"))

    @property
    def model(self) -> str:
        """Its name."""
        return str(self.config.get("model.name", "?"))

    @property
    def setting(self) -> dict[str, Any]:
        """The configuration without seeds, folds and what changes no outcome."""
        return {key: value for key, value in self.config.items() if key not in ITS_OWN}

    @property
    def setting_id(self) -> str:
        """Tells whether two runs repeat each other."""
        return hashlib.sha256(json.dumps(self.setting, sort_keys=True).encode()).hexdigest()[:8]


def entries(runs: Iterable[Run]) -> list[Entry]:
    """What is known of each run.

    Raises:
        DataError: for a record or a configuration that is damaged.
    """
    return [_entry(run) for run in runs]


def runs_below(folders: Sequence[Path]) -> list[Run]:
    """Every run in or below the folders, in order, each once.

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
        found |= {record.parent.resolve(): Run(record.parent) for record in records}
    return list(found.values())


def _entry(run: Run) -> Entry:
    record = read_json(run.record) if run.record.is_file() else {"status": "not begun"}
    finished = record.get("status") == "finished" and run.metrics.is_file()
    return Entry(run, _config(run), record, read_json(run.metrics) if finished else None)


def _config(run: Run) -> dict[str, Any]:
    path = run.config if run.config.is_file() else run.folder / ".hydra" / "config.yaml"
    if not path.is_file():
        return {}
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except Exception as error:  # those of YAML's parser and of OmegaConf have no parent in common
        raise DataError(f"{path}: cannot be read: {error}") from error
    return flat(content)


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; lists and empty dicts are values."""
    out: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        out |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return out
