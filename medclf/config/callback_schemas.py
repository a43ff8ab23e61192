"""The callbacks and loggers that a configuration may name, and their arguments."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from medclf.config.field_types import ComponentConfig, Components, Mode, NoArguments, NonNegative, Share, plain_name
from medclf.config.limits import MAX_GALLERY, MAX_NAME, MAX_STEPS

UNITS = ("weeks", "days", "hours", "minutes", "seconds")
TAKEN_NAMES = ("best", "last", "previous")
"""Checkpoints of the run itself."""


def check_duration(value: Any) -> Any:
    """Return a duration as Lightning takes it: None, ``DD:HH:MM:SS``, or ``{hours: 2}``.

    Raises:
        ValueError: for anything else, and for a duration that is not above 0.
    """
    if value is None:
        return value
    typed = re.fullmatch(r"(\d{1,5}):(\d\d):(\d\d):(\d\d)", value.strip()) if isinstance(value, str) else None
    if typed is not None:
        parts: dict[str, Any] = dict(zip(UNITS[1:], map(int, typed.groups()), strict=True))
    else:
        parts = value if isinstance(value, dict) else {}
    whole = all(type(part) is int and 0 <= part < 10**6 for part in parts.values())
    seconds = timedelta(**parts).total_seconds() if whole and set(parts) <= set(UNITS) else 0
    if seconds <= 0:
        raise ValueError(
            "must be a duration above 0 such as 00:12:00:00 (days, hours, minutes, seconds) or {hours: 12}"
        )
    return value


def _plain_name_or_empty(value: str) -> str:
    return value if value == "" else plain_name(value)


def _checkpoint_name(value: str) -> str:
    if plain_name(value.replace("/", "_")) in TAKEN_NAMES or ".." in value or value.startswith("/"):
        raise ValueError("must be a name below the checkpoints folder other than best, last and previous")
    return value


def _version(value: Any) -> Any:
    if isinstance(value, str):
        return _plain_name_or_empty(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError("must be a name or a number from 0 on")
    return value


NameOrEmpty = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_plain_name_or_empty)]


class BestCheckpointConfig(ComponentConfig):
    """Arguments of ``medclf.training.checkpointing.BestCheckpoint``."""

    filename: Literal["best"]
    monitor: str
    mode: Mode
    enable_version_counter: Literal[False]
    verbose: bool = False


class LastCheckpointConfig(ComponentConfig):
    """Arguments of ``medclf.training.checkpointing.LastCheckpoint``."""

    seconds: Annotated[float, Field(ge=0, le=10**7)] = 10.0


class LogTrainingSamplesConfig(ComponentConfig):
    """Arguments of ``medclf.training.callbacks.LogTrainingSamples``."""

    count: Annotated[int, Field(ge=1, le=MAX_GALLERY)] = 16


class MovingAverageConfig(ComponentConfig):
    """Arguments of ``medclf.training.weight_averaging.ExponentialMovingAverage``."""

    decay: Share = 0.99


class StochasticAverageConfig(ComponentConfig):
    """Arguments of ``medclf.training.weight_averaging.StochasticWeightAveraging``."""

    start: Share = 0.75


class EarlyStoppingConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.EarlyStopping``."""

    monitor: str
    min_delta: NonNegative = 0.0
    patience: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 3
    verbose: bool = False
    mode: Mode
    strict: bool = True
    check_finite: bool = True
    stopping_threshold: float | None = None
    divergence_threshold: float | None = None
    check_on_train_epoch_end: bool | None = None
    log_rank_zero_only: bool = False


class ModelCheckpointConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.ModelCheckpoint``, for checkpoints besides those of the run.

    Left out: ``dirpath``, which is the checkpoints folder of the run, and ``save_last``, whose file the run has.
    """

    filename: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checkpoint_name)]
    monitor: str | None = None
    verbose: bool = False
    save_top_k: Annotated[int, Field(ge=-1, le=10**4)] = 1
    save_weights_only: bool = False
    mode: Mode = "min"
    auto_insert_metric_name: bool = True
    every_n_train_steps: Annotated[int, Field(ge=1)] | None = None
    every_n_epochs: Annotated[int, Field(ge=1)] | None = None
    save_on_train_epoch_end: bool | None = None
    enable_version_counter: bool = True

    @model_validator(mode="after")
    def _check_parts(self) -> "ModelCheckpointConfig":
        if self.monitor is None and self.save_top_k not in (-1, 0, 1):
            raise ValueError(f"save_top_k={self.save_top_k} needs a monitor by which to choose")
        if self.every_n_train_steps is not None and self.every_n_epochs is not None:
            raise ValueError("takes one of every_n_train_steps and every_n_epochs")
        return self


class LearningRateMonitorConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.LearningRateMonitor``."""

    logging_interval: Literal["step", "epoch"] | None = None
    log_momentum: bool = False
    log_weight_decay: bool = False


class GradientAccumulationConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.GradientAccumulationScheduler``."""

    scheduling: Annotated[
        dict[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1, le=10**4)]], Field(min_length=1, max_length=1000)
    ]


class TimerConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.Timer``."""

    duration: Annotated[Any, AfterValidator(check_duration)] = None
    interval: Literal["step", "epoch"] = "step"
    verbose: bool = True


class DeviceStatsMonitorConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.DeviceStatsMonitor``."""

    packages: ClassVar[Mapping[str, str]] = {"psutil": "psutil"}

    cpu_stats: bool | None = None


class TQDMProgressBarConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.TQDMProgressBar``."""

    refresh_rate: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 1
    process_position: Annotated[int, Field(ge=0, le=100)] = 0
    leave: bool = False


class RichProgressBarConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.RichProgressBar``."""

    packages: ClassVar[Mapping[str, str]] = {"rich": "rich"}

    refresh_rate: Annotated[int, Field(ge=0, le=MAX_STEPS)] = 1
    leave: bool = False


class ModelSummaryConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.callbacks.ModelSummary``."""

    max_depth: Annotated[int, Field(ge=-1, le=100)] = 1


class RichModelSummaryConfig(ModelSummaryConfig):
    """Arguments of ``lightning.pytorch.callbacks.RichModelSummary``."""

    packages: ClassVar[Mapping[str, str]] = {"rich": "rich"}


class CSVLoggerConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.loggers.CSVLogger``; ``save_dir`` is the run folder."""

    name: NameOrEmpty | None = "lightning_logs"
    version: Annotated[Any, AfterValidator(_version)] = None
    prefix: Annotated[str, Field(max_length=MAX_NAME)] = ""
    flush_logs_every_n_steps: Annotated[int, Field(ge=1, le=MAX_STEPS)] = 100


class TensorBoardLoggerConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.loggers.TensorBoardLogger``; ``save_dir`` is the run folder."""

    name: NameOrEmpty | None = "lightning_logs"
    version: Annotated[Any, AfterValidator(_version)] = None
    default_hp_metric: bool = True
    prefix: Annotated[str, Field(max_length=MAX_NAME)] = ""
    sub_dir: NameOrEmpty | None = None


def _local_store(value: str | None) -> str | None:
    is_path = value is not None and ":" not in value and not value.startswith(("//", "\\\\", "databricks"))
    if value is None or is_path or re.match(r"sqlite:///.|[A-Za-z]:[\\/]", value):
        return value
    raise ValueError(
        "must be a local folder or database, such as sqlite:///mlflow.db; a server is set by the environment variable "
        "MLFLOW_TRACKING_URI"
    )


class MLFlowLoggerConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.loggers.MLFlowLogger``; run and folder are set by the run.

    A file may not name a server, since it would get the images: ``tracking_uri`` is local.
    """

    packages: ClassVar[Mapping[str, str]] = {"mlflow": "'medclf[mlflow]'"}

    experiment_name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] = "lightning_logs"
    run_name: Annotated[str, Field(max_length=MAX_NAME)] | None = None
    tracking_uri: Annotated[str | None, AfterValidator(_local_store)] = None
    prefix: Annotated[str, Field(max_length=MAX_NAME)] = ""


class WandbLoggerConfig(ComponentConfig):
    """Arguments of ``lightning.pytorch.loggers.WandbLogger``; ``save_dir`` is the run folder."""

    packages: ClassVar[Mapping[str, str]] = {"wandb": "'medclf[wandb]'"}

    name: Annotated[str, Field(max_length=MAX_NAME)] | None = None
    project: Annotated[str, Field(min_length=1, max_length=MAX_NAME)] | None = None
    offline: bool = False
    prefix: Annotated[str, Field(max_length=MAX_NAME)] = ""


BEST_CHECKPOINT = "medclf.training.checkpointing.BestCheckpoint"
LAST_CHECKPOINT = "medclf.training.checkpointing.LastCheckpoint"
STOP_WHEN_DIVERGED = "medclf.training.callbacks.StopWhenDiverged"
MOVING_AVERAGE = "medclf.training.weight_averaging.ExponentialMovingAverage"
STOCHASTIC_AVERAGE = "medclf.training.weight_averaging.StochasticWeightAveraging"
LIGHTNING = "lightning.pytorch.callbacks."
CALLBACKS: Components = {
    BEST_CHECKPOINT: BestCheckpointConfig,
    LAST_CHECKPOINT: LastCheckpointConfig,
    MOVING_AVERAGE: MovingAverageConfig,
    STOCHASTIC_AVERAGE: StochasticAverageConfig,
    "medclf.training.callbacks.LogTrainingSamples": LogTrainingSamplesConfig,
    STOP_WHEN_DIVERGED: NoArguments,
    "medclf.training.callbacks.LogPace": NoArguments,
    f"{LIGHTNING}EarlyStopping": EarlyStoppingConfig,
    f"{LIGHTNING}ModelCheckpoint": ModelCheckpointConfig,
    f"{LIGHTNING}LearningRateMonitor": LearningRateMonitorConfig,
    f"{LIGHTNING}GradientAccumulationScheduler": GradientAccumulationConfig,
    f"{LIGHTNING}Timer": TimerConfig,
    f"{LIGHTNING}DeviceStatsMonitor": DeviceStatsMonitorConfig,
    f"{LIGHTNING}TQDMProgressBar": TQDMProgressBarConfig,
    f"{LIGHTNING}RichProgressBar": RichProgressBarConfig,
    f"{LIGHTNING}ModelSummary": ModelSummaryConfig,
    f"{LIGHTNING}RichModelSummary": RichModelSummaryConfig,
}
TENSORBOARD_LOGGER = "lightning.pytorch.loggers.TensorBoardLogger"
CSV_LOGGER = "lightning.pytorch.loggers.CSVLogger"
MLFLOW_LOGGER = "lightning.pytorch.loggers.MLFlowLogger"
WANDB_LOGGER = "lightning.pytorch.loggers.WandbLogger"
LOGGERS: Components = {
    TENSORBOARD_LOGGER: TensorBoardLoggerConfig,
    CSV_LOGGER: CSVLoggerConfig,
    MLFLOW_LOGGER: MLFlowLoggerConfig,
    WANDB_LOGGER: WandbLoggerConfig,
}
