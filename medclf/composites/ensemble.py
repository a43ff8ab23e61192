"""The work of ``python -m medclf.ensemble``. Imports no torch."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medclf.comparison.alignment import align_predictions
from medclf.comparison.sources import Source, read_sources
from medclf.config.run_file_schemas import compute_run_digests, read_config, read_record
from medclf.config.schema import EvaluationConfig
from medclf.data.image_table import COLUMNS
from medclf.data.training_overlap import join_fingerprints
from medclf.evaluation.evaluate import Evaluation, evaluate
from medclf.evaluation.predictions import PROBABILITY, get_classes, save_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.composite_model_files import build_metadata, validate_model, write_composite
from medclf.metric_registry import monitored_metric
from medclf.reporting.evaluate_command import build_image_reader
from medclf.reporting.run_description import build_run_summary
from medclf.reporting.write_results import write_outcome
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import ConfigError, DataError, format_list
from medclf.utils.file_digests import file_digest
from medclf.utils.json_yaml import write_yaml
from medclf.utils.run_folder import Run
from medclf.utils.safe_terminal import print_message
from medclf.utils.write_errors import write_failure

AGAIN = "type the command again with another folder for its output"
SHARED = ("monitor", "dataset", "evaluation")
"""Groups of the configuration that the first member gives to the ensemble."""


def build_ensemble(paths: Sequence[Path], folder: Path) -> None:
    """Average the predictions of runs and leave in a folder what a run leaves, the model too where each has one.

    Operating point and temperature are chosen again on the validation images.

    Raises:
        ConfigError, DataError: for runs that cannot be averaged, before the folder is made.
    """
    sources = read_sources(paths)
    table = average_predictions({label: source.table for label, source in sources.items()})
    members = [_member(source) for source in sources.values()]
    config = _config(members)
    evaluation = evaluate(table, EvaluationConfig.model_validate(config["evaluation"]), config["dataset"]["positive"])
    make_folder(folder)
    run = Run(folder)
    with run.at_work(again=AGAIN) as facts:
        first = read_record(members[0])
        facts.split_hash, facts.content_hash = first.get("split_hash"), first.get("content_hash")
        facts.findings = first.get("findings")
        write_yaml(run.config, config)
        shutil.copyfile(members[0].splits, run.splits)
        join_fingerprints([member.fingerprints for member in members], run.fingerprints)
        save_predictions(evaluation.decided(table), run.predictions)
        chosen = get_monitored_value(evaluation, config["monitor"])
        about_model = build_metadata(evaluation, config["dataset"]["name"], facts.split_hash)
        model = _save_model(members, run, {**about_model, **chosen})
        images = read_frame(members[0].splits, COLUMNS)
        about = build_run_summary(config, {**run.read_record(), **facts.known()}, images, chosen)
        write_outcome(evaluation, about, folder, build_image_reader(about))
        facts.files_sha256 = compute_run_digests(run)
    report = f"Report:  {run.shown}/report.html\n" if evaluation.config.plots else ""
    print_message(f"{metrics_table(evaluation.metrics['test'], 'test')}\n\nFolder:  {run.shown}\n{report}{model}\n")


def _member(source: Source) -> Run:
    run = Run(source.path)
    if not run.record.is_file():
        raise DataError(f"{source.path}: is a table; an ensemble is of run folders")
    if not run.config.is_file() or not run.splits.is_file():
        raise DataError(f"{source.path}: config.yaml and splits.csv of the run are needed")
    return run


def _config(members: Sequence[Run]) -> dict[str, Any]:
    """What the members have in common, and who they are."""
    configs = [read_config(run) for run in members]
    names = sorted({config["model"]["name"] for config in configs})
    model = {"name": f"ensemble of {len(members)} {', '.join(names)}", "members": [run.shown for run in members]}
    return {**{key: configs[0][key] for key in SHARED}, "seed": None, "model": model}


def _save_model(members: Sequence[Run], run: Run, facts: dict[str, Any]) -> str:
    """Save the ensemble as one model. Returns in words that it was, or why it could not be."""
    sources = [member.best_facts for member in members]
    try:
        classes = [validate_model(source).classes for source in sources]
    except DataError as error:
        return f"No model was saved, since a member has none: {error}"
    if any(own != facts["classes"] for own in classes):
        return f"No model was saved, since the members have not their classes in the same order: {classes}"
    write_composite(run.best_facts, "ensemble", sources, facts)
    run.note(best_json_sha256=file_digest(run.best_facts))
    return f"Model:   {run.shown}/checkpoints/{run.best_facts.name}"


def make_folder(folder: Path) -> None:
    """Make the folder of a model that is made of several runs.

    Raises:
        ConfigError: for one that cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"output={folder}: cannot be made: {write_failure(error)}; name a folder elsewhere"
        ) from error


def get_monitored_value(evaluation: Evaluation, monitor: str) -> dict[str, Any]:
    """Return the validation value of the metric that chose the members' checkpoints."""
    found = evaluation.metrics["val"].overall.get(monitored_metric(monitor)) if "val" in evaluation.metrics else None
    if found is None or math.isnan(found.value):
        return {}
    return {"monitor": monitor, "monitor_value": found.value}


def average_predictions(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the predictions table of an ensemble: the mean of its members' probabilities for each image.

    Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles, NeurIPS 2017.

    Args:
        tables: by label, predictions of the members for the same validation and test images.

    Raises:
        DataError: where their images, patients or classes are not the same, with how they differ.
    """
    splits = {label: tuple(sorted(table["split"].unique())) for label, table in tables.items()}
    if len(set(splits.values())) > 1:
        told = format_list(f"{label}: {', '.join(names)}" for label, names in splits.items())
        raise DataError(f"these do not go together, they have not the same splits: {told}")
    parts = [align_predictions(tables, split) for split in ("val", "test") if split in next(iter(splits.values()))]
    return pd.concat([_mean(list(part.values())) for part in parts], ignore_index=True)


def _mean(members: list[pd.DataFrame]) -> pd.DataFrame:
    columns = [PROBABILITY + name for name in get_classes(members[0])]
    mean = np.mean([member[columns].to_numpy(np.float64) for member in members], axis=0)
    classes = np.asarray([column.removeprefix(PROBABILITY) for column in columns])
    plain = members[0].drop(columns=[name for name in members[0] if str(name).startswith("logit_")])
    return plain.assign(**dict(zip(columns, mean.T, strict=True)), predicted_class=classes[mean.argmax(1)])
