"""What is compared: run folders and predictions tables, and how each is called."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from medclf.config.run_file_schemas import read_metrics, validate_keys, verify_run_file
from medclf.evaluation.predictions_io import load_predictions
from medclf.utils.errors import DataError
from medclf.utils.json_yaml import flatten, read_yaml
from medclf.utils.run_folder import Run


@dataclass(frozen=True)
class Source:
    """A classifier as its run folder or CSV file tells of it.

    ``names`` become longer, and the last one is no other's; ``stored`` is what metrics.json holds.
    """

    path: Path
    table: pd.DataFrame
    names: tuple[str, ...]
    model: str
    seed: int | None
    positive: str | None
    stored: dict[str, Any]


class _Settings(NamedTuple):
    """What the comparison needs of config.yaml."""

    model: str | None = None
    seed: int | None = None
    positive: str | None = None


def read_sources(paths: Sequence[Path], positive: str | None = None) -> dict[str, Source]:
    """Read two or more run folders or predictions tables: by label.

    Args:
        paths: of them.
        positive: the positive class where a run has stored none.

    Raises:
        DataError: where there is one alone or one twice, or one is not there, not finished or damaged.
    """
    _refuse_repeated(paths)
    sources = [_read(path, positive) for path in paths]
    return dict(zip(assign_labels([source.names for source in sources]), sources, strict=True))


def _refuse_repeated(paths: Sequence[Path]) -> None:
    if len(paths) < 2:
        raise DataError(f"{paths[0]}: is one run, and a comparison needs two or more")
    seen: dict[Path, Path] = {}
    for path in paths:
        file = (Run(path).predictions if path.is_dir() else path).resolve()
        if file in seen:
            raise DataError(f"{seen[file]} and {path}: are the same run, given twice")
        seen[file] = path


def _read(path: Path, positive: str | None) -> Source:
    if not path.exists():
        raise DataError(f"{path}: there is no such run folder, and no such file")
    if path.is_dir():
        return _read_run(path, positive)
    return Source(path, load_predictions(path), _tails(path.with_suffix("")), path.stem, None, positive, {})


def _read_run(path: Path, positive: str | None) -> Source:
    run = Run(path)
    if run.status is None:
        raise DataError(f"{path}: is no run folder (run.json is not there); a predictions table is named by its file")
    if run.status != "finished":
        raise DataError(f"{path}: this run has not finished, its status is '{run.status}'")
    if not run.predictions.is_file():
        raise DataError(f"{path}: this run has no predictions.csv")
    model, seed, configured = _settings(run.config)
    verify_run_file(run, run.predictions)
    stored = read_metrics(run) if run.metrics.is_file() else {}
    tails = _tails(path)
    names = (model, f"{model} seed {seed}", f"{model} seed {seed} {tails[0]}", *tails) if model else tails
    stated = stored.get("positive") or positive or configured
    return Source(path, load_predictions(run.predictions), names, names[0], seed, stated, stored)


def _tails(path: Path) -> tuple[str, ...]:
    """The path's last part, its last two, and so on to the whole."""
    parts = path.resolve().parts
    return tuple(Path(*parts[-count:]).as_posix() for count in range(1, len(parts) + 1))


def _settings(path: Path) -> _Settings:
    if not path.is_file():
        return _Settings()
    content = flatten(read_yaml(path))
    validate_keys(path, content)
    return _Settings(*(content.get(key) for key in ("model.name", "seed", "dataset.positive")))


def assign_labels(names: Sequence[tuple[str, ...]]) -> list[str]:
    """Return for each the shortest of its names that no other has; the last ones must differ."""
    length = [0] * len(names)
    while True:
        chosen = [own[at] for own, at in zip(names, length, strict=True)]
        alike = [at for at, name in enumerate(chosen) if chosen.count(name) > 1 and length[at] + 1 < len(names[at])]
        if not alike:
            return chosen
        for at in alike:
            length[at] += 1


def has_several_seeds(sources: Iterable[Source]) -> bool:
    """Return whether every model occurs with at least two seeds."""
    seeds: dict[str, set[int]] = {}
    for source in sources:
        seeds.setdefault(source.model, set()).update([] if source.seed is None else [source.seed])
    return all(len(own) > 1 for own in seeds.values())
