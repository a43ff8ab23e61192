"""What ``python -m medclf.evaluate`` refuses before it makes a folder. Imports no torch."""

from pathlib import Path

import pandas as pd

from medclf.config.command_schemas import EvaluateConfig
from medclf.config.consistency_validation import validate_positive
from medclf.config.run_file_schemas import verify_run_file
from medclf.data.sources.discovery import find_images, is_extracted
from medclf.evaluation.predictions import get_attributes, get_classes
from medclf.evaluation.predictions_io import load_predictions
from medclf.evaluation.subgroups import validate_subgroups
from medclf.inference.class_mapping import match_classes, validate_not_own_images
from medclf.inference.composite_model_files import validate_model
from medclf.inference.training_run_images import validate_run_images
from medclf.utils.run_folder import Run


def validate_predictions(config: EvaluateConfig) -> None:
    """Refuse a predictions table that cannot be judged as the config says.

    Raises:
        DataError, ConfigError: for what is wrong in it, and a positive class or a column that it does not have.
    """
    table = (
        load_predictions(find_predictions_file(config))
        if config.run is None
        else load_own_predictions(Run(Path(config.run)))
    )
    validate_positive("positive", config.positive, get_classes(table))
    if config.dataset is None:
        validate_subgroups(config.evaluation.subgroups, get_attributes(table))


def validate_images(config: EvaluateConfig) -> None:
    """Refuse another dataset whose classes are not a run's, and the run's own, of which no image is looked into.

    Raises:
        DataError, ConfigError: for what is wrong in its folder, and what is not of the run.
    """
    if config.run is None or config.dataset is None:
        return
    run, dataset = Run(Path(config.run)), config.dataset
    validate_not_own_images(run, dataset)
    if (dataset.phantom is not None and not Path(dataset.root).exists()) or not is_extracted(dataset):
        return  # it is made, or extracted, when the work begins
    found = find_images(dataset)
    match_classes(found.classes, get_classes(load_own_predictions(run)), config.class_map)
    validate_subgroups(config.evaluation.subgroups, list(found.images[0].attributes))


def validate_predicting(config: EvaluateConfig) -> None:
    """Refuse a model that is not whole or not trusted, and images to be predicted again that have changed.

    Raises:
        DataError, ConfigError: with the file.
    """
    if config.run is None or (config.dataset is None and config.tta == "none"):
        return
    run = Run(Path(config.run))
    validate_model(run.best_facts, config.trust_code)
    if config.dataset is None:
        validate_run_images(run, load_own_predictions(run))


def load_own_predictions(run: Run) -> pd.DataFrame:
    """Read the predictions table of a run.

    Raises:
        DataError: where it is damaged, or not the one that the run wrote.
    """
    verify_run_file(run, run.predictions)
    return load_predictions(run.predictions)


def find_predictions_file(config: EvaluateConfig) -> Path:
    """Return the predictions table to evaluate, or the one of the run whose model is used."""
    return Path(str(config.predictions)) if config.run is None else Run(Path(config.run)).predictions
