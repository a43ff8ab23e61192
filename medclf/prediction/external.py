"""A run's model on the images of another dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import lightning
import pandas as pd
from omegaconf import OmegaConf

from medclf.config.schema import Dataset
from medclf.data.datamodule import ImageDataModule
from medclf.data.dataset import as_test_table, examine
from medclf.data.seen import seen_by_network
from medclf.errors import ConfigError, DataError, did_you_mean, listed
from medclf.figures.pages import Seen
from medclf.runs import Run
from medclf.training.module import ClassifierModule
from medclf.training.noise import quieten
from medclf.training.predict import predict_split

PREPROCESSING = ("image_size", "channels", "resize", "clahe")


@dataclass(frozen=True)
class Elsewhere:
    """Predictions for the images of another dataset, what was found of them, and the images."""

    table: pd.DataFrame
    notes: list[str]
    seen: Seen


def predict_elsewhere(run: Run, dataset: Dataset, class_map: Mapping[str, str | None], accelerator: str) -> Elsewhere:
    """Predict every image of a dataset with the best checkpoint of a run, preprocessed as the run's own were.

    Args:
        run: finished.
        dataset: where the images are; its preprocessing is not used.
        class_map: the model's name of a class found there, or None to leave its images out; equal names need none.
        accelerator: of Lightning.

    Raises:
        ConfigError: for classes that do not match, and the images that the run was trained on.
        DataError: for what is wrong with the images.
    """
    quieten()
    own = OmegaConf.load(run.config).dataset
    if Path(str(own.root)).resolve() == Path(dataset.root).resolve():
        raise ConfigError(
            f"dataset.root={dataset.root}: holds the images that {run.shown} was trained on; its test images are "
            f"judged by python -m medclf.evaluate run={run.shown}"
        )
    try:
        module = ClassifierModule.load_from_checkpoint(run.best_checkpoint, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"run={run.shown}: has no model: {error}") from error
    plain = OmegaConf.to_container(own)
    assert isinstance(plain, dict)
    form = {name: plain[name] for name in PREPROCESSING}
    dataset = Dataset.model_validate({**dataset.model_dump(), **form})
    examined = examine(dataset)
    class_of = matched(examined.found.classes, module.classes, class_map)
    table = replace(as_test_table(examined, dataset, class_of), classes=module.classes)
    data = ImageDataModule(table, dataset, lambda image: image)
    data.setup()
    trainer = lightning.Trainer(
        accelerator=accelerator, devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False
    )
    predictions = predict_split(trainer, module, data, "test")
    return Elsewhere(predictions, [*table.notes, *_left_out(class_of)], seen_by_network(table.root, dataset))


def matched(found: list[str], known: list[str], class_map: Mapping[str, str | None]) -> dict[str, str | None]:
    """The model's name of each class found, or None where its images are left out.

    Raises:
        ConfigError: for a class that matches none, and entries of the map that name nothing.
    """
    for name, ours in class_map.items():
        if name not in found:
            raise ConfigError(
                f"class_map.{name}: the dataset has no such class; {did_you_mean(name, found)}It has: {listed(found)}"
            )
        if ours is not None and ours not in known:
            raise ConfigError(
                f"class_map.{name}={ours}: the model knows no such class; {did_you_mean(ours, known)}"
                f"It knows: {listed(known)}"
            )
    strange = [name for name in found if name not in class_map and name not in known]
    if strange:
        raise ConfigError(
            f"class {listed(strange)} of the dataset is none of the model's ({listed(known)}); say which it is, "
            f"class_map.{strange[0]}={known[0]}, or leave its images out, class_map.{strange[0]}=null"
        )
    class_of = {name: class_map.get(name, name) for name in found}
    if all(ours is None for ours in class_of.values()):
        raise ConfigError("class_map: leaves out every class; no image is left to test on")
    return class_of


def _left_out(class_of: Mapping[str, str | None]) -> list[str]:
    out = [name for name, ours in class_of.items() if ours is None]
    joined = [f"{name} as {ours}" for name, ours in class_of.items() if ours not in (None, name)]
    lines = [f"Images of class {listed(out)} were left out."] if out else []
    return lines + ([f"Classes were taken so: {listed(joined)}."] if joined else [])
