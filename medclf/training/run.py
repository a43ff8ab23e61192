"""One run from its config to its results: the order of the rooms."""

import logging
import time
from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf

from medclf.config.schema import Config
from medclf.data.augmentation import build_augmentation
from medclf.data.datamodule import ImageDataModule
from medclf.data.dataset import load_image_table
from medclf.data.table import ImageTable
from medclf.errors import MedclfError
from medclf.evaluation.figures import confusion_matrix_figure
from medclf.evaluation.metrics import Metrics
from medclf.evaluation.predictions import confusion_matrix, save_predictions, split_metrics
from medclf.evaluation.summary import as_json, metrics_table
from medclf.models.weights import load_weights
from medclf.runs import Run, is_main_process, write_json
from medclf.training.module import ClassifierModule
from medclf.training.noise import quieten
from medclf.training.predict import predict_splits
from medclf.training.tensorboard import log_results
from medclf.training.trainer import build_trainer

log = logging.getLogger(__name__)
EVALUATED = ("val", "test")


def train_and_test(config: Config, folder: Path) -> float:
    """Train, choose the best checkpoint on validation, test it once, and leave everything in the run folder.

    Returns:
        The best value of ``config.monitor``; NaN after ``trainer.fast_dev_run``, which keeps nothing.

    Raises:
        MedclfError: for what a user can mend; all but a diverging loss comes before the first epoch.
    """
    quieten()
    run = Run(folder)
    if not is_main_process():
        log.setLevel(logging.WARNING)
        return _train_and_test(config, run, {})
    run.claim(resumed=config.resume is not None)
    with run.recorded() as facts:
        return _train_and_test(config, run, facts)


def _train_and_test(config: Config, run: Run, facts: dict[str, object]) -> float:
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    table = load_image_table(config.dataset, is_main_process())
    _report_images(config, table)
    data = ImageDataModule(table, config.dataset, build_augmentation(config.augmentation), is_main_process())
    trainer = build_trainer(config, run)
    data.setup()
    module = build_module(config, data)
    if is_main_process():
        OmegaConf.save(config.model_dump(by_alias=True), run.config)
        table.save(run.splits)
    facts |= {"split_hash": table.digest(), "training_seconds": _fit(trainer, module, data, config, run)}
    if config.trainer.fast_dev_run:
        log.info("fast_dev_run: a trial of the code, nothing is kept and nothing tested.")
        return float("nan")
    if not run.best_checkpoint.is_file():
        raise MedclfError(f"monitor={config.monitor}: was not a number in any epoch, so no best checkpoint was chosen")
    return _test(trainer, module, data, config, run)


def build_module(config: Config, data: ImageDataModule) -> ClassifierModule:
    """The module of a config for the images of a data module, with the pretrained weights that the config names.

    Raises:
        ConfigError: for parts that do not fit, and weights that cannot be had.
    """
    mean, sd = data.normalization()
    module = ClassifierModule(
        model=config.model.model_dump(),
        optimizer=config.optimizer.model_dump(by_alias=True),
        classes=data.table.classes,
        positive=config.dataset.positive,
        mean=mean,
        sd=sd,
        image_size=config.dataset.image_size,
    )
    if config.resume is None:
        load_weights(module.network.backbone, config.model.weights)
    if config.model.frozen and config.model.weights == "none":
        log.warning("model.frozen=true with model.weights=none: the head learns from a random backbone.")
    return module


def _fit(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, config: Config, run: Run
) -> float:
    begin = time.perf_counter()
    checkpoint = None if config.resume is None else run.last_checkpoint
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        log.info(
            "Interrupted after %d epochs. To go on: python -m medclf.train resume=%s", trainer.current_epoch, run.shown
        )
        raise KeyboardInterrupt from None
    seconds = time.perf_counter() - begin
    log.info("Trained %d epochs in %.1f s.", trainer.current_epoch, seconds)
    return round(seconds, 3)


def _test(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, config: Config, run: Run
) -> float:
    predictions = predict_splits(trainer, module, data, run.best_checkpoint)
    if not is_main_process():
        return float("nan")
    save_predictions(predictions, run.predictions)
    results = {part: split_metrics(predictions, part, config.dataset.positive) for part in EVALUATED}
    best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    monitored = _monitored(best, config.monitor)
    _save_results(run, config, results, int(best["epoch"]), monitored)
    run.figures.mkdir(exist_ok=True)
    figures = {}
    for part in EVALUATED:
        figure = confusion_matrix_figure(
            *confusion_matrix(predictions, part), title=f"{part}, n = {results[part].images}"
        )
        figure.savefig(run.figures / f"confusion_matrix_{part}.png")
        figures[f"confusion_matrix/{part}"] = figure
    if isinstance(trainer.logger, TensorBoardLogger):
        log_results(trainer.logger, config, results, figures, int(best["global_step"]))
    _report_results(results["test"], run, int(best["epoch"]), config.monitor, monitored)
    return monitored


def _monitored(checkpoint: dict[str, object], monitor: str) -> float:
    callbacks = checkpoint["callbacks"]
    assert isinstance(callbacks, dict)
    states = [state for state in callbacks.values() if state.get("monitor") == monitor]
    return float(states[0]["best_model_score"])


def _save_results(run: Run, config: Config, results: dict[str, Metrics], epoch: int, monitored: float) -> None:
    content = {
        "checkpoint": run.best_checkpoint.relative_to(run.folder).as_posix(),
        "epoch": epoch,
        "monitor": config.monitor,
        "monitor_value": monitored,
        **{part: as_json(metrics) for part, metrics in results.items()},
    }
    write_json(run.metrics, content)


def _report_images(config: Config, table: ImageTable) -> None:
    log.info(
        "Dataset %s from %s, split %s\n%s", config.dataset.name, config.dataset.root, table.digest(), table.counts()
    )
    for note in table.notes:
        log.info(note)
    if len(table.classes) == 2:
        log.info("The positive class is %s.", config.dataset.positive or table.classes[-1])


def _report_results(test: Metrics, run: Run, epoch: int, monitor: str, monitored: float) -> None:
    below_runs = Path.cwd() / "runs" in run.folder.absolute().parents
    log.info("Tested once: the checkpoint of epoch %d, the best by %s = %.4f", epoch, monitor, monitored)
    log.info("Results\n\n%s\n\nRun folder:  %s", metrics_table(test, "test"), run.shown)
    log.info("Look at it:  tensorboard --logdir %s", "runs" if below_runs else run.shown)
