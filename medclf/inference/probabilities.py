"""The probabilities that a model gives to the images of a table, all of which are readable."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.config.schema import EvaluateConfig
from medclf.inference.loading import load_model
from medclf.inference.predictor import Engine
from medclf.inference.stream import predict_stream
from medclf.utils.errors import DataError
from medclf.utils.file_limits import HIGHEST_MAX_MEGAPIXELS
from medclf.utils.memory import keep_freed_memory
from medclf.utils.run_dir import Run

log = logging.getLogger(__name__)


def engine_of(run: Run, config: EvaluateConfig) -> Engine:
    """The model of a run, at work as the config says.

    Raises:
        DataError, ConfigError: for a model that cannot be read, or is of code that is not trusted; a device that is not
            there.
    """
    keep_freed_memory()
    model = load_model(run.best_facts, config.trust_code)
    # a run's own images are known to be those that it accepted
    most = HIGHEST_MAX_MEGAPIXELS if config.dataset is None else config.dataset.max_megapixels
    return Engine(model, config.accelerator, config.precision, config.tta, most)


def probabilities_of(engine: Engine, root: Path, paths: Sequence[str]) -> NDArray[np.float64]:
    """The network's own probabilities, which the threshold is for, shape (images, classes).

    Args:
        engine: predicts.
        root: folder that the paths are below.
        paths: of the images.

    Raises:
        DataError: for an image that cannot be read.
    """
    found = []
    for part in predict_stream(engine, lambda row: engine.see(root, paths[row]), len(paths)):
        for row, reason in part.unreadable.items():
            raise DataError(f"{root / paths[row]}: cannot be read: {reason}")
        found += [] if part.found is None else [part.found.uncalibrated]
    return np.concatenate(found)
