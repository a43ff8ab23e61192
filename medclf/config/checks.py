"""What a configuration's parts must be to each other, as far as it can be known without reading an image."""

import re
from pathlib import Path

from omegaconf import OmegaConf

from medclf.config.paths import conf_dir
from medclf.config.schema import Config, Dataset
from medclf.errors import ConfigError, did_you_mean, listed
from medclf.evaluation.names import metric_names, monitor_names


def check(config: Config) -> None:
    """Compare the parts of the configuration with each other.

    Raises:
        ConfigError: naming key, value and remedy of the first part that does not fit.
    """
    _check_trainer(config.trainer.model_dump())
    check_dataset(config.dataset)
    _check_weights(config.model.weights)
    check_monitor("monitor", config.monitor, config.dataset.classes)
    for name, callback in config.callbacks.items():
        if "monitor" in callback:
            check_monitor(f"callbacks.{name}.monitor", callback["monitor"], config.dataset.classes)


def check_monitor(key: str, monitor: str, classes: list[str] | None) -> None:
    """Refuse a monitor that no epoch logs. Unknown classes (None) allow the names of two classes too.

    Raises:
        ConfigError: with the valid names.
    """
    valid = monitor_names(metric_names(2 if classes is None else len(classes)))
    if monitor not in valid:
        raise ConfigError(
            f"{key}={monitor}: no epoch logs such a metric; {did_you_mean(monitor, valid)}Valid: {listed(valid, 40)}"
        )


def check_positive(positive: str | None, classes: list[str]) -> None:
    """Refuse a positive class that is not among the classes.

    Raises:
        ConfigError: with the classes.
    """
    if positive is not None and positive not in classes:
        raise ConfigError(
            f"dataset.positive={positive}: is not one of the classes {listed(classes)}; "
            f"{did_you_mean(positive, classes)}".rstrip("; ")
        )


def _check_trainer(trainer: dict[str, object]) -> None:
    known = [str(key) for key in OmegaConf.load(conf_dir() / "trainer" / "default.yaml")]
    for key in trainer:
        if key not in known:
            raise ConfigError(
                f"trainer.{key}: lightning.Trainer has no such argument; {did_you_mean(key, known)}"
                f"Valid: {listed(sorted(known), 50)}"
            )


def check_dataset(dataset: Dataset) -> None:
    """Compare the parts of a dataset's config with each other.

    Raises:
        ConfigError: naming key, value and remedy of the first part that does not fit.
    """
    classes = dataset.classes
    if classes is not None:
        if len(set(classes)) < len(classes):
            raise ConfigError(f"dataset.classes={classes}: a class is named twice")
        check_positive(dataset.positive, classes)
    if dataset.splits.val + dataset.splits.test >= 1:
        raise ConfigError(
            f"dataset.splits.val={dataset.splits.val}, dataset.splits.test={dataset.splits.test}: "
            "together they leave no image for training; lower one"
        )
    if dataset.splits.folds is not None and dataset.splits.fold >= dataset.splits.folds:
        folds = dataset.splits.folds
        raise ConfigError(f"dataset.splits.fold={dataset.splits.fold}: the {folds} folds are 0 to {folds - 1}")
    if dataset.splits.file is not None and not Path(dataset.splits.file).is_file():
        raise ConfigError(f"dataset.splits.file={dataset.splits.file}: no such file")
    if dataset.group_pattern is not None:
        try:
            re.compile(dataset.group_pattern)
        except re.error as error:
            raise ConfigError(
                f"dataset.group_pattern={dataset.group_pattern}: not a regular expression: {error}"
            ) from error


def _check_weights(weights: str) -> None:
    if weights not in ("none", "default") and not Path(weights).is_file():
        raise ConfigError(f"model.weights={weights}: no such file; use none, default or the path of a state dict")
