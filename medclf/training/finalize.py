"""What becomes of a trained network: predictions of its best checkpoint, their evaluation, and the model to ship."""

import logging
import signal
from pathlib import Path

import lightning
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from medclf.config.run_files import digests
from medclf.config.schema import Config
from medclf.data.datamodule import ImageDataModule
from medclf.data.network_input import seen_by_network
from medclf.evaluation.estimates import Metrics
from medclf.evaluation.evaluate import Evaluation, evaluate
from medclf.evaluation.predictions import save_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.grad_cam import activation_of, saved_grad_cam
from medclf.inference.ood_fitting import watch_of
from medclf.reporting.outcome import write_outcome
from medclf.reporting.run_summary import About, about_run
from medclf.training.history import history_of
from medclf.training.module import ClassifierModule
from medclf.training.predict import predict_splits
from medclf.training.saving import save_best
from medclf.training.tensorboard import log_results
from medclf.utils.atomic_write import write_csv
from medclf.utils.file_digests import file_digest
from medclf.utils.process import Terminated
from medclf.utils.run_dir import Run, is_main_process

log = logging.getLogger(__name__)


def conclude(
    trainer: lightning.Trainer,
    module: ClassifierModule,
    data: ImageDataModule,
    config: Config,
    run: Run,
    facts: dict[str, object],
) -> float:
    """Predict validation and test with the best checkpoint, and leave in the run folder all that follows from it.

    Args:
        trainer: that trained.
        module: trained.
        data: of the run.
        config: of the run.
        run: whose folder it is.
        facts: what will stand in the record of the run.

    Returns:
        The value of ``config.monitor`` by which the checkpoint was chosen.
    """
    best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    module.load_state_dict(best["state_dict"])
    watch = watch_of(trainer, module, data, config.seed) if is_main_process() else None
    predictions = predict_splits(trainer, module, data, None if watch is None else watch.look)
    if trainer.received_sigterm:  # Lightning only notes it while a network predicts
        raise Terminated(128 + signal.SIGTERM)
    if not is_main_process():
        return float("nan")
    monitored = _monitored(best, config.monitor)
    chosen = {"epoch": int(best["epoch"]), "monitor": config.monitor, "monitor_value": monitored}
    evaluation = evaluate(predictions, config.evaluation, config.dataset.positive)
    save_predictions(evaluation.decided(predictions), run.predictions)
    run.novelty.unlink(missing_ok=True)  # of an evaluation that broke off
    if watch is not None:
        watch.judged().save(run.novelty)
    save_best(module, config, data.table, evaluation, chosen, run.best_model)
    run.note(best_json_sha256=file_digest(run.best_facts))
    checkpoint = run.best_checkpoint.relative_to(run.folder).as_posix()
    about = about_run(run, {"checkpoint": checkpoint, **chosen}, facts)
    history = _saved_history(trainer, run)
    seen = seen_by_network(data.table.root, config.dataset, config.dataset.max_megapixels)
    grad_cam = saved_grad_cam(evaluation, seen, activation_of(module.network, seen), run.grad_cam)
    pictures = write_outcome(evaluation, about, run.folder, seen, history, grad_cam)
    facts |= digests(run)
    if isinstance(trainer.logger, TensorBoardLogger):
        log_results(trainer.logger, config, evaluation.metrics, pictures, int(best["global_step"]))
    _report_results(evaluation.metrics["test"], evaluation, run, about)
    return monitored


def _saved_history(trainer: lightning.Trainer, run: Run) -> pd.DataFrame | None:
    if not isinstance(trainer.logger, TensorBoardLogger):
        return None
    trainer.logger.save()
    history = history_of(Path(trainer.logger.log_dir))
    if history is not None:
        write_csv(run.history, history)
    return history


def _monitored(checkpoint: dict[str, object], monitor: str) -> float:
    callbacks = checkpoint["callbacks"]
    assert isinstance(callbacks, dict)
    states = [state for state in callbacks.values() if state.get("monitor") == monitor]
    return float(states[0]["best_model_score"])


def _report_results(test: Metrics, evaluation: Evaluation, run: Run, about: About) -> None:
    below_runs = Path.cwd() / "runs" in run.folder.absolute().parents
    log.info(
        "Tested once: the checkpoint of epoch %d, the best by %s = %.4f",
        about.chosen["epoch"], about.chosen["monitor"], about.chosen["monitor_value"],
    )  # fmt: skip
    log.info("Operating point: %s. Temperature: %s.", evaluation.point.words, evaluation.temperature.words)
    if about.novelty is not None:
        log.info(about.novelty)
    log.info("Results\n\n%s\n\nRun folder:  %s", metrics_table(test, "test"), run.shown)
    if evaluation.config.pictures:
        log.info("Report:      %s/report.html", run.shown)
    log.info("Look at it:  tensorboard --logdir %s", "runs" if below_runs else run.shown)
