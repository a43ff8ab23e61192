"""A run's model on the images of another dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.config.schema import DatasetConfig
from medclf.data.build_image_table import DatasetScan, build_test_table, scan_dataset
from medclf.data.preprocessing import read_network_input
from medclf.data.training_overlap import find_training_overlap, read_fingerprints
from medclf.evaluation.predictions import predictions_table
from medclf.inference.batch_predict import predict_probabilities
from medclf.inference.class_mapping import match_classes
from medclf.inference.predictor import Predictor
from medclf.plots.image_grids import ImageReader
from medclf.utils.errors import DataError, format_list
from medclf.utils.run_folder import Run


@dataclass(frozen=True)
class ExternalPredictions:
    """Predictions for the images of another dataset, what was found of them, the images and their folder."""

    table: pd.DataFrame
    notes: list[str]
    seen: ImageReader
    root: Path


def predict_external(
    run: Run, engine: Predictor, dataset: DatasetConfig, class_map: Mapping[str, str | None]
) -> ExternalPredictions:
    """Predict every image of a dataset with the model of a run, preprocessed as the run's own were.

    Args:
        run: finished.
        engine: its model.
        dataset: where the images are; its preprocessing is not used.
        class_map: the model's name of a class found there, or None to leave its images out; equal names need none.

    Raises:
        ConfigError: for classes that do not match.
        DataError: for what is wrong with the images.
    """
    model = engine.model
    examined = scan_dataset(dataset)
    class_of = match_classes(examined.found.classes, model.classes, class_map)
    leaked = _leaked(run, examined, dataset)
    images = build_test_table(examined, dataset, class_of, leaked)
    probabilities = predict_probabilities(engine, images.root, list(images.frame["path"]))
    table = predictions_table(images.frame, probabilities, model.classes)
    notes = [*images.notes, *_left_out(class_of), *_named(leaked, examined)]
    return ExternalPredictions(
        table, notes, read_network_input(images.root, model.forms[0], dataset.max_megapixels), images.root
    )


def _leaked(run: Run, examined: DatasetScan, dataset: DatasetConfig) -> NDArray[np.bool_]:
    """Which images look like those that the model was trained on."""
    if not run.fingerprints.is_file():
        return np.zeros(len(examined.prints), bool)
    known = read_fingerprints(run.fingerprints)
    leaked = find_training_overlap(examined.prints, known[known["split"] != "test"], dataset.duplicates.near)
    if leaked.all():
        raise DataError(
            f"dataset.root={dataset.root}: every image equals or looks like one that {run.shown} was trained on; "
            "others are needed"
        )
    return leaked


def _named(leaked: NDArray[np.bool_], examined: DatasetScan) -> list[str]:
    paths = [examined.found.images[at].path for at in np.flatnonzero(leaked)]
    if not paths:
        return []
    return [
        f"Left out, since they look like images that the model was trained on: {len(paths)} ({format_list(paths, 5)})."
    ]


def _left_out(class_of: Mapping[str, str | None]) -> list[str]:
    out = [name for name, ours in class_of.items() if ours is None]
    joined = [f"{name} as {ours}" for name, ours in class_of.items() if ours not in (None, name)]
    lines = [f"Images of class {format_list(out)} were left out."] if out else []
    return lines + ([f"Classes were taken so: {format_list(joined)}."] if joined else [])
