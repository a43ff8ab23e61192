"""Lightning's Tuner ahead of training."""

import logging
import tempfile
from collections.abc import Sequence
from typing import Any

import lightning
from lightning.pytorch.loggers import Logger
from lightning.pytorch.tuner.tuning import Tuner
from matplotlib.figure import Figure

from medclf.config.schema import TrainConfig
from medclf.data.datamodule import ImageDataModule
from medclf.training.log_filters import silence
from medclf.training.loggers import log_figure
from medclf.training.module import ClassifierModule
from medclf.training.trainer import build_module
from medclf.utils.atomic_write import atomic_file
from medclf.utils.errors import ConfigError
from medclf.utils.json_yaml import read_yaml
from medclf.utils.run_folder import Run

log = logging.getLogger(__name__)
STEPS_AN_EPOCH = 4
TAKEN_OVER = ("accelerator", "precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")


def run_tuner(config: TrainConfig, data: ImageDataModule, run: Run, loggers: Sequence[Logger]) -> TrainConfig:
    """Return the configuration with the Tuner's values; a resumed run keeps those found at its start.

    Raises:
        ConfigError: where nothing is found.
    """
    if not (config.tune.lr or config.tune.batch_size):
        return config
    if config.resume is not None:
        before = read_yaml(run.config)
        config = _with(config, batch_size=before["dataset"]["batch_size"], lr=before["optimizer"]["lr"])
        data.batch_size = config.dataset.batch_size
        return config
    if config.tune.batch_size:
        config = _with(config, batch_size=_batch_size(config, build_module(config, data), data), lr=config.optimizer.lr)
    if config.tune.lr:
        lr, figure = _learning_rate(config, build_module(config, data), data)
        config = _with(config, batch_size=config.dataset.batch_size, lr=lr)
        run.figures.mkdir(exist_ok=True)
        with atomic_file(run.figures / "learning_rate_search.png") as file:
            figure.savefig(file, format="png")
        log_figure(loggers, "tune/learning_rate", figure)
    return config


def _with(config: TrainConfig, batch_size: int, lr: float) -> TrainConfig:
    dataset = config.dataset.model_copy(update={"batch_size": batch_size})
    optimizer = config.optimizer.model_copy(update={"lr": lr})
    return config.model_copy(update={"dataset": dataset, "optimizer": optimizer})


def _batch_size(config: TrainConfig, module: ClassifierModule, data: ImageDataModule) -> int:
    """The largest power of two that memory takes, up to ``tune.max_batch_size`` and a quarter of the training images.

    Every size that is returned was tried. ``data`` goes on with it; the module is as before.
    """
    largest = min(config.tune.max_batch_size, len(data.datasets["train"]) // STEPS_AN_EPOCH)
    trials = largest.bit_length() - 1
    if trials < 1:
        raise ConfigError(f"tune.batch_size=true: {len(data.datasets['train'])} training images are too few to try any")
    with tempfile.TemporaryDirectory() as folder, silence():
        found = _tuner(config, folder).scale_batch_size(module, datamodule=data, max_trials=trials)
    assert found is not None
    log.info("tune.batch_size: dataset.batch_size=%d", found)
    return found


def _learning_rate(config: TrainConfig, module: ClassifierModule, data: ImageDataModule) -> tuple[float, Figure]:
    """The learning rate at which the loss falls fastest (Smith, WACV 2017), and a picture of the search.

    The module is as before.

    Raises:
        ConfigError: where the search shows none.
    """
    with tempfile.TemporaryDirectory() as folder, silence():
        finder = _tuner(config, folder).lr_find(module, data.train_dataloader(), min_lr=1e-6, update_attr=False)
    found = None if finder is None else finder.suggestion()
    if finder is None or found is None:
        raise ConfigError("tune.lr=true: the search showed no learning rate at which the loss falls; set optimizer.lr")
    log.info("tune.lr: optimizer.lr=%.3g", found)
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    finder.plot(suggest=True, ax=axes)
    axes.set_title(f"learning rate found: {found:.3g}")
    return float(found), figure


def _tuner(config: TrainConfig, folder: str) -> Tuner:
    options: dict[str, Any] = config.trainer.model_dump(include=set(TAKEN_OVER))
    trainer = lightning.Trainer(
        **options,
        devices=1,
        max_epochs=1000,  # the searches end by their steps
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    return Tuner(trainer)
