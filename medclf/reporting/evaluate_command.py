"""The work of ``python -m medclf.evaluate``."""

import logging
from pathlib import Path

import pandas as pd

from medclf.config.command_schemas import EvaluateConfig
from medclf.config.run_file_schemas import read_metrics
from medclf.config.schema import DatasetConfig, EvaluationConfig
from medclf.data.preprocessing import read_network_input
from medclf.evaluation.calibration import fit_temperature
from medclf.evaluation.evaluate import Evaluation, FrozenDecision, evaluate
from medclf.evaluation.operating_point import choose_operating_point
from medclf.evaluation.predictions import save_predictions, select_split
from medclf.evaluation.predictions_io import load_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.training_run_images import find_run_images, replace_probabilities
from medclf.plots.image_grids import ImageReader
from medclf.plots.run_plots import GradCam
from medclf.reporting.evaluate_input_validation import find_predictions_file, load_own_predictions
from medclf.reporting.run_description import RunSummary, summarize_run, summarize_table
from medclf.reporting.write_results import write_outcome
from medclf.utils.csv_tables import read_numbers
from medclf.utils.run_folder import Run

log = logging.getLogger(__name__)


def evaluate_run(config: EvaluateConfig, folder: Path, typed: frozenset[str]) -> Evaluation:
    """Judge a run, a table of predictions, or a run's model on other images.

    Args:
        config: which of them, and how.
        folder: gets the figures, the pictures and the report.
        typed: the keys of ``evaluation`` that were typed, or ``evaluation`` itself; of others a run's own values hold.

    Raises:
        DataError, ConfigError: for what a user should mend.
    """
    if config.run is None:
        path = find_predictions_file(config)
        evaluation = evaluate(load_predictions(path), config.evaluation, config.positive)
        write_outcome(evaluation, summarize_table(path, config.positive), folder)
    elif config.dataset is None and config.tta == "none":
        evaluation = _judge_run(Run(Path(config.run)), config, typed, folder)
    elif config.dataset is None:
        evaluation = _judge_again(Run(Path(config.run)), config, typed, folder)
    else:
        evaluation = _judge_elsewhere(Run(Path(config.run)), config.dataset, config, typed, folder)
    _report(evaluation, folder)
    return evaluation


def _judge_run(run: Run, config: EvaluateConfig, typed: frozenset[str], folder: Path) -> Evaluation:
    about = summarize_run(run, read_metrics(run))
    table = load_own_predictions(run)
    settings, positive = _as_the_run(config.evaluation, about, typed), config.positive or about.positive
    evaluation = evaluate(table, settings, positive, gate=about.gate)
    seen, history = build_image_reader(about), _history(run)
    grad_cam = GradCam.load(run.grad_cam) if run.grad_cam.is_file() and config.evaluation.grad_cam else None
    write_outcome(evaluation, about, folder, seen, history, grad_cam)
    return evaluation


def _judge_again(run: Run, config: EvaluateConfig, typed: frozenset[str], folder: Path) -> Evaluation:
    """Evaluate with test-time augmentation; threshold and temperature are chosen again."""
    from medclf.inference.batch_predict import build_predictor, predict_probabilities
    from medclf.inference.grad_cam import save_model_grad_cam  # torch

    about = summarize_run(run, read_metrics(run)).augmented()
    _log_notes(about)
    images = load_own_predictions(run)
    engine = build_predictor(run, config)
    dataset, root = find_run_images(about.config)
    probabilities = predict_probabilities(engine, root, list(images["path"]))
    table = replace_probabilities(images, probabilities, engine.model.classes)
    settings, positive = _as_the_run(config.evaluation, about, typed), config.positive or about.positive
    evaluation = evaluate(table, settings, positive, gate=about.gate)
    save_predictions(evaluation.decided(table), folder / "predictions.csv")
    seen = read_network_input(root, dataset, dataset.max_megapixels)
    grad_cam = save_model_grad_cam(engine, root, evaluation, seen, Run(folder).grad_cam)
    write_outcome(evaluation, about, folder, seen, _history(run), grad_cam)
    return evaluation


def _judge_elsewhere(
    run: Run, dataset: DatasetConfig, config: EvaluateConfig, typed: frozenset[str], folder: Path
) -> Evaluation:
    from medclf.inference.batch_predict import build_predictor
    from medclf.inference.external_dataset import predict_external  # torch
    from medclf.inference.grad_cam import save_model_grad_cam

    about = summarize_run(run, read_metrics(run))
    # the columns of its own images are not those of other images
    settings = _as_the_run(config.evaluation, about, typed | {"subgroups"})
    positive = config.positive or about.positive
    # the model's own operating point, unless another rule was typed: evaluation=quick is none
    rule = _as_the_run(config.evaluation, about, typed - {"evaluation"})
    validation = select_split(load_own_predictions(run), "val", positive, gate=about.gate)
    chosen = FrozenDecision(choose_operating_point(validation, rule), fit_temperature(validation))
    engine = build_predictor(run, config)
    elsewhere = predict_external(run, engine, dataset, config.class_map)
    evaluation = evaluate(elsewhere.table, settings, positive, chosen, about.gate)
    save_predictions(evaluation.decided(elsewhere.table), folder / "predictions.csv")
    about = about.elsewhere(dataset.name, elsewhere.notes)
    about = about if config.tta == "none" else about.augmented()
    _log_notes(about)
    grad_cam = save_model_grad_cam(engine, elsewhere.root, evaluation, elsewhere.seen, Run(folder).grad_cam)
    write_outcome(evaluation, about, folder, elsewhere.seen, grad_cam=grad_cam)
    return evaluation


def _log_notes(about: RunSummary) -> None:
    for note in about.notes:
        log.info(note)


def _as_the_run(config: EvaluationConfig, about: RunSummary, typed: frozenset[str]) -> EvaluationConfig:
    own = {} if "evaluation" in typed else about.config.get("evaluation", {})
    now = config.model_dump()
    return EvaluationConfig.model_validate({**now, **own, **{name: now[name] for name in typed & now.keys()}})


def build_image_reader(about: RunSummary) -> ImageReader | None:
    """Return a reader of a run's images, if they are still where they were during training."""
    dataset, root = find_run_images(about.config)
    if not root.is_dir():
        log.warning("dataset.root=%s: is not there, so the pages of images are left out.", dataset.root)
        return None
    return read_network_input(root, dataset, dataset.max_megapixels)


def _history(run: Run) -> pd.DataFrame | None:
    return read_numbers(run.history) if run.history.is_file() else None


def _report(evaluation: Evaluation, folder: Path) -> None:
    shown = Run(folder).shown
    for remark in evaluation.remarks:
        log.info(remark)
    log.info("Operating point: %s. Temperature: %s.", evaluation.point.words, evaluation.temperature.words)
    log.info("Results\n\n%s\n\nFolder:  %s", metrics_table(evaluation.metrics["test"], "test"), shown)
    if evaluation.config.plots:
        log.info("Report:  %s/report.html", shown)
