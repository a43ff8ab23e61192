"""How good a model is, as its run tells. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medclf.config.run_file_schemas import read_metrics
from medclf.inference.model_metadata import ModelMetadata
from medclf.metric_registry import demo_names, metric_label
from medclf.utils.run_folder import Run


class HeadlineMetric(NamedTuple):
    """A metric of the test split: its label, its value, its 95 % interval or nothing, and the images that it counts."""

    label: str
    value: str
    interval: str
    n: int


def get_headline_metrics(path: Path, facts: ModelMetadata) -> list[HeadlineMetric]:
    """Return the test metrics of the run that a ``best.json`` lies in; none outside a run.

    Raises:
        DataError: when they are there and damaged.
    """
    run = Run(path.absolute().parent.parent)
    if not run.metrics.is_file():
        return []
    test: Mapping[str, Any] = read_metrics(run).get("test") or {}
    count = len(facts.classes)
    names = [name for name in demo_names(count) if test.get(name) is not None]
    return [_figure(test, name, metric_label(name, count)) for name in names]


def _figure(test: Mapping[str, Any], name: str, label: str) -> HeadlineMetric:
    low, high = test.get("interval_95", {}).get(name, (None, None))
    interval = "" if low is None else f"{low:.3f} to {high:.3f}"
    return HeadlineMetric(label, f"{test[name]:.3f}", interval, test.get("n_of", {}).get(name, 0))
