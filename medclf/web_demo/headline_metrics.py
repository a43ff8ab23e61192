"""How good a model is, as its run tells. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medclf.config.run_files import read_metrics
from medclf.inference.metadata import ModelMetadata
from medclf.utils.run_dir import Run

SHOWN = {
    "auroc_macro": "mean AUROC",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
}
SHOWN_BINARY = {"auroc_macro": "AUROC", "sensitivity": "sensitivity", "specificity": "specificity"}


class HeadlineMetric(NamedTuple):
    """A metric of the test split: its value, its 95 % interval or nothing, and of how many images it tells."""

    name: str
    value: str
    interval: str
    n: int


def get_headline_metrics(path: Path, facts: ModelMetadata) -> list[HeadlineMetric]:
    """The test metrics that lie in the run folder of a ``best.json``; none where it lies in no run folder.

    Raises:
        DataError: when they are there and damaged.
    """
    run = Run(path.absolute().parent.parent)
    if not run.metrics.is_file():
        return []
    test: Mapping[str, Any] = read_metrics(run).get("test") or {}
    names = SHOWN_BINARY if len(facts.classes) == 2 else SHOWN
    return [_figure(test, name, shown) for name, shown in names.items() if test.get(name) is not None]


def _figure(test: Mapping[str, Any], name: str, shown: str) -> HeadlineMetric:
    low, high = test.get("interval_95", {}).get(name, (None, None))
    interval = "" if low is None else f"{low:.3f} to {high:.3f}"
    return HeadlineMetric(shown, f"{test[name]:.3f}", interval, test.get("n_of", {}).get(name, 0))
