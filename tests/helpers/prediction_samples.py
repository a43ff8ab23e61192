"""Made-up predictions for the tests of the evaluation."""

import numpy as np
import pandas as pd
from scipy.special import expit, softmax

from medclf.config.composition import Composer
from medclf.config.schema import EvaluationConfig
from medclf.evaluation.predictions import Predictions, decide_class

CLASSES = ["a", "b", "c", "d"]
KINDS = ["random", "skilled", "perfect", "inverted", "tied", "absent", "never"]


def config(**values):
    """The evaluation group as it is shipped, but for some values."""
    shipped = EvaluationConfig.model_validate(dict(Composer("train").compose(["dataset=phantom"]).evaluation))
    return shipped.model_copy(update=values)


def predictions(probabilities, target, predicted=None, groups=None, positive=1, threshold=None, **columns):
    """Predictions of one split; the predicted class is the most probable one, or goes by the threshold."""
    probabilities, target = np.asarray(probabilities, float), np.asarray(target, np.int64)
    n, classes = probabilities.shape
    positive = positive if classes == 2 else None
    groups = np.arange(n) if groups is None else np.asarray(groups, np.int64)
    if predicted is None:
        predicted = decide_class(probabilities, positive, threshold)
    table = pd.DataFrame({"path": [f"{at}.png" for at in range(n)], **columns})
    return Predictions(table, CLASSES[:classes], positive, groups, target, probabilities, np.asarray(predicted))


def binary(scores, truth, **options):
    """Two classes by the probability of the positive one, which is called positive from 0.5 on."""
    scores = np.asarray(scores, float)
    return predictions(np.stack([1 - scores, scores], 1), truth, **{"threshold": 0.5, **options})


def called(target, predicted, classes=2, **options):
    """What is called what, with a probability of 0.9."""
    probabilities = np.full((len(target), classes), 0.1 / (classes - 1))
    probabilities[np.arange(len(target)), predicted] = 0.9
    return predictions(probabilities, target, **options)


def sample(classes, n, seed, kind, **options):
    """A sample of a kind of ``KINDS``; two classes have their threshold at 0.3."""
    rng = np.random.default_rng(seed)
    target = np.concatenate([np.arange(classes), rng.integers(classes, size=n)])[:n]
    if kind == "absent":
        target = np.minimum(target, classes - 2)
    logits = rng.normal(size=(n, classes))
    own = {"random": 0, "perfect": 100, "inverted": -100}.get(kind, 1.5)
    logits[np.arange(n), target] += own
    probabilities = softmax(np.round(logits) if kind == "tied" else logits, axis=1)
    made = predictions(probabilities, target, threshold=0.3, **options)
    if kind == "never":
        made.predicted[made.predicted == 0] = 1
    return made


def clustered(rng, patients, means=(-1.0, 0.5), images=(1, 4), shared=0.8):
    """Two classes with so many patients each, of one to four images that are alike.

    The scores of a class are normal around its mean with a variance of 1, of which the images of a patient share
    ``shared`` squared; an image is called positive from a score of 0 on.
    """
    counts = rng.integers(images[0], images[1] + 1, size=2 * patients)
    groups = np.repeat(np.arange(2 * patients), counts)
    truth = (groups >= patients).astype(int)
    own = rng.normal(size=len(truth))
    scores = np.asarray(means)[truth] + shared * rng.normal(size=2 * patients)[groups] + np.sqrt(1 - shared**2) * own
    return binary(expit(scores), truth, groups=groups)


def taken(made, rows):
    """Some rows, in any order, as often as they are named."""
    table = made.table.iloc[rows].reset_index(drop=True)
    arrays = (made.groups[rows], made.target[rows], made.probabilities[rows], made.predicted[rows])
    return Predictions(table, made.classes, made.positive, *arrays)
