"""A run's model on the images of another dataset."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.config.schema import Dataset
from medclf.data.preprocessing import seen_by_network
from medclf.data.scan import Examined, as_test_table, examine
from medclf.data.training_overlap import read_fingerprints, seen_before
from medclf.evaluation.predictions import predictions_table
from medclf.inference.class_mapping import matched
from medclf.inference.predictor import Predictor, probabilities_of
from medclf.plots.image_grids import ImageReader
from medclf.utils.errors import DataError, listed
from medclf.utils.run_dir import Run


@dataclass(frozen=True)
class Elsewhere:
    """Predictions for the images of another dataset, what was found of them, the images and their folder."""

    table: pd.DataFrame
    notes: list[str]
    seen: ImageReader
    root: Path


def predict_elsewhere(run: Run, engine: Predictor, dataset: Dataset, class_map: Mapping[str, str | None]) -> Elsewhere:
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
    examined = examine(dataset)
    class_of = matched(examined.found.classes, model.classes, class_map)
    leaked = _leaked(run, examined, dataset)
    images = as_test_table(examined, dataset, class_of, leaked)
    probabilities = probabilities_of(engine, images.root, list(images.frame["path"]))
    table = predictions_table(images.frame, probabilities, model.classes)
    notes = [*images.notes, *_left_out(class_of), *_named(leaked, examined)]
    return Elsewhere(table, notes, seen_by_network(images.root, model.forms[0], dataset.max_megapixels), images.root)


def _leaked(run: Run, examined: Examined, dataset: Dataset) -> NDArray[np.bool_]:
    """Which images look like those that the model was trained on."""
    if not run.fingerprints.is_file():
        return np.zeros(len(examined.prints), bool)
    known = read_fingerprints(run.fingerprints)
    leaked = seen_before(examined.prints, known[known["split"] != "test"], dataset.duplicates.near)
    if leaked.all():
        raise DataError(
            f"dataset.root={dataset.root}: every image equals or looks like one that {run.shown} was trained on; "
            "others are needed"
        )
    return leaked


def _named(leaked: NDArray[np.bool_], examined: Examined) -> list[str]:
    paths = [examined.found.images[at].path for at in np.flatnonzero(leaked)]
    if not paths:
        return []
    return [f"Left out, since they look like images that the model was trained on: {len(paths)} ({listed(paths, 5)})."]


def _left_out(class_of: Mapping[str, str | None]) -> list[str]:
    out = [name for name, ours in class_of.items() if ours is None]
    joined = [f"{name} as {ours}" for name, ours in class_of.items() if ours not in (None, name)]
    lines = [f"Images of class {listed(out)} were left out."] if out else []
    return lines + ([f"Classes were taken so: {listed(joined)}."] if joined else [])
