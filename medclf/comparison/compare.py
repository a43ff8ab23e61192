"""A comparison from its runs to its differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from medclf.comparison.alignment import align_predictions
from medclf.comparison.paired_tests import Difference, compute_differences
from medclf.comparison.sources import Source, has_several_seeds, read_sources
from medclf.config.conf_folder import conf_dir
from medclf.config.schema import EvaluationConfig, validate_config
from medclf.evaluation.bootstrap import validate_resamples
from medclf.evaluation.metric_intervals import Metrics, estimate_metrics
from medclf.evaluation.operating_point import OperatingPoint, choose_operating_point
from medclf.evaluation.predictions import Predictions, get_classes, select_split
from medclf.metric_registry import comparison_names, suggest_metric
from medclf.utils.errors import ConfigError, DataError, format_list, suggest


@dataclass(frozen=True)
class Comparison:
    """Classifiers by label, what was estimated of them, and how they differ.

    ``origins`` say where each comes from and at which operating point; ``several_seeds`` whether every model is
    there with two seeds or more.
    """

    runs: Mapping[str, Predictions]
    found: Mapping[str, Metrics]
    differences: Sequence[Difference]
    origins: Mapping[str, str]
    several_seeds: bool
    resamples: int
    seed: int

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return the labels of each pair."""
        return list(combinations(self.runs, 2))

    @property
    def test(self) -> Predictions:
        """Return the first classifier's predictions; the images are the same for all."""
        return next(iter(self.runs.values()))


def compare_sources(
    paths: Sequence[Path],
    metrics: Sequence[str] | None,
    positive: str | None,
    rule: str | None,
    resamples: int,
    seed: int,
) -> Comparison:
    """Read runs and compare them.

    Args:
        paths: of run folders or predictions tables.
        metrics: names; by default those for the number of classes.
        positive: the positive class where a run has stored none; by default the last of two.
        rule: of the operating point where a run brings none; by default ``half``.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: where an option does not fit the runs.
        DataError: where the runs cannot be read or compared.
    """
    sources = read_sources(paths, positive)
    columns = len(sources) * len(comparison_names(2) if metrics is None else metrics)
    validate_resamples(resamples, columns)
    runs, origins = select_predictions(sources, positive, rule)
    return compare_predictions(runs, origins, resamples, seed, metrics, has_several_seeds(sources.values()))


def compare_predictions(
    runs: Mapping[str, Predictions],
    origins: Mapping[str, str],
    resamples: int,
    seed: int,
    metrics: Sequence[str] | None = None,
    several: bool = False,
) -> Comparison:
    """Compare predictions.

    Args:
        runs: by label, predictions whose images, patients, classes and positive class are the same.
        origins: where each comes from, and at which operating point.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        metrics: names; by default those for the number of classes.
        several: whether every model is there with two seeds or more.

    Raises:
        ConfigError: where there is no such metric.
    """
    found = {label: estimate_metrics(predictions, resamples, seed) for label, predictions in runs.items()}
    names = select_metrics(metrics, next(iter(found.values())))
    differences = compute_differences(runs, found, names, resamples, seed)
    return Comparison(runs, found, differences, origins, several, resamples, seed)


def select_predictions(
    sources: Mapping[str, Source], positive: str | None, rule: str | None
) -> tuple[dict[str, Predictions], dict[str, str]]:
    """Return predictions of the same test images at each operating point, and a description of their origin.

    Args:
        sources: by label.
        positive: the positive class as typed.
        rule: for those that bring no operating point, as typed; by default ``half``.

    Raises:
        ConfigError: where what was typed has no use.
        DataError: where the test images or the positive classes are not the same.
    """
    if rule and all(source.stored.get("operating_point") for source in sources.values()):
        raise ConfigError(f"operating_point={rule}: every one of these runs brings its own")
    tables = align_predictions({label: source.table for label, source in sources.items()})
    positive = _positive(sources, get_classes(next(iter(tables.values()))), positive)
    points = {label: _point(source, positive, rule or "half") for label, source in sources.items()}
    runs = {
        label: select_split(table, "test", positive, points[label].threshold, points[label].gate)
        for label, table in tables.items()
    }
    return runs, {label: f"{source.path.as_posix()}; {points[label].words}" for label, source in sources.items()}


def _positive(sources: Mapping[str, Source], classes: Sequence[str], typed: str | None) -> str | None:
    """The positive class that all agree on; by default the last of two."""
    if len(classes) > 2:
        if typed:
            raise ConfigError(f"positive={typed}: is for two classes; these runs have {len(classes)}")
        return None
    stated = {label: source.positive for label, source in sources.items() if source.positive}
    stated |= {"positive": typed} if typed else {}
    if len(set(stated.values())) > 1:
        raise DataError(
            f"the positive class differs: {format_list(f'{label}: {name}' for label, name in stated.items())}"
        )
    for label, name in stated.items():
        if name not in classes:
            hint = suggest(name, classes)
            raise DataError(f"{label}: {name}: is none of {format_list(classes)}; {hint}".rstrip("; "))
    return next(iter(stated.values()), classes[-1])


def _point(source: Source, positive: str | None, rule: str) -> OperatingPoint:
    """The one that the run has chosen, or chosen here on its validation images."""
    if source.stored.get("operating_point"):
        return OperatingPoint(**source.stored["operating_point"])
    config = OmegaConf.load(conf_dir() / "evaluation" / "default.yaml")
    assert isinstance(config, DictConfig)
    return choose_operating_point(
        select_split(source.table, "val", positive), validate_config(config, EvaluationConfig), rule
    )


def select_metrics(typed: Sequence[str] | None, found: Metrics) -> list[str]:
    """Return the metrics typed, or the default ones for the number of classes.

    Raises:
        ConfigError: where there is no such metric.
    """
    if typed is None:
        return list(comparison_names(len(found.per_class)))
    names = list(dict.fromkeys(typed))
    for name in names:
        if name not in found.overall:
            hint = suggest_metric(name, found.overall)
            raise ConfigError(f"metrics={name}: there is no such metric; {hint}Known: {format_list(found.overall, 50)}")
    return names
