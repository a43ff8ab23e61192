"""What a configuration's parts must be to each other, as far as it can be known without reading an image."""

import os
import re
import shutil
import sys
from pathlib import Path

from medclf.config.command_schemas import EvaluateConfig
from medclf.config.component_validation import validate_components
from medclf.config.distributed import validate_workers
from medclf.config.messages import format_value
from medclf.config.resume import validate_same_setup
from medclf.config.schema import DatasetConfig, LossConfig, ModelConfig, TrainConfig
from medclf.config.trainer_validation import validate_trainer
from medclf.metric_registry import metric_names, monitor_names, suggest_metric
from medclf.utils.errors import ConfigError, format_list, suggest
from medclf.utils.run_folder import Run


def validate_train_config(config: TrainConfig) -> None:
    """Compare the parts of the configuration with each other.

    Raises:
        ConfigError: naming key, value and remedy of the first part that does not fit.
    """
    if config.resume is not None:
        validate_same_setup(Run(Path(config.resume)), config)
    validate_trainer(config.trainer, config.monitor)
    validate_workers(config.dataset.num_workers)
    validate_dataset_config(config.dataset)
    validate_components(config)
    _check_model(config.model, config.trainer.max_epochs)
    validate_loss(config.loss, config.model, config.dataset.classes)
    _check_schedules(config)
    validate_monitor("monitor", config.monitor, config.dataset.classes)
    for name, callback in config.callbacks.items():
        if callback.get("monitor") is not None:
            validate_monitor(f"callbacks.{name}.monitor", callback["monitor"], config.dataset.classes)


def validate_evaluate_config(config: EvaluateConfig) -> None:
    """Refuse what cannot be judged: nothing, two things at once, a folder that is no run or has not finished.

    Raises:
        ConfigError: naming key, value and remedy.
    """
    if (config.run is None) == (config.predictions is None):
        raise ConfigError("say what to judge: run=RUN (a run folder) or predictions=FILE.csv, one of them")
    if config.run is not None:
        validate_run_folder(Run(Path(config.run)), needs_model=config.dataset is not None or config.tta != "none")
    elif not Path(str(config.predictions)).is_file():
        raise ConfigError(f"predictions={config.predictions}: no such file")
    elif config.tta != "none" and config.dataset is None:
        raise ConfigError(f"tta={config.tta}: needs the model of a run to predict with: run=RUN")
    if config.dataset is None and config.class_map:
        raise ConfigError(
            "class_map: tells the classes of another dataset; say which: dataset=OTHER dataset.root=FOLDER"
        )
    if config.dataset is not None:
        if config.run is None:
            raise ConfigError(f"dataset={config.dataset.name}: needs the model of a run to test on it: run=RUN")
        validate_dataset_config(config.dataset)


def validate_run_folder(run: Run, needs_model: bool) -> None:
    """Raise if a folder is not a run, or lacks what evaluating it needs.

    Args:
        run: with predictions, metrics, configuration and splits.
        needs_model: whether its model must be there too.

    Raises:
        ConfigError: naming the folder and what is missing.
    """
    if not run.folder.is_dir():
        raise ConfigError(f"run={run.shown}: there is no such folder")
    if run.status is None:
        raise ConfigError(f"run={run.shown}: is no run folder ({run.record.name} is not there)")
    model = [run.best_facts] if needs_model else []
    needed = [run.predictions, run.metrics, run.config, run.splits, *model]
    missing = [path.name for path in needed if not path.is_file()]
    if missing and run.status != "finished":
        raise ConfigError(
            f"run={run.shown}: has not finished ({run.status}) and has no {format_list(missing)}; go on with it: "
            f"python -m medclf.train resume={run.shown}"
        )
    if missing:
        raise ConfigError(f"run={run.shown}: {format_list(missing)} is not there; was it moved or deleted?")


def validate_monitor(key: str, monitor: str, classes: list[str] | None) -> None:
    """Refuse a monitor that no epoch logs. Unknown classes (None) allow the names of two classes too.

    Raises:
        ConfigError: with the valid names.
    """
    valid = monitor_names(metric_names(2 if classes is None else len(classes)))
    if monitor not in valid:
        raise ConfigError(
            f"{key}={monitor}: no epoch logs such a metric; {suggest_metric(monitor, valid)}"
            f"Valid: {format_list(valid, 40)}"
        )


def validate_positive(key: str, positive: str | None, classes: list[str]) -> None:
    """Refuse a positive class that is not among the classes, or not one of two.

    Raises:
        ConfigError: with the classes.
    """
    if positive is not None and positive not in classes:
        raise ConfigError(
            f"{key}={positive}: is not one of the classes {format_list(classes)}; {suggest(positive, classes)}".rstrip(
                "; "
            )
        )


def validate_dataset_config(dataset: DatasetConfig) -> None:
    """Compare the parts of a dataset's config with each other.

    Raises:
        ConfigError: naming key, value and remedy of the first part that does not fit.
    """
    classes = dataset.classes
    if classes is not None:
        if len(set(classes)) < len(classes):
            raise ConfigError(f"dataset.classes={classes}: a class is named twice")
        validate_positive("dataset.positive", dataset.positive, classes)
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


def validate_loss(loss: LossConfig, model: ModelConfig, classes: list[str] | None) -> None:
    """Refuse a loss that does not fit the network's output or the classes. Unknown classes (None) allow any.

    Raises:
        ConfigError: with what would fit.
    """
    fits = {"cross_entropy": "softmax", "binary_cross_entropy": "sigmoid"}.get(loss.name, model.activation)
    if model.activation != fits:
        raise ConfigError(
            f"loss={loss.name}: does not fit model.activation={model.activation}; set model.activation={fits}, or "
            f"loss={'cross_entropy' if model.activation == 'softmax' else 'binary_cross_entropy'}"
        )
    if classes is None:
        return
    if model.activation == "sigmoid" and len(classes) > 2:
        raise ConfigError(
            f"model.activation=sigmoid: one logit tells two classes apart, the dataset has {len(classes)}: "
            f"{format_list(classes)}; set model.activation=softmax loss=cross_entropy"
        )
    for name in loss.class_weights if isinstance(loss.class_weights, dict) else ():
        if name not in classes:
            raise ConfigError(
                f"loss.class_weights.{name}: is not one of the classes {format_list(classes)}; {suggest(name, classes)}"
            )


def _check_model(model: ModelConfig, max_epochs: int | None) -> None:
    if model.weights not in ("none", "default") and not Path(model.weights).is_file():
        raise ConfigError(f"model.weights={model.weights}: no such file; use none, default or the path of a state dict")
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    if model.compile and not shutil.which(compiler):
        raise ConfigError(
            f"model.compile=true: torch.compile needs a C++ compiler, and there is no {compiler}; install one, name "
            "yours in the variable CXX, or leave the key out"
        )
    if model.unfreeze_at is not None and max_epochs is not None and 0 <= max_epochs <= model.unfreeze_at:
        raise ConfigError(
            f"model.unfreeze_at={model.unfreeze_at}: training ends before, at trainer.max_epochs={max_epochs}; epochs "
            "count from 0. Lower it, or set model.frozen=true model.unfreeze_at=null to keep the backbone frozen"
        )
    if model.backbone_lr_scale is not None and model.frozen and model.unfreeze_at is None:
        raise ConfigError(
            "model.backbone_lr_scale: a frozen backbone has no learning rate; set model.frozen=false or unfreeze_at"
        )


def _check_schedules(config: TrainConfig) -> None:
    trainer = config.trainer
    by_time = trainer.max_epochs is None and trainer.max_time is not None
    endless = (trainer.max_epochs == -1 or by_time) and trainer.max_steps == -1
    if endless and config.scheduler.name in ("cosine", "one_cycle"):
        raise ConfigError(
            f"scheduler={config.scheduler.name}: needs an end of training; set trainer.max_epochs, or scheduler=none"
        )
    if config.scheduler.name == "plateau" and trainer.check_val_every_n_epoch != 1:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={format_value(trainer.check_val_every_n_epoch)}: scheduler=plateau "
            "needs a "
            "validation in each epoch; use trainer.check_val_every_n_epoch=1"
        )
