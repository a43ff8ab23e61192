"""What the arguments of lightning.Trainer must be to each other, and to the images. Imports no torch."""

import math
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from medclf.config.trainer_schema import TrainerConfig
from medclf.utils.errors import ConfigError


def validate_trainer(trainer: TrainerConfig, monitor: str) -> None:
    """Raise if a run with these arguments could not be trained, validated on and tested as a whole.

    Args:
        trainer: arguments of lightning.Trainer.
        monitor: metric that chooses the best epoch, for messages.

    Raises:
        ConfigError: naming key, value and remedy of the first argument that does not fit.
    """
    _check_accelerator(trainer)
    _check_parts_of_a_run(trainer)
    _check_length(trainer)
    _check_validation(trainer, monitor)
    _check_whole_splits(trainer)


def _check_accelerator(trainer: TrainerConfig) -> None:
    if trainer.accelerator == "tpu" and find_spec("torch_xla") is None:
        raise ConfigError(
            "trainer.accelerator=tpu: needs torch_xla, which is not installed; use trainer.accelerator=auto"
        )
    if trainer.accelerator == "mps" and sys.platform != "darwin":
        raise ConfigError("trainer.accelerator=mps: is for Macs with Apple silicon; use trainer.accelerator=auto")
    if trainer.accelerator == "cpu" and (isinstance(trainer.devices, list) or trainer.devices == -1):
        raise ConfigError(
            f"trainer.devices={trainer.devices}: on the CPU it is a number of processes; use trainer.devices=1"
        )


def _check_parts_of_a_run(trainer: TrainerConfig) -> None:
    if trainer.barebones:
        raise ConfigError(
            "trainer.barebones=true: leaves out the checkpoints and logs that a run consists of; use "
            "trainer.barebones=false"
        )
    if trainer.enable_checkpointing is False:
        raise ConfigError(
            "trainer.enable_checkpointing=false: the best epoch is kept as a checkpoint; use "
            "trainer.enable_checkpointing=true"
        )


def _check_length(trainer: TrainerConfig) -> None:
    most, steps = trainer.max_epochs, trainer.max_steps
    if most == 0:
        raise ConfigError("trainer.max_epochs=0: no epoch would be trained; use 1 or more, or -1 for no limit")
    if steps == 0:
        raise ConfigError("trainer.max_steps=0: no step would be trained; use 1 or more, or -1 for no limit")
    if trainer.min_epochs is not None and most not in (None, -1) and trainer.min_epochs > (most or 0):
        raise ConfigError(f"trainer.min_epochs={trainer.min_epochs}: is above trainer.max_epochs={most}; lower it")
    if trainer.min_steps is not None and steps != -1 and trainer.min_steps > steps:
        raise ConfigError(f"trainer.min_steps={trainer.min_steps}: is above trainer.max_steps={steps}; lower it")
    if trainer.limit_train_batches == 0:
        raise ConfigError(
            f"trainer.limit_train_batches={trainer.limit_train_batches}: nothing would be trained on; use "
            "trainer.limit_train_batches=null"
        )


def _check_validation(trainer: TrainerConfig, monitor: str) -> None:
    every, most = trainer.check_val_every_n_epoch, trainer.max_epochs
    if trainer.limit_val_batches == 0:
        raise ConfigError(
            f"trainer.limit_val_batches={trainer.limit_val_batches}: nothing would be validated, so monitor={monitor} "
            "could never choose a checkpoint; use trainer.limit_val_batches=null"
        )
    if every is not None and most is not None and 0 < most < every:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: training ends before, at trainer.max_epochs={most}, so "
            f"monitor={monitor} could never choose a checkpoint; use trainer.check_val_every_n_epoch=1"
        )
    if every is None and not isinstance(trainer.val_check_interval, int):
        raise ConfigError(
            "trainer.check_val_every_n_epoch=null: needs the number of batches between two validations, such as "
            "trainer.val_check_interval=100"
        )


def _check_whole_splits(trainer: TrainerConfig) -> None:
    """Every image of validation and test is predicted once, or the metrics would be of fewer images than they say."""
    for key in ("limit_test_batches", "limit_predict_batches"):
        limit = getattr(trainer, key)
        if limit is not None and not (isinstance(limit, float) and limit == 1):
            raise ConfigError(
                f"trainer.{key}={limit}: all images of validation and test are predicted, and metrics of some of them "
                f"would be taken for those of all; use trainer.{key}=null"
            )


def validate_batches(trainer: TrainerConfig, batch_size: int, images: Mapping[str, int], processes: int = 1) -> None:
    """Raise if training would end before the first validation, or an epoch would have no batch.

    Args:
        trainer: arguments of lightning.Trainer.
        batch_size: images in a batch of a process.
        images: images of each split: ``train`` and ``val``.
        processes: that share them.

    Raises:
        ConfigError: naming key, value and remedy.
    """
    if trainer.fast_dev_run:
        return
    share = math.ceil(images["train"] / processes)
    train = share // batch_size if share % batch_size == 1 else math.ceil(share / batch_size)
    val = math.ceil(math.ceil(images["val"] / processes) / batch_size)
    overfit = "overfit_batches" if trainer.overfit_batches else None
    train = _limited(trainer, overfit or "limit_train_batches", train)
    _limited(trainer, overfit or "limit_val_batches", val)
    first, last = _first_validation(trainer, train), _last_batch(trainer, train)
    interval = trainer.val_check_interval
    if trainer.check_val_every_n_epoch is not None and isinstance(interval, int) and interval > train:
        raise ConfigError(
            f"trainer.val_check_interval={interval}: an epoch has {train} batches; use {train} or less, or a share of "
            "the epoch such as 0.5"
        )
    if first > last:
        raise ConfigError(
            f"trainer.max_steps={trainer.max_steps}, trainer.max_epochs={trainer.max_epochs}: training ends after "
            f"{last:.0f} batches, before the first validation after {first}, so no checkpoint could be chosen; raise it"
        )


def _limited(trainer: TrainerConfig, key: str, batches: int) -> int:
    """The batches of an epoch that a limit leaves."""
    limit = getattr(trainer, key)
    if isinstance(limit, float):
        if int(batches * limit) == 0:
            raise ConfigError(
                f"trainer.{key}={limit}: leaves none of the {batches} batches; use trainer.{key}=1 for one of them"
            )
        return int(batches * limit)
    return batches if limit is None else min(batches, limit)


def _first_validation(trainer: TrainerConfig, batches: int) -> int:
    """The batches that are trained on before the first validation."""
    interval = 1.0 if trainer.val_check_interval is None else trainer.val_check_interval
    within = interval if isinstance(interval, int) else max(1, int(batches * interval))
    every = trainer.check_val_every_n_epoch
    return within if every is None else (every - 1) * batches + within


def _last_batch(trainer: TrainerConfig, batches: int) -> float:
    """The batches that are trained on in all; infinity for no limit."""
    each = trainer.accumulate_grad_batches
    full, rest = divmod(trainer.max_steps, math.ceil(batches / each))
    by_steps = math.inf if trainer.max_steps == -1 else full * batches + rest * each
    by_epochs = math.inf if trainer.max_epochs in (None, -1) else (trainer.max_epochs or 0) * batches
    return min(by_steps, by_epochs)
