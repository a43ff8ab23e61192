"""The Python API: what the commands do, as functions that return tables and leave their process as it was."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

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
from medclf.config.consistency_validation import validate_dataset_config, validate_run_folder, validate_train_config
from medclf.config.messages import format_value
from medclf.config.schema import TestTime, TrainConfig, validate_content
from medclf.config.trainer_schema import Accelerator, Precision
from medclf.inference.trained_model import PathLike
from medclf.inference.trained_model import TrainedModel as TrainedModel
from medclf.utils.errors import ConfigError
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS
from medclf.utils.quoting import format_override
from medclf.utils.run_folder import Run, lock_run

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run.

    ``metrics`` has a row for each metric of each split: ``split``, ``metric``, ``class`` (empty: over all), ``value``,
    ``low`` and ``high`` (95 % interval), ``n``, ``method``, ``reason``. ``predictions`` has a row for each validation
    and test image. ``plots`` are PNG files; none where ``evaluation.plots`` was off.
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
    from medclf.reporting.evaluate_input_validation import load_own_predictions

    run = Run(_check_path("run", path).absolute())
    validate_run_folder(run, needs_model=False)
    verify_run_file(run, run.metrics_table)
    return TrainedRun(
        folder=run.folder,
        metrics=read_metrics_frame(run.metrics_table),
        predictions=load_own_predictions(run),
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
    from medclf.inference.composite_model_files import validate_model
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
