"""The Python API: what the commands do, as functions that return tables and leave their process as it was."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from medclf.cli.python_call import (
    TrainingCall,
    check_words,
    compose_config,
    compose_training,
    keep_hydra_state,
    refuse_used,
    save_overrides,
)
from medclf.config.command_schemas import AuditConfig, EvaluateConfig, PredictConfig
from medclf.config.messages import format_value
from medclf.config.schema import TestTime, TrainConfig, validate_content
from medclf.config.trainer_schema import Accelerator, Precision
from medclf.config.validation import validate_dataset_config, validate_run_folder, validate_train_config
from medclf.utils.errors import ConfigError, DataError
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS
from medclf.utils.quoting import format_override
from medclf.utils.run_folder import Run, lock_run

if TYPE_CHECKING:
    from medclf.inference.predictor import NetworkInputs, Predictor

PathLike = str | os.PathLike[str]
ImageInput = PathLike | Image.Image | NDArray[np.uint8]
"""A file, an image of Pillow, or pixels of 0 to 255: uint8, shape (height, width) or (height, width, 3)."""


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run.

    ``metrics`` has a row for each metric of each split: ``split``, ``metric``, ``class`` (empty: over all), ``value``,
    ``low`` and ``high`` (95 % interval), ``n``, ``method``, ``reason``. ``predictions`` has a row for each validation
    and test image. ``plots`` are PNG files; none where ``evaluation.pictures`` was off.
    """

    folder: Path
    metrics: pd.DataFrame = field(repr=False)
    predictions: pd.DataFrame = field(repr=False)
    plots: list[Path] = field(repr=False)

    def load_model(self, **options: Any) -> "TrainedModel":
        """Load the model of the run.

        Args:
            options: those of ``medclf.load_model``.
        """
        return load_model(self.folder, **options)


class TrainedModel:
    """A trained model that predicts the class of images.

    Args:
        predictor: the model on its device.
    """

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor

    @property
    def classes(self) -> list[str]:
        """The classes in the order of the probabilities."""
        return list(self._predictor.model.classes)

    def predict(
        self, images: ImageInput | Iterable[ImageInput], batch_size: int = 32, progress: bool = False
    ) -> pd.DataFrame:
        """Predict images as ``python -m medclf.predict`` does.

        Args:
            images: one image or several: paths, images of Pillow, or uint8 arrays of shape (height, width) or
                (height, width, 3).
            batch_size: images at once.
            progress: whether to show a bar.

        Returns:
            A row for each image, in order: ``path`` (empty for an image in memory), ``predicted_class`` at the
            operating point, a calibrated probability ``prob_<class>`` for each class, ``distance`` from the training
            images where the model measures it, ``flag`` (empty, ``unreadable`` or ``unlike training``) and ``reason``.
            An image that cannot be read has a row without class and probabilities, which says why.

        Raises:
            DataError: for what is not an image: another type, dtype or shape.
            ConfigError: for a batch size that is not a positive whole number.
        """
        from medclf.inference.batch_predict import build_rows, predict_stream
        from medclf.inference.output import build_header

        size = validate_content({"input": "images", "batch_size": batch_size}, PredictConfig).batch_size
        model = self._predictor.model
        items = _list_images(images)
        readers = [_build_reader(self._predictor, item, place) for place, item in enumerate(items)]
        rows: dict[int, list[str | float]] = {}
        for part in predict_stream(self._predictor, lambda row: readers[row](), len(items), size, progress):
            rows |= build_rows(model, part)
        header = build_header(model.classes, model.novelty is not None)
        shown = [_show_path(item) for item in items]
        frame = pd.DataFrame([[shown[row], *rows[row]] for row in sorted(rows)], columns=header)
        numbers = [name for name in header if name.startswith("prob_") or name == "distance"]
        return frame.assign(**{name: pd.to_numeric(frame[name]).astype(float) for name in numbers})


@dataclass(frozen=True, eq=False)
class DatasetAudit:
    """What is in a dataset and what is wrong with it.

    ``findings`` are what should be looked at, a sentence each. ``images`` has a row for each image: path, class, group,
    split, size, mode and hashes. ``counts`` are images by class and split, ``facts`` names and values for people.
    """

    findings: list[str]
    images: pd.DataFrame = field(repr=False)
    counts: pd.DataFrame = field(repr=False)
    facts: dict[str, str] = field(repr=False)


def train_model(
    overrides: Sequence[str] = (),
    output: PathLike | None = None,
    *,
    trust_code: bool = False,
    progress: bool = True,
) -> TrainedRun:
    """Train, test and log one classifier in this process, as ``python -m medclf.train`` does.

    The same overrides give the same folder and the same numbers as the command. Ctrl-C raises KeyboardInterrupt;
    ``train_model(["resume=FOLDER"])`` resumes the run.

    Args:
        overrides: what one types after the command, such as ``["dataset=busi", "model=resnet18"]``.
        output: run folder, new or empty; None: one below ``runs``.
        trust_code: whether classes of your own may be imported and run.
        progress: whether to show bars while images are read and while the network trains.

    Raises:
        MedclfError: for what the caller can correct; what can be known beforehand comes before a folder is made.
    """
    folder = None if output is None else _check_path("output", output)
    with keep_hydra_state():
        call = compose_training(overrides, folder, trust_code, _check_training)
    with lock_run(call.folder, "output" if call.node is not None else "resume"):
        if call.node is not None:
            refuse_used(call.folder)
            save_overrides(call)
        _train(call, progress)
    return load_run(call.folder)


def _check_training(config: TrainConfig) -> None:
    from medclf.data.quick_checks import validate_image_files

    validate_train_config(config)
    validate_image_files(config)


def _train(call: TrainingCall, progress: bool) -> None:
    from medclf.training.process_state import keep_process_state, log_to_file
    from medclf.training.progress_bar import build_progress_callbacks
    from medclf.training.run import TERMINATED, train_and_test

    with keep_process_state(), log_to_file(call.folder / "train.log"):
        try:
            callbacks = build_progress_callbacks(call.config, progress)
            train_and_test(call.config, call.folder, command=call.command, callbacks=callbacks, progress=progress)
        except SystemExit as stop:
            if stop.code == TERMINATED:  # SIGTERM ends the process, as it does elsewhere
                raise
            raise KeyboardInterrupt from None  # Lightning's answer to Ctrl-C


def load_run(path: PathLike) -> TrainedRun:
    """Load the results of a finished run: a training, an ensemble or a cascade.

    Args:
        path: run folder.

    Raises:
        ConfigError: for a folder that is not a run, or a run that has not finished.
        DataError: for files that are damaged or not those that the run wrote.
    """
    from medclf.config.run_file_schemas import verify_run_file
    from medclf.evaluation.summary import read_metrics_frame
    from medclf.reporting.evaluate_input_validation import is_own_predictions

    run = Run(_check_path("run", path).absolute())
    validate_run_folder(run, needs_model=False)
    verify_run_file(run, run.metrics_table)
    return TrainedRun(
        folder=run.folder,
        metrics=read_metrics_frame(run.metrics_table),
        predictions=is_own_predictions(run),
        plots=sorted(run.figures.glob("*.png")),
    )


def load_model(
    path: PathLike,
    *,
    accelerator: Accelerator = "auto",
    precision: Precision | None = None,
    tta: TestTime = "none",
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    trust_code: bool = False,
) -> TrainedModel:
    """Load a trained model.

    Args:
        path: run folder, or ``best.pth`` with ``best.json`` next to it.
        accelerator: auto, cpu, gpu or mps.
        precision: 32-true, 16-mixed or bf16-mixed; None: as trained, and as the machine is built for.
        tta: none, or flip: the mean over each image and its mirror image.
        max_megapixels: images of more millions of pixels are not read.
        trust_code: whether a network of your own code may be imported and run.

    Raises:
        ConfigError: for a path without a model, a device that is not there, code that is not trusted.
        DataError: for a model that is damaged.
    """
    from medclf.inference.model_files import validate_model
    from medclf.inference.model_metadata import find_model_file

    place = _check_path("model", path)
    options = {"accelerator": accelerator, "precision": precision, "tta": tta, "max_megapixels": max_megapixels}
    config = validate_content({**options, "input": "images", "trust_code": trust_code}, PredictConfig)
    facts = find_model_file(str(place), None) if place.is_dir() else find_model_file(None, str(place))
    validate_model(facts, config.trust_code)
    from medclf.inference import loading, predictor  # torch: once what was asked for is known to be right
    from medclf.training.process_state import keep_process_state

    with keep_process_state():
        model = loading.load_model(facts, config.trust_code)
        return TrainedModel(
            predictor.Predictor(model, config.accelerator, config.precision, config.tta, config.max_megapixels)
        )


def evaluate_predictions(frame: pd.DataFrame, overrides: Sequence[str] = ()) -> pd.DataFrame:
    """Compute the metrics of a predictions table, as ``python -m medclf.evaluate predictions=FILE.csv`` does.

    Args:
        frame: a row for each image: ``path``, ``true_class``, and ``prob_<class>`` or ``logit_<class>`` for each class;
            ``group`` (patient), ``split`` and ``fold`` where there are such.
        overrides: such as ``["positive=malignant", "evaluation.operating_point=youden"]``.

    Returns:
        A row for each metric of each split, as ``TrainedRun.metrics``.

    Raises:
        ConfigError: for overrides that are wrong.
        DataError: for a table that is wrong, with its rows.
    """
    from medclf.evaluation.evaluate import evaluate
    from medclf.evaluation.predictions import get_attributes
    from medclf.evaluation.predictions_io import convert_predictions
    from medclf.evaluation.subgroups import validate_subgroups
    from medclf.evaluation.summary import metrics_frame

    others = ("run", "predictions", "dataset", "class_map", "tta", "accelerator", "precision", "trust_code", "hydra")
    refused = {f"{name}{end}": "the table is what is evaluated; leave it out" for name in others for end in ("", ".")}
    config = compose_config("evaluate", check_words(overrides, refused), EvaluateConfig)
    table = convert_predictions(frame)
    validate_subgroups(config.evaluation.subgroups, get_attributes(table))
    return metrics_frame(evaluate(table, config.evaluation, config.positive).metrics)


def audit_dataset(root: PathLike, overrides: Sequence[str] = (), *, progress: bool = True) -> DatasetAudit:
    """Look into every image of a dataset, as ``python -m medclf.audit`` does, without writing a report.

    Args:
        root: folder of the images.
        overrides: such as ``["dataset=busi"]``; without a choice of a dataset, ``dataset=folder``: a folder a class.
        progress: whether to show a bar.

    Raises:
        ConfigError, DataError: for overrides that are wrong, and what hinders even the audit.
    """
    from medclf.data.audit import examine_dataset
    from medclf.data.sources.discovery import validate_root

    folder = _check_path("dataset.root", root)
    refused = {"dataset.root": "pass the folder as root", "hydra": "leave it out", "hydra.": "leave it out"}
    words = check_words(overrides, refused)
    chosen = [] if any(word.startswith("dataset=") for word in words) else ["dataset=folder"]
    words = [*chosen, *words, format_override("dataset.root", folder.as_posix())]
    dataset = compose_config("audit", words, AuditConfig).dataset
    validate_dataset_config(dataset)
    validate_root(dataset)
    _, table, audit = examine_dataset(dataset, progress)
    return DatasetAudit(audit.findings, audit.images, table.class_counts(), audit.facts)


def _check_path(key: str, path: PathLike) -> Path:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise ConfigError(f"{key}={format_value(str(path))}: must be a path; pass text or a pathlib.Path")
    return Path(path)


def _list_images(images: ImageInput | Iterable[ImageInput]) -> list[ImageInput]:
    if isinstance(images, str | os.PathLike | Image.Image | np.ndarray):
        return [images]
    if not isinstance(images, Iterable):
        return [images]  # refused with its type
    return list(images)


def _build_reader(predictor: "Predictor", image: ImageInput, place: int) -> Callable[[], "NetworkInputs"]:
    """Return a function that gives what the model sees of an image; it raises UnreadableImageError.

    Raises:
        DataError: for what is not an image.
    """
    if isinstance(image, Image.Image):
        return partial(_read_pillow, predictor, image)
    if isinstance(image, np.ndarray):
        return partial(predictor.look, Image.fromarray(_check_array(image, place)))
    if not isinstance(image, str | os.PathLike) or not isinstance(os.fspath(image), str):
        raise DataError(
            f"images[{place}]: is {type(image).__name__}; pass a path, an image of Pillow or a NumPy array of uint8"
        )
    return _build_file_reader(predictor, os.fspath(image))


_LOADING = Lock()
"""One thread at a time decodes images of Pillow, of which two may share a file."""


def _read_pillow(predictor: "Predictor", image: Image.Image) -> "NetworkInputs":
    with _LOADING:
        return predictor.look(image)


def _build_file_reader(predictor: "Predictor", path: str) -> Callable[[], "NetworkInputs"]:
    from medclf.data.decoding_budget import decoding_memory
    from medclf.inference.inputs import InputImages

    files = InputImages([path])

    def read() -> "NetworkInputs":
        with decoding_memory():
            return predictor.see(files.root, path, files.content(0))

    return read


def _check_array(pixels: NDArray[Any], place: int) -> NDArray[np.uint8]:
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not fits or pixels.size == 0:
        raise DataError(
            f"images[{place}]: is an array of {pixels.dtype} and shape {pixels.shape}; pass uint8 values from 0 to 255 "
            "of shape (height, width) or (height, width, 3), and several images as a list"
        )
    return np.ascontiguousarray(pixels)


def _show_path(image: ImageInput) -> str:
    """Return a path as text that any file can hold; an image in memory has none."""
    if isinstance(image, Image.Image | np.ndarray):
        return ""
    return os.fspath(image).encode("utf-8", "backslashreplace").decode()
