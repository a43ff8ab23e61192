"""What of the classifiers is compared: predictions at which operating point, and which metrics."""

from collections.abc import Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from medclf.comparison.alignment import aligned
from medclf.comparison.sources import Source
from medclf.config.paths import conf_dir
from medclf.config.schema import Evaluation, validated
from medclf.evaluation.estimates import Metrics
from medclf.evaluation.operating_point import OperatingPoint, choose
from medclf.evaluation.predictions import Predictions, classes_of, split_of
from medclf.utils.errors import ConfigError, DataError, did_you_mean, listed

BINARY = (
    "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "f1_positive", "auroc_macro", "brier",
    "log_loss",
)  # fmt: skip
MULTICLASS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc_macro", "brier", "log_loss", "mcc")


def chosen_predictions(
    sources: Mapping[str, Source], positive: str | None, rule: str | None
) -> tuple[dict[str, Predictions], dict[str, str]]:
    """The predictions of the same test images at each one's operating point, and in words where they come from.

    Args:
        sources: by label.
        positive: the positive class as typed.
        rule: for those that bring no operating point, as typed; by default ``half``.

    Raises:
        ConfigError: where what was typed has no use.
        DataError: where the test images or the positive classes are not the same.
    """
    if rule and all(source.stored.get("operating_point") for source in sources.values()):
        raise ConfigError(f"--operating-point {rule}: every one of these runs brings its own")
    tables = aligned({label: source.table for label, source in sources.items()})
    positive = _positive(sources, classes_of(next(iter(tables.values()))), positive)
    points = {label: _point(source, positive, rule or "half") for label, source in sources.items()}
    runs = {
        label: split_of(table, "test", positive, points[label].threshold, points[label].gate)
        for label, table in tables.items()
    }
    return runs, {label: f"{source.path.as_posix()}; {points[label].words}" for label, source in sources.items()}


def _positive(sources: Mapping[str, Source], classes: Sequence[str], typed: str | None) -> str | None:
    """The positive class that all agree on; by default the last of two."""
    if len(classes) > 2:
        if typed:
            raise ConfigError(f"--positive {typed}: is for two classes; these runs have {len(classes)}")
        return None
    stated = {label: source.positive for label, source in sources.items() if source.positive}
    stated |= {"--positive": typed} if typed else {}
    if len(set(stated.values())) > 1:
        raise DataError(f"the positive class differs: {listed(f'{label}: {name}' for label, name in stated.items())}")
    for label, name in stated.items():
        if name not in classes:
            hint = did_you_mean(name, classes)
            raise DataError(f"{label}: {name}: is none of {listed(classes)}; {hint}".rstrip("; "))
    return next(iter(stated.values()), classes[-1])


def _point(source: Source, positive: str | None, rule: str) -> OperatingPoint:
    """The one that the run has chosen, or chosen here on its validation images."""
    if source.stored.get("operating_point"):
        return OperatingPoint(**source.stored["operating_point"])
    config = OmegaConf.load(conf_dir() / "evaluation" / "default.yaml")
    assert isinstance(config, DictConfig)
    return choose(split_of(source.table, "val", positive), validated(config, Evaluation), rule)


def chosen_metrics(typed: str | None, found: Metrics) -> list[str]:
    """The metrics typed, or those for the number of classes.

    Raises:
        ConfigError: where there is no such metric.
    """
    if typed is None:
        return list(BINARY if len(found.per_class) == 2 else MULTICLASS)
    names = list(dict.fromkeys(name.strip() for name in typed.split(",")))
    for name in names:
        if name not in found.overall:
            hint = did_you_mean(name, found.overall)
            raise ConfigError(f"--metrics {name}: there is no such metric; {hint}Known: {listed(found.overall, 50)}")
    return names
