"""What becomes of a trained network: predictions of its best checkpoint, their evaluation, and the model to ship."""

import logging
import signal
from collections.abc import Iterable
from typing import Any, NamedTuple

import lightning
import numpy as np
import pandas as pd
import torch
import torch.distributed
from numpy.typing import NDArray

from medclf.config.schema import TrainConfig
from medclf.data.datamodule import ImageDataModule
from medclf.data.image_table import ImageTable
from medclf.evaluation.evaluate import Evaluation, evaluate
from medclf.evaluation.metric_intervals import Metrics
from medclf.evaluation.predictions import predictions_table, save_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.composite_model_files import build_metadata
from medclf.inference.grad_cam import build_activation, save_grad_cam
from medclf.inference.ood import OODDetector
from medclf.inference.ood_fitting import fit_to_training_images
from medclf.models.conv_batchnorm_fusion import fold_batchnorm
from medclf.models.tensor_names import plain_state
from medclf.reporting.run_description import RunSummary, build_run_summary
from medclf.reporting.write_results import write_outcome
from medclf.training.loggers import list_viewers, log_results
from medclf.training.module import ClassifierModule, PredictedRows
from medclf.utils.atomic_write import atomic_file, write_csv
from medclf.utils.errors import DataError
from medclf.utils.file_digests import NOVELTY, WEIGHTS, file_digest
from medclf.utils.json_yaml import write_json
from medclf.utils.process_lifecycle import Terminated
from medclf.utils.run_folder import Run, RunFacts, is_main_process

log = logging.getLogger(__name__)


def finalize_training(
    trainer: lightning.Trainer,
    module: ClassifierModule,
    data: ImageDataModule,
    config: TrainConfig,
    run: Run,
    facts: RunFacts,
) -> float:
    """Predict validation and test with the best checkpoint, and leave in the run folder all that follows from it.

    Args:
        trainer: that trained.
        module: trained.
        data: of the run.
        config: of the run.
        run: whose folder it is.
        facts: of the run, for its record; the digests of its files are added.

    Returns:
        The value of ``config.monitor`` by which the checkpoint was chosen.
    """
    best = torch.load(run.best_checkpoint, map_location="cpu", weights_only=True, mmap=True)
    module.load_state_dict(best["state_dict"])
    if is_main_process():
        module.ood = fit_to_training_images(trainer, module.network, data, config.seed)
    predicted = predict_splits(trainer, module, data)
    if trainer.received_sigterm:  # Lightning only notes it while a network predicts
        raise Terminated(128 + signal.SIGTERM)
    if not is_main_process():
        return float("nan")
    monitored = _monitored(best, config.monitor)
    chosen = {"epoch": int(best["epoch"]), "monitor": config.monitor, "monitor_value": monitored}
    predictions = predicted.table
    evaluation = evaluate(predictions, config.evaluation, config.dataset.positive)
    digests = {run.predictions.name: save_predictions(evaluation.decided(predictions), run.predictions)}
    ood = None if module.ood is None else module.ood.judged(*predicted.distances)
    run.note(best_json_sha256=save_best(module, config, data.table, evaluation, chosen, ood, run))
    checkpoint = run.best_checkpoint.relative_to(run.folder).as_posix()
    about = build_run_summary(
        config.model_dump(by_alias=True, mode="json"),
        {**run.read_record(), **facts.known()},
        data.table.frame,
        {"checkpoint": checkpoint, **chosen},
        ood,
    )
    history = module.history.table()
    write_csv(run.history, history)
    seen = data.read_image
    grad_cam = save_grad_cam(evaluation, seen, build_activation(module.network, seen), run.grad_cam)
    pictures = write_outcome(evaluation, about, run.folder, seen, history, grad_cam)
    digests |= {file.name: file_digest(file) for file in (run.metrics, run.metrics_table)}
    facts.files_sha256 = {**(facts.files_sha256 or {}), **digests}
    log_results(trainer.loggers, config, evaluation.metrics, pictures, int(best["global_step"]))
    _report_results(evaluation.metrics["test"], evaluation, run, about, list_viewers(config, run))
    return monitored


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
    ood: OODDetector | None,
    run: Run,
) -> str:
    """Write ``novelty.npz``, ``best.pth``, a state dict with plain names and no code in it, and ``best.json``.

    Args:
        module: with the weights of the best checkpoint.
        config: of the run.
        table: the images of the run.
        evaluation: with what was chosen on validation: threshold and temperature.
        chosen: how the checkpoint was chosen: ``epoch``, ``monitor`` and its value.
        ood: out-of-distribution score of the network; None: it has none.
        run: whose folder gets the files; ``best.json`` holds the SHA-256 of the others.

    Returns:
        The SHA-256 of ``best.json``.
    """
    digests = {}
    if ood is None:
        run.novelty.unlink(missing_ok=True)  # of an evaluation that broke off
    else:
        digests[NOVELTY] = ood.save(run.novelty)
    with atomic_file(run.best_model) as file:
        torch.save(plain_state(module.network), file)
    digests[WEIGHTS] = file_digest(run.best_model)
    facts = describe_model(module, config, table, evaluation) | chosen | {"sha256": digests}
    return write_json(run.best_facts, facts)


def describe_model(
    module: ClassifierModule, config: TrainConfig, table: ImageTable, evaluation: Evaluation
) -> dict[str, Any]:
    """Return what is needed to use the weights: the metadata, and the parts of the network.

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


class PredictedSplits(NamedTuple):
    """The predictions table of validation and test, and the out-of-distribution scores of each of the two.

    Scores are of the images that this process predicted; none where the module has no ``ood``.
    """

    table: pd.DataFrame
    distances: list[NDArray[np.float64]]


def predict_splits(trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule) -> PredictedSplits:
    """Predict val and test; each image once, however many processes there are.

    Args:
        trainer: that trained.
        module: whose network predicts.
        data: of the run.
    """
    parts = [predict_split(trainer, module, data, part) for part in ("val", "test")]
    return PredictedSplits(pd.concat([table for table, _ in parts], ignore_index=True), [found for _, found in parts])


def predict_split(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, part: str
) -> tuple[pd.DataFrame, NDArray[np.float64]]:
    """Return the predictions table of one split, and the out-of-distribution scores of this process's share.

    Each BatchNorm is folded into its convolution, where images are looked at.
    """
    loader = data.val_dataloader() if part == "val" else data.test_dataloader()
    network = module.network
    module.network = fold_batchnorm(network) if data.datasets[part].features is None else network
    try:
        outputs: Any = trainer.predict(module, loader)
    finally:
        module.network = network
    by_row = {
        int(row): row_probabilities
        for batch in _from_all_processes(outputs)
        for row, row_probabilities in zip(batch.row, batch.probabilities.numpy(), strict=True)
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
    distances = [batch.distance for batch in outputs if batch.distance is not None]
    scores = np.concatenate(distances) if distances else np.empty(0)
    return predictions_table(table, probabilities, module.classes, fold), scores


def _from_all_processes(batches: list[PredictedRows]) -> list[PredictedRows]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return batches
    gathered: list[list[PredictedRows]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(gathered, batches)
    return [batch for process in gathered for batch in process]
