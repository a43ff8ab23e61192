"""Made-up evaluations for the tests of pictures and reports."""

import numpy as np
import pandas as pd
from scipy.special import softmax

from medclf.config.command_schemas import EvaluateConfig
from medclf.config.composition import Composer
from medclf.config.schema import validate_config
from medclf.evaluation.evaluate import evaluate

LONG = "a very long name of a class of lesions, number {}"
CASES = {
    "two": ["cat", "dog"],
    "two long": [LONG.format(at) for at in range(2)],
    "three": ["a", "b", "c"],
    "fourteen long": [LONG.format(at) for at in range(14)],
    "formulas": ["a$\\frac$", "$x$"],
    "underscores": ["_a", "_b"],
}


def settings(**changes):
    words = ["evaluation.resamples=100", "evaluation.gallery=7"]
    return validate_config(Composer("evaluate").compose(words), EvaluateConfig).evaluation.model_copy(update=changes)


def table(classes, n=120, only=None, parts=("val", "test"), **columns):
    """Predictions that are right more often than not; every test image of one class with ``only``."""
    rng = np.random.default_rng(0)
    target = np.arange(n) // 2 % len(classes) if only is None else np.full(n, only)
    probabilities = softmax(rng.normal(size=(n, len(classes))) + 1.5 * np.eye(len(classes))[target], axis=1)
    names = np.asarray(classes, dtype=object)
    frame = pd.DataFrame(
        {
            "path": [f"{at}.png" for at in range(n)], "group": [f"p{at}" for at in range(n)],
            "split": [parts[at % len(parts)] for at in range(n)], "fold": "", "true_class": names[target],
            "predicted_class": names[probabilities.argmax(1)],
        }
    )  # fmt: skip
    for at, name in enumerate(classes):
        frame[f"prob_{name}"] = probabilities[:, at]
    return frame.assign(**columns)


def evaluated(classes, only=None, n=120, columns=None, **changes):
    return evaluate(table(classes, n, only, **(columns or {})), settings(**changes))


def seen(path):
    """A noisy image; those whose path ends with 7 cannot be had."""
    if path.endswith("7.png"):
        return None
    return np.random.default_rng(int(path[:-4])).integers(0, 256, (1, 16, 16), dtype=np.uint8)


def history(epochs=3):
    rng = np.random.default_rng(0)
    names = ["train/loss", "val/loss", "train/accuracy", "val/accuracy", "val/sensitivity"]
    return pd.DataFrame({"epoch": range(epochs), **{name: rng.random(epochs) for name in names}})
