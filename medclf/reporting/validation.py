"""What ``python -m medclf.evaluate`` refuses before it makes a folder. Imports no torch."""

from pathlib import Path

import pandas as pd

from medclf.config.run_files import verify
from medclf.config.schema import EvaluateConfig
from medclf.config.validation import check_positive
from medclf.data.sources.discovery import find_images, is_extracted
from medclf.evaluation.predictions import attributes_of, classes_of
from medclf.evaluation.predictions_io import load_predictions
from medclf.evaluation.subgroups import check_subgroups
from medclf.inference.class_mapping import matched, refuse_own_images
from medclf.inference.model_files import check_model
from medclf.inference.run_images import refuse_changed_images
from medclf.utils.run_dir import Run


def check_predictions(config: EvaluateConfig) -> None:
    """Refuse a predictions table that cannot be judged as the config says.

    Raises:
        DataError, ConfigError: for what is wrong in it, and a positive class or a column that it does not have.
    """
    table = load_predictions(predictions_file(config)) if config.run is None else own_predictions(Run(Path(config.run)))
    check_positive("positive", config.positive, classes_of(table))
    if config.dataset is None:
        check_subgroups(config.evaluation.subgroups, attributes_of(table))


def check_images(config: EvaluateConfig) -> None:
    """Refuse another dataset whose classes are not a run's, and the run's own, of which no image is looked into.

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
    matched(found.classes, classes_of(own_predictions(run)), config.class_map)
    check_subgroups(config.evaluation.subgroups, list(found.images[0].attributes))


def check_predicting(config: EvaluateConfig) -> None:
    """Refuse a model that is not whole or not trusted, and images to be predicted again that have changed.

    Raises:
        DataError, ConfigError: with the file.
    """
    if config.run is None or (config.dataset is None and config.tta == "none"):
        return
    run = Run(Path(config.run))
    check_model(run.best_facts, config.trust_code)
    if config.dataset is None:
        refuse_changed_images(run, own_predictions(run))


def own_predictions(run: Run) -> pd.DataFrame:
    """Read the predictions table of a run.

    Raises:
        DataError: where it is damaged, or not the one that the run wrote.
    """
    verify(run, run.predictions)
    return load_predictions(run.predictions)


def predictions_file(config: EvaluateConfig) -> Path:
    """The table of predictions that is judged, or whose run's model is used."""
    return Path(str(config.predictions)) if config.run is None else Run(Path(config.run)).predictions
