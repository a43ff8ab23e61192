"""One run from its config to its results: the order of the rooms."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from medclf.config.schema import Config
from medclf.data.augmentation import build_augmentation
from medclf.data.datamodule import ImageDataModule
from medclf.data.dataset import load_image_table
from medclf.data.table import ImageTable
from medclf.errors import ConfigError, MedclfError
from medclf.evaluation.figures import confusion_matrix_figure
from medclf.evaluation.metrics import Metrics
from medclf.evaluation.predictions import confusion_matrix, save_predictions, split_metrics
from medclf.evaluation.summary import as_json, metrics_table
from medclf.runs import Run, is_main_process, write_json
from medclf.training.build import build_module
from medclf.training.module import ClassifierModule
from medclf.training.noise import quieten
from medclf.training.predict import predict_splits
from medclf.training.saving import save_best
from medclf.training.tensorboard import log_results
from medclf.training.trainer import build_trainer
from medclf.training.tune import tuned

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
    resumed = config.resume is not None
    if resumed and not run.last_checkpoint.is_file():
        log.info("Nothing was trained in %s yet: it starts from the beginning.", run.shown)
        config = config.model_copy(update={"resume": None})
    if not is_main_process():
        log.setLevel(logging.WARNING)
        return _train_and_test(config, run, {})
    run.claim(resumed)
    with run.recorded() as facts:
        return _train_and_test(config, run, facts)


def _train_and_test(config: Config, run: Run, facts: dict[str, object]) -> float:
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    table = load_image_table(config.dataset, is_main_process())
    _report_images(config, table)
    augment = build_augmentation(config.augmentation)
    data = ImageDataModule(table, config.dataset, augment, is_main_process(), config.seed)
    trainer = build_trainer(config, run)
    _refuse_several_processes(config, trainer.world_size)
    data.setup()
    config = tuned(config, data, run, trainer.logger)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    module = build_module(config, data)
    if is_main_process():
        OmegaConf.save(config.model_dump(by_alias=True), run.config)
        table.save(run.splits)
    facts["device"] = str(trainer.strategy.root_device)
    facts |= {"split_hash": table.digest(), "training_seconds": _fit(trainer, module, data, config, run)}
    if config.trainer.fast_dev_run:
        log.info("fast_dev_run: a trial of the code, nothing is kept and nothing tested.")
        return float("nan")
    if not run.best_checkpoint.is_file():
        raise MedclfError(f"monitor={config.monitor}: was not a number in any epoch, so no best checkpoint was chosen")
    return _test(trainer, module, data, config, run)


def _refuse_several_processes(config: Config, processes: int) -> None:
    if processes > 1 and config.model.unfreeze_at is not None:
        raise ConfigError(
            f"model.unfreeze_at={config.model.unfreeze_at}: cannot be done by {processes} processes, which agree at "
            "the start on what learns; set trainer.devices=1, or train frozen first and go on from its best.pth"
        )
    if processes > 1 and (config.tune.lr or config.tune.batch_size):
        raise ConfigError(
            f"tune: searches with one process, and this run has {processes}; run it once with trainer=default "
            "trainer.devices=1 and type what it finds"
        )


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
    best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    module.load_state_dict(best["state_dict"])
    predictions = predict_splits(trainer, module, data)
    if not is_main_process():
        return float("nan")
    save_predictions(predictions, run.predictions)
    results = {part: split_metrics(predictions, part, config.dataset.positive) for part in EVALUATED}
    monitored = _monitored(best, config.monitor)
    chosen = {"epoch": int(best["epoch"]), "monitor": config.monitor, "monitor_value": monitored}
    save_best(module, config, data.table, chosen, run.best_model)
    parts = {part: as_json(metrics) for part, metrics in results.items()}
    checkpoint = run.best_checkpoint.relative_to(run.folder).as_posix()
    write_json(run.metrics, {"checkpoint": checkpoint, **chosen, **parts})
    figures = _save_figures(predictions, results, run)
    if isinstance(trainer.logger, TensorBoardLogger):
        log_results(trainer.logger, config, results, figures, int(best["global_step"]))
    _report_results(results["test"], run, chosen)
    return monitored


def _save_figures(predictions: pd.DataFrame, results: dict[str, Metrics], run: Run) -> dict[str, Figure]:
    run.figures.mkdir(exist_ok=True)
    figures = {}
    for part in EVALUATED:
        counts = confusion_matrix(predictions, part)
        figure = confusion_matrix_figure(*counts, title=f"{part}, n = {results[part].images}")
        figure.savefig(run.figures / f"confusion_matrix_{part}.png")
        figures[f"confusion_matrix/{part}"] = figure
    return figures


def _monitored(checkpoint: dict[str, object], monitor: str) -> float:
    callbacks = checkpoint["callbacks"]
    assert isinstance(callbacks, dict)
    states = [state for state in callbacks.values() if state.get("monitor") == monitor]
    return float(states[0]["best_model_score"])


def _report_images(config: Config, table: ImageTable) -> None:
    log.info(
        "Dataset %s from %s, split %s\n%s", config.dataset.name, config.dataset.root, table.digest(), table.counts()
    )
    for note in table.notes:
        log.info(note)
    if len(table.classes) == 2:
        log.info("The positive class is %s.", config.dataset.positive or table.classes[-1])


def _report_results(test: Metrics, run: Run, chosen: dict[str, Any]) -> None:
    below_runs = Path.cwd() / "runs" in run.folder.absolute().parents
    log.info(
        "Tested once: the checkpoint of epoch %d, the best by %s = %.4f",
        chosen["epoch"], chosen["monitor"], chosen["monitor_value"],
    )  # fmt: skip
    log.info("Results\n\n%s\n\nRun folder:  %s", metrics_table(test, "test"), run.shown)
    log.info("Look at it:  tensorboard --logdir %s", "runs" if below_runs else run.shown)
