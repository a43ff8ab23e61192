"""How fast predictions are judged, against the same bootstrap written plainly with scikit-learn: `make bench`.

All metrics of 5,000 test images under 2,000 resamples on one core, beside a plain loop that draws patients and calls
scikit-learn for nine of them (a few resamples of it, scaled up); and `python -m medclf.evaluate` with every picture and
the report, as a process. Writes experiments/bench_evaluation.md.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy reads it

import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pandas as pd
from sklearn import metrics as reference

from medclf.evaluation.bootstrap import bootstrap_metrics
from medclf.evaluation.predictions import Predictions, predictions_table, save_predictions, select_split

IMAGES, RESAMPLES, PLAIN, ROUNDS = 5000, 2000, 20, 3
CLASSES = ["covid", "healthy", "opacity", "pneumonia"]


def table_of(classes: list[str]) -> pd.DataFrame:
    """Predictions for the images of patients with two each, a sixth of them validation."""
    random = np.random.default_rng(0)
    n = IMAGES * 6 // 5
    target = random.integers(len(classes), size=n)
    logits = random.normal(size=(n, len(classes)))
    logits[np.arange(n), target] += 2
    images = pd.DataFrame(
        {
            "path": [f"{at}.png" for at in range(n)],
            "group": [f"{at // 2}" for at in range(n)],
            "split": np.where(np.arange(n) < n - IMAGES, "val", "test"),
            "class": np.asarray(classes)[target],
            "sex": random.choice(["f", "m"], n),
            "age": random.normal(50, 12, n).round(),
        }
    )
    return predictions_table(images, np.exp(logits) / np.exp(logits).sum(1, keepdims=True), classes)


def plainly(predictions: Predictions) -> None:
    """One resample of patients and scikit-learn's functions on it."""
    groups = np.unique(predictions.groups)
    members = [np.flatnonzero(predictions.groups == group) for group in groups]
    for seed in range(PLAIN):
        drawn = np.random.default_rng(seed).integers(len(groups), size=len(groups))
        rows = np.concatenate([members[at] for at in drawn])
        target, called, scores = (
            a[rows] for a in (predictions.target, predictions.predicted, predictions.probabilities)
        )
        reference.accuracy_score(target, called)
        reference.balanced_accuracy_score(target, called)
        reference.precision_recall_fscore_support(target, called, average="macro", zero_division=0)
        reference.matthews_corrcoef(target, called)
        reference.cohen_kappa_score(target, called)
        reference.log_loss(target, scores)
        reference.roc_auc_score(target, scores, multi_class="ovr")
        reference.average_precision_score(np.eye(scores.shape[1])[target], scores)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def command(file: Path, folder: Path) -> None:
    """The whole command, in a process of its own that may use every core."""
    line = [sys.executable, "-m", "medclf.evaluate", f"predictions={file}", f"output={folder}"]
    env = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    subprocess.run(line, check=True, capture_output=True, env=env)


def main() -> None:
    """Measure in turn and write the table."""
    predictions = select_split(table_of(CLASSES), "test")
    ours, plain, whole = [], [], {2: [], 4: []}
    with tempfile.TemporaryDirectory() as name:
        for count in whole:
            save_predictions(table_of(CLASSES[:count]), Path(name) / f"{count}.csv")
        for turn in range(ROUNDS):
            ours.append(seconds(lambda: bootstrap_metrics(predictions, RESAMPLES)))
            plain.append(seconds(lambda: plainly(predictions)) * RESAMPLES / PLAIN)
            for count, taken in whole.items():
                file, folder = Path(name) / f"{count}.csv", Path(name) / f"{count}_{turn}"
                taken.append(seconds(lambda file=file, folder=folder: command(file, folder)))
    ratios = [a / b for a, b in zip(plain, ours, strict=True)]
    rows = [
        (f"all metrics, {RESAMPLES} resamples, 4 classes, one core, s", ours, "at most 10"),
        (f"plain loop over scikit-learn, nine metrics ({PLAIN} resamples, scaled up), s", plain, ""),
        ("plain loop / ours", ratios, ""),
        ("`medclf.evaluate`, all pictures and the report, 2 classes, 2 subgroup columns, s", whole[2], "under 30"),
        ("the same with 4 classes, s", whole[4], "under 30"),
    ]
    lines = [f"| {what} | {median(v):.3g} ({min(v):.3g} to {max(v):.3g}) | {goal} |" for what, v, goal in rows]
    head = (
        f"# Judging predictions\n\n{IMAGES} test images, {ROUNDS} rounds in turn: median (smallest to largest). "
        f"{os.cpu_count()} cores, Python {platform.python_version()}. Written by `make bench ARGS=--full`.\n\n"
        "| what | measured | goal |\n|---|---|---|\n"
    )
    text = head + "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
