"""A run's model on the images of another dataset."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pickle import UnpicklingError
from typing import Any

import lightning
import numpy as np
import pandas as pd
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from omegaconf import OmegaConf

from medclf.config.schema import Dataset, Precision
from medclf.data.datamodule import ImageDataModule
from medclf.data.dataset import Examined, as_test_table, examine
from medclf.data.seen import seen_by_network
from medclf.data.seen_before import seen_before
from medclf.errors import ConfigError, DataError, listed
from medclf.figures.pages import Seen
from medclf.prediction.classes import matched, refuse_own_images
from medclf.runs import Run
from medclf.training.arithmetic import precision_like
from medclf.training.memory import keep_freed_memory
from medclf.training.module import ClassifierModule
from medclf.training.noise import quieten
from medclf.training.predict import predict_split

log = logging.getLogger(__name__)
PREPROCESSING = ("image_size", "channels", "resize", "clahe")


@dataclass(frozen=True)
class Elsewhere:
    """Predictions for the images of another dataset, what was found of them, and the images."""

    table: pd.DataFrame
    notes: list[str]
    seen: Seen


def predict_elsewhere(
    run: Run,
    dataset: Dataset,
    class_map: Mapping[str, str | None],
    accelerator: str,
    precision: Precision | None = None,
) -> Elsewhere:
    """Predict every image of a dataset with the best checkpoint of a run, preprocessed as the run's own were.

    Args:
        run: finished.
        dataset: where the images are; its preprocessing is not used.
        class_map: the model's name of a class found there, or None to leave its images out; equal names need none.
        accelerator: of Lightning.
        precision: of Lightning; None: float32 where the run was trained in it, else what the machine is built for.

    Raises:
        ConfigError: for classes that do not match, and the images that the run was trained on.
        DataError: for what is wrong with the images.
    """
    quieten()
    keep_freed_memory()
    refuse_own_images(run, dataset)
    module = _model(run)
    own: Any = OmegaConf.to_container(OmegaConf.load(run.config))
    if precision is None:
        precision, why = precision_like(own["trainer"]["precision"], accelerator)
        log.info("Precision %s: %s.", precision, why)
    trainer = _trainer(accelerator, precision)
    form = {name: own["dataset"][name] for name in PREPROCESSING}
    dataset = Dataset.model_validate({**dataset.model_dump(), **form})
    examined = examine(dataset)
    class_of = matched(examined.found.classes, module.classes, class_map)
    leaked = _leaked(run, examined, dataset)
    table = replace(as_test_table(examined, dataset, class_of, leaked), classes=module.classes)
    data = ImageDataModule(table, dataset, lambda image: image)
    data.setup()
    predictions = predict_split(trainer, module, data, "test")
    notes = [*table.notes, *_left_out(class_of), *_named(leaked, examined)]
    return Elsewhere(predictions, notes, seen_by_network(table.root, dataset))


def _leaked(run: Run, examined: Examined, dataset: Dataset) -> NDArray[np.bool_]:
    """Which images look like those that the model was trained on."""
    if not run.fingerprints.is_file():
        return np.zeros(len(examined.prints), bool)
    leaked = seen_before(examined.prints, run.fingerprints, dataset.duplicates.near)
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


def _model(run: Run) -> ClassifierModule:
    try:
        return ClassifierModule.load_from_checkpoint(run.best_checkpoint, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{run.best_checkpoint}: the model cannot be read: {reason}") from error


def _trainer(accelerator: str, precision: Precision) -> lightning.Trainer:
    try:
        return lightning.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, RuntimeError) as error:
        raise ConfigError(f"accelerator={accelerator}: {error}") from error


def _left_out(class_of: Mapping[str, str | None]) -> list[str]:
    out = [name for name, ours in class_of.items() if ours is None]
    joined = [f"{name} as {ours}" for name, ours in class_of.items() if ours not in (None, name)]
    lines = [f"Images of class {listed(out)} were left out."] if out else []
    return lines + ([f"Classes were taken so: {listed(joined)}."] if joined else [])
