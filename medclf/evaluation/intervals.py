"""How far a figure might be from the truth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000


def bootstrap_accuracy(correct: NDArray[np.bool_], groups: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """95 % interval of accuracy: percentiles of a bootstrap that draws whole patients (Efron and Tibshirani 1993).

    Images of one patient, and the predictions of several runs for one image, are drawn together, since they are no
    independent evidence.

    Args:
        correct: whether each image was classified rightly, shape (images,), at least one.
        groups: the patient of each.
        seed: of the draws.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    images = np.bincount(group)
    right = np.bincount(group, weights=correct)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    low, high = np.percentile(draws @ right / (draws @ images), [2.5, 97.5])
    return float(low), float(high)
