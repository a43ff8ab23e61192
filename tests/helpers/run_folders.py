"""Made-up predictions and runs to compare."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from medclf.comparison.alignment import align_predictions
from medclf.comparison.paired_tests import compute_differences
from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.predictions import predictions_table, save_predictions, select_split

TWO = ("NORMAL", "PNEUMONIA")
FOUR = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")


def table(strength=1.0, seed=0, n=120, classes=TWO, images_each=1, validation=0):
    """Predictions of the same images for every seed; the larger the strength the better."""
    count = n + validation
    target = np.arange(count) % len(classes)
    shared = np.random.default_rng(7).normal(size=(count, len(classes)))
    scores = shared + np.random.default_rng(seed).normal(size=(count, len(classes)))
    odds = np.exp(scores + strength * np.eye(len(classes))[target])
    # the images of a patient are of one class
    patients = [
        f"p{index // (images_each * len(classes))}-{index % len(classes)}" if images_each > 1 else f"p{index}"
        for index in range(count)
    ]
    images = pd.DataFrame(
        {
            "path": [f"{index}.png" for index in range(count)],
            "group": patients,
            "split": ["test"] * n + ["val"] * validation,
            "class": np.array(classes)[target],
        }
    )
    return predictions_table(images, odds / odds.sum(1, keepdims=True), list(classes))


def predictions(strength=1.0, seed=0, classes=TWO, n=80, validation=40):
    """Those of a run, which has validation images too."""
    return table(strength, seed, n, classes, validation=validation)


def differences(tables, metrics=("accuracy",), resamples=400):
    runs = {label: select_split(rows, "test") for label, rows in align_predictions(tables).items()}
    found = {label: estimate_metrics(run, resamples) for label, run in runs.items()}
    return compute_differences(runs, found, metrics, resamples, 0)


def make_run(folder, model="cnn", seed=0, table=None, status="finished", threshold=0.5, stored=None, positive=None):
    """A run folder as far as a comparison reads it; ``stored`` for the whole of metrics.json."""
    table = predictions(seed=seed) if table is None else table
    folder = Path(folder)
    folder.mkdir(parents=True)
    save_predictions(table, folder / "predictions.csv")
    (folder / "run.json").write_text(json.dumps({"status": status}), encoding="utf-8")
    config = f"seed: {seed}\nmodel: {{name: {model}}}\ndataset: {{positive: {positive or 'null'}}}\n"
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    point = {"rule": "half", "threshold": threshold, "words": f"{threshold}: as stored"}
    two = len([name for name in table if name.startswith("prob_")]) == 2
    point = point if two else {"rule": "most probable", "threshold": None, "words": "the most probable class"}
    stored = {"positive": "PNEUMONIA" if two else None, "operating_point": point} if stored is None else stored
    (folder / "metrics.json").write_text(json.dumps(stored), encoding="utf-8")
    return folder.as_posix()
