"""Made-up run folders to report of, with all the files that a real run leaves and a report reads."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from helpers.run_folders import TWO, table
from medclf.config.composition import Composer
from medclf.config.schema import EvaluationConfig, validate_config
from medclf.evaluation.evaluate import evaluate
from medclf.evaluation.predictions import save_predictions
from medclf.reporting.run_description import RunSummary
from medclf.reporting.write_results import build_results_json

JUDGED = validate_config(Composer("train").compose(["evaluation=quick"]).evaluation, EvaluationConfig)


def make(folder, model="cnn", seed=0, strength=1.0, value=0.8, rows=None, monitor="val/auroc_macro", **changes):
    """A finished run.

    ``value`` is that of the monitor, ``rows`` the predictions, ``changes`` are keys of the configuration with ``__``
    for the dots. The same images for every seed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True)
    rows = table(strength, seed, 80, validation=40) if rows is None else rows
    config = {
        "seed": seed, "monitor": monitor,
        "dataset": {"name": "livers", "splits": {"seed": 0, "folds": None, "fold": 0}},
        "model": {"name": model}, "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001}, "tune": {"lr": False},
        "trainer": {"precision": "32-true", "max_epochs": 3}, "evaluation": {"plots": False, "prevalence": None},
    }  # fmt: skip
    for key, new in changes.items():
        node, (*parents, last) = config, key.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = new
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    record = {"status": "finished", "started": "2026-01-01T00:00:00+00:00", "training_seconds": 60.0 + (seed or 0)}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    judged = JUDGED.model_copy(update={"prevalence": config["evaluation"]["prevalence"]})
    evaluation = evaluate(rows, judged, None)
    about = RunSummary("made up", chosen={"epoch": 1, "monitor": monitor, "monitor_value": value})
    (folder / "metrics.json").write_text(json.dumps(build_results_json(evaluation, about)), encoding="utf-8")
    save_predictions(rows, folder / "predictions.csv")
    curve = np.linspace(0.5, value, 3)
    pd.DataFrame({"epoch": range(3), "train/loss": 1 - curve, monitor: curve}).to_csv(
        folder / "history.csv", index=False
    )
    return folder


def cut(fold, folds=4, seed=0, strength=1.0, classes=TWO, n=128):
    """The predictions of one fold: a quarter of the same 128 images, two a patient."""
    rows = table(strength, seed, n, classes, images_each=2)
    patient = np.unique(rows["group"], return_inverse=True)[1].reshape(-1) // len(classes)  # of all classes in a fold
    rows["split"] = np.where(patient % folds == fold, "test", np.where((patient + 1) % folds == fold, "val", "train"))
    rows["fold"] = str(fold)
    return rows[rows["split"] != "train"].reset_index(drop=True)


def make_folds(root, folds=4, seed=0, **changes):
    """Finished runs of all folds."""
    return [
        make(Path(root) / f"fold{fold}", seed=seed, rows=cut(fold, folds, seed), value=0.7 + 0.01 * fold,
             dataset__splits={"seed": 0, "folds": folds, "fold": fold}, **changes)
        for fold in range(folds)
    ]  # fmt: skip
