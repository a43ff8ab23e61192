"""The work of ``python -m medclf.evaluate``."""

import logging
from pathlib import Path

import pandas as pd

from medclf.config.run_files import read_metrics
from medclf.config.schema import Dataset, EvaluateConfig
from medclf.config.schema import Evaluation as Config
from medclf.data.preprocessing import seen_by_network
from medclf.evaluation.calibration import fit_temperature
from medclf.evaluation.evaluate import Chosen, Evaluation, evaluate
from medclf.evaluation.operating_point import choose
from medclf.evaluation.predictions import save_predictions, split_of
from medclf.evaluation.predictions_io import load_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.run_images import own_images, with_probabilities
from medclf.plots.image_grids import ImageReader
from medclf.plots.run_plots import GradCam
from medclf.reporting.run_summary import About, about_run, about_table
from medclf.reporting.validation import own_predictions, predictions_file
from medclf.reporting.write import write_outcome
from medclf.utils.csv_tables import read_numbers
from medclf.utils.run_dir import Run

log = logging.getLogger(__name__)


def judge(config: EvaluateConfig, folder: Path, typed: frozenset[str]) -> Evaluation:
    """Judge a run, a table of predictions, or a run's model on other images.

    Args:
        config: which of them, and how.
        folder: gets the figures, the pictures and the report.
        typed: the keys of ``evaluation`` that were typed, or ``evaluation`` itself; of others a run's own values hold.

    Raises:
        DataError, ConfigError: for what a user should mend.
    """
    if config.run is None:
        path = predictions_file(config)
        evaluation = evaluate(load_predictions(path), config.evaluation, config.positive)
        write_outcome(evaluation, about_table(path, config.positive), folder)
    elif config.dataset is None and config.tta == "none":
        evaluation = _judge_run(Run(Path(config.run)), config, typed, folder)
    elif config.dataset is None:
        evaluation = _judge_again(Run(Path(config.run)), config, typed, folder)
    else:
        evaluation = _judge_elsewhere(Run(Path(config.run)), config.dataset, config, typed, folder)
    _report(evaluation, folder)
    return evaluation


def _judge_run(run: Run, config: EvaluateConfig, typed: frozenset[str], folder: Path) -> Evaluation:
    about = about_run(run, read_metrics(run))
    table = own_predictions(run)
    settings, positive = _as_the_run(config.evaluation, about, typed), config.positive or about.positive
    evaluation = evaluate(table, settings, positive, gate=about.gate)
    seen, history = images_of(about), _history(run)
    grad_cam = GradCam.load(run.grad_cam) if run.grad_cam.is_file() and config.evaluation.grad_cam else None
    write_outcome(evaluation, about, folder, seen, history, grad_cam)
    return evaluation


def _judge_again(run: Run, config: EvaluateConfig, typed: frozenset[str], folder: Path) -> Evaluation:
    """With test-time augmentation, threshold and temperature being chosen anew."""
    from medclf.inference.grad_cam import saved_maps  # torch
    from medclf.inference.predictor import engine_of, probabilities_of

    about = about_run(run, read_metrics(run)).augmented()
    _log_notes(about)
    images = own_predictions(run)
    engine = engine_of(run, config)
    dataset, root = own_images(about.config)
    probabilities = probabilities_of(engine, root, list(images["path"]))
    table = with_probabilities(images, probabilities, engine.model.classes)
    settings, positive = _as_the_run(config.evaluation, about, typed), config.positive or about.positive
    evaluation = evaluate(table, settings, positive, gate=about.gate)
    save_predictions(evaluation.decided(table), folder / "predictions.csv")
    seen = seen_by_network(root, dataset, dataset.max_megapixels)
    grad_cam = saved_maps(engine, root, evaluation, seen, Run(folder).grad_cam)
    write_outcome(evaluation, about, folder, seen, _history(run), grad_cam)
    return evaluation


def _judge_elsewhere(
    run: Run, dataset: Dataset, config: EvaluateConfig, typed: frozenset[str], folder: Path
) -> Evaluation:
    from medclf.inference.external import predict_elsewhere  # torch
    from medclf.inference.grad_cam import saved_maps
    from medclf.inference.predictor import engine_of

    about = about_run(run, read_metrics(run))
    # the columns of its own images are not those of other images
    settings = _as_the_run(config.evaluation, about, typed | {"subgroups"})
    positive = config.positive or about.positive
    # the model's own operating point, unless another rule was typed: evaluation=quick is none
    rule = _as_the_run(config.evaluation, about, typed - {"evaluation"})
    validation = split_of(own_predictions(run), "val", positive, gate=about.gate)
    chosen = Chosen(choose(validation, rule), fit_temperature(validation))
    engine = engine_of(run, config)
    elsewhere = predict_elsewhere(run, engine, dataset, config.class_map)
    evaluation = evaluate(elsewhere.table, settings, positive, chosen, about.gate)
    save_predictions(evaluation.decided(elsewhere.table), folder / "predictions.csv")
    about = about.elsewhere(dataset.name, elsewhere.notes)
    about = about if config.tta == "none" else about.augmented()
    _log_notes(about)
    grad_cam = saved_maps(engine, elsewhere.root, evaluation, elsewhere.seen, Run(folder).grad_cam)
    write_outcome(evaluation, about, folder, elsewhere.seen, grad_cam=grad_cam)
    return evaluation


def _log_notes(about: About) -> None:
    for note in about.notes:
        log.info(note)


def _as_the_run(config: Config, about: About, typed: frozenset[str]) -> Config:
    own = {} if "evaluation" in typed else about.config.get("evaluation", {})
    now = config.model_dump()
    return Config.model_validate({**now, **own, **{name: now[name] for name in typed & now.keys()}})


def images_of(about: About) -> ImageReader | None:
    """The images of a run where they still lie where they lay when it was trained."""
    dataset, root = own_images(about.config)
    if not root.is_dir():
        log.warning("dataset.root=%s: is not there, so the pages of images are left out.", dataset.root)
        return None
    return seen_by_network(root, dataset, dataset.max_megapixels)


def _history(run: Run) -> pd.DataFrame | None:
    return read_numbers(run.history) if run.history.is_file() else None


def _report(evaluation: Evaluation, folder: Path) -> None:
    shown = Run(folder).shown
    for remark in evaluation.remarks:
        log.info(remark)
    log.info("Operating point: %s. Temperature: %s.", evaluation.point.words, evaluation.temperature.words)
    log.info("Results\n\n%s\n\nFolder:  %s", metrics_table(evaluation.metrics["test"], "test"), shown)
    if evaluation.config.pictures:
        log.info("Report:  %s/report.html", shown)
