"""What becomes of a trained network: predictions of its best checkpoint, metrics, figures, and the model to ship."""

import logging
from pathlib import Path
from typing import Any

import lightning
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from medclf.config.schema import Config
from medclf.data.datamodule import ImageDataModule
from medclf.evaluation.figures import confusion_matrix_figure
from medclf.evaluation.metrics import Metrics
from medclf.evaluation.predictions import confusion_matrix, save_predictions, split_metrics
from medclf.evaluation.summary import as_json, metrics_table
from medclf.runs import Run, is_main_process, write_json
from medclf.training.module import ClassifierModule
from medclf.training.predict import predict_splits
from medclf.training.saving import save_best
from medclf.training.tensorboard import log_results

log = logging.getLogger(__name__)
EVALUATED = ("val", "test")


def conclude(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, config: Config, run: Run
) -> float:
    """Predict validation and test with the best checkpoint, and leave in the run folder all that follows from it.

    Returns:
        The value of ``config.monitor`` by which the checkpoint was chosen.
    """
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


def _report_results(test: Metrics, run: Run, chosen: dict[str, Any]) -> None:
    below_runs = Path.cwd() / "runs" in run.folder.absolute().parents
    log.info(
        "Tested once: the checkpoint of epoch %d, the best by %s = %.4f",
        chosen["epoch"], chosen["monitor"], chosen["monitor_value"],
    )  # fmt: skip
    log.info("Results\n\n%s\n\nRun folder:  %s", metrics_table(test, "test"), run.shown)
    log.info("Look at it:  tensorboard --logdir %s", "runs" if below_runs else run.shown)
