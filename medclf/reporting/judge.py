"""The work of ``python -m medclf.evaluate``."""

import logging
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from medclf.config.checks import check_positive
from medclf.config.schema import Dataset, EvaluateConfig
from medclf.config.schema import Evaluation as Config
from medclf.data.seen import seen_by_network
from medclf.data.sources.find import find_images, image_root, is_extracted
from medclf.errors import DataError
from medclf.evaluation.calibration import fit_temperature
from medclf.evaluation.evaluate import Chosen, Evaluation, evaluate
from medclf.evaluation.operating_point import choose
from medclf.evaluation.predictions import attributes_of, classes_of, save_predictions, split_of
from medclf.evaluation.reading import load_predictions
from medclf.evaluation.subgroups import check_subgroups
from medclf.evaluation.summary import metrics_table
from medclf.figures.draw import GradCam
from medclf.figures.pages import Seen
from medclf.prediction.classes import matched, refuse_own_images
from medclf.reporting.about import About, about_run, about_table
from medclf.reporting.outcome import write_outcome
from medclf.runs import Run, read_json

log = logging.getLogger(__name__)


def check_predictions(config: EvaluateConfig) -> None:
    """Refuse a predictions table that cannot be judged as the config says.

    Raises:
        DataError, ConfigError: for what is wrong in it, and a positive class or a column that it does not have.
    """
    table = load_predictions(_predictions_file(config))
    check_positive("positive", config.positive, classes_of(table))
    if config.dataset is None:
        check_subgroups(config.evaluation.subgroups, attributes_of(table))


def check_images(config: EvaluateConfig) -> None:
    """Refuse another dataset whose classes are not a run's, and the run's own; no image is looked into.

    Raises:
        DataError, ConfigError: for what is wrong in its folder, and what is not of the run.
    """
    if config.run is None or config.dataset is None:
        return
    run, dataset = Run(Path(config.run)), config.dataset
    refuse_own_images(run, dataset)
    if (dataset.phantom is not None and not Path(dataset.root).exists()) or not is_extracted(dataset):
        return  # it is made, or extracted, when the work begins
    found = find_images(dataset)
    matched(found.classes, classes_of(load_predictions(run.predictions)), config.class_map)
    check_subgroups(config.evaluation.subgroups, list(found.images[0].attributes))


def _predictions_file(config: EvaluateConfig) -> Path:
    return Path(str(config.predictions)) if config.run is None else Run(Path(config.run)).predictions


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
        path = _predictions_file(config)
        evaluation = evaluate(load_predictions(path), config.evaluation, config.positive)
        write_outcome(evaluation, about_table(path, config.positive), folder)
    elif config.dataset is None:
        evaluation = _judge_run(Run(Path(config.run)), config, typed, folder)
    else:
        evaluation = _judge_elsewhere(Run(Path(config.run)), config.dataset, config, typed, folder)
    _report(evaluation, folder)
    return evaluation


def _judge_run(run: Run, config: EvaluateConfig, typed: frozenset[str], folder: Path) -> Evaluation:
    about = about_run(run, read_json(run.metrics))
    table = load_predictions(run.predictions)
    evaluation = evaluate(table, _as_the_run(config.evaluation, about, typed), config.positive or about.positive)
    seen = images_of(about)
    history = pd.read_csv(run.history) if run.history.is_file() else None
    grad_cam = GradCam.load(run.grad_cam) if run.grad_cam.is_file() and config.evaluation.grad_cam else None
    write_outcome(evaluation, about, folder, seen, history, grad_cam)
    return evaluation


def _judge_elsewhere(
    run: Run, dataset: Dataset, config: EvaluateConfig, typed: frozenset[str], folder: Path
) -> Evaluation:
    from medclf.prediction.external import predict_elsewhere  # torch and lightning

    about = about_run(run, read_json(run.metrics))
    # the columns of its own images are not those of other images
    settings = _as_the_run(config.evaluation, about, typed | {"subgroups"})
    positive = config.positive or about.positive
    # the model's own operating point, unless another rule was typed: evaluation=quick is none
    rule = _as_the_run(config.evaluation, about, typed - {"evaluation"})
    validation = split_of(load_predictions(run.predictions), "val", positive)
    chosen = Chosen(choose(validation, rule), fit_temperature(validation))
    elsewhere = predict_elsewhere(run, dataset, config.class_map, config.accelerator, config.precision)
    save_predictions(elsewhere.table, folder / "predictions.csv")
    evaluation = evaluate(elsewhere.table, settings, positive, chosen)
    about = about.elsewhere(dataset.name, elsewhere.notes)
    for note in about.notes:
        log.info(note)
    write_outcome(evaluation, about, folder, elsewhere.seen)
    return evaluation


def _as_the_run(config: Config, about: About, typed: frozenset[str]) -> Config:
    own = {} if "evaluation" in typed else about.config.get("evaluation", {})
    now = config.model_dump()
    return Config.model_validate({**now, **own, **{name: now[name] for name in typed & now.keys()}})


def images_of(about: About) -> Seen | None:
    """The images of a run where they still lie where they lay when it was trained."""
    node = OmegaConf.create(about.config["dataset"])
    dataset = Dataset.model_validate(OmegaConf.to_container(node))
    try:
        root = image_root(dataset)
    except DataError:
        root = Path(dataset.root)
    if not root.is_dir():
        log.warning("dataset.root=%s: is not there, so the pages of images are left out.", dataset.root)
        return None
    return seen_by_network(root, dataset)


def _report(evaluation: Evaluation, folder: Path) -> None:
    shown = Run(folder).shown
    for remark in evaluation.remarks:
        log.info(remark)
    log.info("Operating point: %s. Temperature: %s.", evaluation.point.words, evaluation.temperature.words)
    log.info("Results\n\n%s\n\nFolder:  %s", metrics_table(evaluation.metrics["test"], "test"), shown)
    if evaluation.config.pictures:
        log.info("Report:  %s/report.html", shown)
