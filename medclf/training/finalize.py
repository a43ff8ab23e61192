"""What becomes of a trained network: predictions of its best checkpoint, their evaluation, and the model to ship."""

import logging
import signal
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
import torch.distributed
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from medclf.config.run_files import compute_run_digests
from medclf.config.schema import TrainConfig
from medclf.data.datamodule import ImageDataModule
from medclf.data.image_table import ImageTable
from medclf.data.preprocessing import read_network_input
from medclf.evaluation.estimates import Metrics
from medclf.evaluation.evaluate import Evaluation, evaluate
from medclf.evaluation.predictions import predictions_table, save_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.grad_cam import build_activation, save_grad_cam
from medclf.inference.model_files import build_metadata
from medclf.inference.ood_fitting import attach_feature_collector
from medclf.models.conv_fusion import fold_batchnorm
from medclf.models.state_dict import plain_state
from medclf.reporting.run_summary import RunSummary, summarize_run
from medclf.reporting.write import write_outcome
from medclf.training.loggers import list_viewers, log_results
from medclf.training.module import ClassifierModule
from medclf.training.tensorboard import read_history
from medclf.utils.atomic_write import atomic_file, write_csv
from medclf.utils.errors import DataError
from medclf.utils.file_digests import file_digest, model_digests
from medclf.utils.plain_data import write_json
from medclf.utils.process import Terminated
from medclf.utils.run_dir import Run, is_main_process

log = logging.getLogger(__name__)


def finalize_training(
    trainer: lightning.Trainer,
    module: ClassifierModule,
    data: ImageDataModule,
    config: TrainConfig,
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
    watch = attach_feature_collector(trainer, module.network, data, config.seed) if is_main_process() else None
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
    about = summarize_run(run, {"checkpoint": checkpoint, **chosen}, facts)
    history = _saved_history(trainer, run)
    seen = read_network_input(data.table.root, config.dataset, config.dataset.max_megapixels)
    grad_cam = save_grad_cam(evaluation, seen, build_activation(module.network, seen), run.grad_cam)
    pictures = write_outcome(evaluation, about, run.folder, seen, history, grad_cam)
    facts |= compute_run_digests(run)
    log_results(trainer.loggers, config, evaluation.metrics, pictures, int(best["global_step"]))
    _report_results(evaluation.metrics["test"], evaluation, run, about, list_viewers(config, run))
    return monitored


def _saved_history(trainer: lightning.Trainer, run: Run) -> pd.DataFrame | None:
    if not isinstance(trainer.logger, TensorBoardLogger):
        return None
    trainer.logger.save()
    history = read_history(Path(trainer.logger.log_dir))
    if history is not None:
        write_csv(run.history, history)
    return history


def _monitored(checkpoint: dict[str, object], monitor: str) -> float:
    callbacks = checkpoint["callbacks"]
    assert isinstance(callbacks, dict)
    states = [state for state in callbacks.values() if state.get("monitor") == monitor]
    return float(states[0]["best_model_score"])


def _report_results(test: Metrics, evaluation: Evaluation, run: Run, about: RunSummary, viewers: Iterable[str]) -> None:
    log.info(
        "Tested once: the checkpoint of epoch %d, the best by %s = %.4f",
        about.chosen["epoch"], about.chosen["monitor"], about.chosen["monitor_value"],
    )  # fmt: skip
    log.info("Operating point: %s. Temperature: %s.", evaluation.point.words, evaluation.temperature.words)
    if about.novelty is not None:
        log.info(about.novelty)
    log.info("Results\n\n%s\n\nRun folder:  %s", metrics_table(test, "test"), run.shown)
    if evaluation.config.plots:
        log.info("Report:      %s/report.html", run.shown)
    for viewer in viewers:
        log.info("Look at it:  %s", viewer)


def save_best(
    module: ClassifierModule,
    config: TrainConfig,
    table: ImageTable,
    evaluation: Evaluation,
    chosen: dict[str, Any],
    path: Path,
) -> None:
    """Write ``best.pth``, a state dict with plain names and no code in it, and ``best.json`` beside it.

    Args:
        module: with the weights of the best checkpoint.
        config: of the run.
        table: the images of the run.
        evaluation: with what was chosen on validation: threshold and temperature.
        chosen: how the checkpoint was chosen: ``epoch``, ``monitor`` and its value.
        path: of ``best.pth``, next to which ``novelty.npz`` lies where there is one: ``best.json`` holds the SHA-256 of
            both.
    """
    with atomic_file(path) as file:
        torch.save(plain_state(module.network), file)
    facts = path.with_suffix(".json")
    write_json(facts, describe_model(module, config, table, evaluation) | chosen | {"sha256": model_digests(facts)})


def describe_model(
    module: ClassifierModule, config: TrainConfig, table: ImageTable, evaluation: Evaluation
) -> dict[str, Any]:
    """What one must know to use the weights: what ``build_metadata`` gives, and of what the network is built.

    ``mean`` and ``sd`` are for pixels of 0 to 1. ``sigmoid`` is the probability of the second class.
    """
    dataset = config.dataset
    return {
        **build_metadata(evaluation, dataset.name, table.digest()),
        "kind": "network",
        "activation": config.model.activation,
        "precision": "float32" if str(config.trainer.precision).startswith(("32", "64")) else "mixed",
        "preprocessing": {
            **dataset.model_dump(include={"channels", "image_size", "resize", "clahe"}),
            "mean": module.network.mean.flatten().tolist(),
            "sd": module.network.sd.flatten().tolist(),
        },
        "model": config.model.model_dump(include={"name", "backbone", "head"}),
    }


Outputs = list[tuple[torch.Tensor, torch.Tensor]]
Look = Callable[[str, Tensor], None]
"""Takes the name of a split, and the features (n, f) that the network makes of a batch of it in this process."""


def predict_splits(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, look: Look | None = None
) -> pd.DataFrame:
    """The predictions table of val and test; each image once, however many processes there are.

    Args:
        trainer: that trained.
        module: whose network predicts.
        data: of the run.
        look: is shown the features on the way.
    """
    parts = [predict_split(trainer, module, data, part, look) for part in ("val", "test")]
    return pd.concat(parts, ignore_index=True)


def predict_split(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, part: str, look: Look | None = None
) -> pd.DataFrame:
    """The predictions table of one split; each BatchNorm is folded into its convolution, where images are looked at."""
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    network = module.network
    module.network = fold_batchnorm(network) if data.datasets[part].features is None else network
    try:
        with _shown(module.network.head, part, look):
            outputs: Any = trainer.predict(module, loader)
    finally:
        module.network = network
    by_row = {
        int(row): row_probabilities
        for index, probabilities in _from_all_processes(outputs)
        for row, row_probabilities in zip(index, probabilities.numpy(), strict=True)
    }
    table = data.table.part(part)
    if sorted(by_row) != list(range(len(table))):
        raise DataError(
            f"trainer: only {len(by_row)} of {len(table)} {part} images were predicted; do not limit the batches of "
            "prediction: trainer.limit_predict_batches=1.0"
        )
    splits = data.config.splits
    fold = None if splits.folds is None else splits.fold
    probabilities = np.stack([by_row[row] for row in range(len(table))])
    return predictions_table(table, probabilities, module.classes, fold)


def _shown(head: nn.Module, part: str, look: Look | None) -> AbstractContextManager[object]:
    return nullcontext() if look is None else head.register_forward_pre_hook(lambda _, given: look(part, given[0]))


def _from_all_processes(batches: Outputs) -> Outputs:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    gathered: list[Outputs] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, batches)
    return [batch for process in gathered for batch in process]
