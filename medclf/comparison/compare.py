"""A comparison from its runs to its differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from medclf.comparison.choice import BINARY, chosen_metrics, chosen_predictions
from medclf.comparison.paired_tests import Difference, compare
from medclf.comparison.sources import read_all, several_seeds
from medclf.evaluation.bootstrap import check_resamples
from medclf.evaluation.estimates import Metrics, estimate
from medclf.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Comparison:
    """Classifiers by label, what was estimated of them, and how they differ.

    ``origins`` say where each comes from and at which operating point; ``several_seeds`` whether every model is there
    with two seeds or more.
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
        """The labels of each pair."""
        return list(combinations(self.runs, 2))

    @property
    def test(self) -> Predictions:
        """The first classifier's predictions: the images are the same for all."""
        return next(iter(self.runs.values()))


def compared(
    paths: Sequence[Path], metrics: str | None, positive: str | None, rule: str | None, resamples: int, seed: int
) -> Comparison:
    """Read runs and compare them.

    Args:
        paths: of run folders or predictions tables.
        metrics: names joined by commas; by default those for the number of classes.
        positive: the positive class where a run has stored none; by default the last of two.
        rule: of the operating point where a run brings none; by default ``half``.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: where an option does not fit the runs.
        DataError: where the runs cannot be read or compared.
    """
    sources = read_all(paths, positive)
    columns = len(sources) * (len(BINARY) if metrics is None else metrics.count(",") + 1)
    check_resamples("--resamples ", resamples, columns)
    runs, origins = chosen_predictions(sources, positive, rule)
    return between(runs, origins, resamples, seed, metrics, several_seeds(sources.values()))


def between(
    runs: Mapping[str, Predictions],
    origins: Mapping[str, str],
    resamples: int,
    seed: int,
    metrics: str | None = None,
    several: bool = False,
) -> Comparison:
    """Compare predictions.

    Args:
        runs: by label, predictions whose images, patients, classes and positive class are the same.
        origins: where each comes from, and at which operating point.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        metrics: names joined by commas; by default those for the number of classes.
        several: whether every model is there with two seeds or more.

    Raises:
        ConfigError: where there is no such metric.
    """
    found = {label: estimate(predictions, resamples, seed) for label, predictions in runs.items()}
    names = chosen_metrics(metrics, next(iter(found.values())))
    differences = compare(runs, found, names, resamples, seed)
    return Comparison(runs, found, differences, origins, several, resamples, seed)
