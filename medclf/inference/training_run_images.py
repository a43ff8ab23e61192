"""A run's own validation and test images, predicted again in another way. Imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.config.run_file_schemas import read_config
from medclf.config.schema import DatasetConfig, validate_content
from medclf.data.image_fingerprints import validate_unchanged_images
from medclf.data.sources.discovery import image_root
from medclf.evaluation.predictions import PROBABILITY
from medclf.utils.errors import DataError
from medclf.utils.run_folder import Run


def find_run_images(config: dict[str, Any]) -> tuple[DatasetConfig, Path]:
    """Return the dataset of a run and the folder that its image paths are relative to, which may be gone.

    Args:
        config: of the run.
    """
    dataset = validate_content(config.get("dataset"), DatasetConfig)
    try:
        return dataset, image_root(dataset)
    except DataError:
        return dataset, Path(dataset.root)


def load_run_dataset(run: Run) -> DatasetConfig:
    """Return the dataset that the configuration of a run describes."""
    return find_run_images(read_config(run))[0]


def validate_run_images(run: Run, table: pd.DataFrame) -> None:
    """Refuse to predict again what are not a run's images any more.

    Args:
        run: finished.
        table: its predictions.

    Raises:
        DataError: where they are not there, or are other files.
    """
    dataset, root = find_run_images(read_config(run))
    if not root.is_dir():
        raise DataError(
            f"dataset.root={dataset.root}: the images of {run.shown} are not there (looked for {root.absolute()}), and "
            "tta predicts them again; start where the run was started, or bring them back"
        )
    validate_unchanged_images(root, list(table["path"]), run.fingerprints)


def replace_probabilities(table: pd.DataFrame, probabilities: NDArray[np.float64], classes: list[str]) -> pd.DataFrame:
    """Return a predictions table with other probabilities, shape (rows, classes), and the likeliest class."""
    columns = {PROBABILITY + name: probabilities[:, at] for at, name in enumerate(classes)}
    return table.assign(**columns, predicted_class=np.asarray(classes)[probabilities.argmax(1)])
