"""The variance of areas under ROC curves by DeLong, DeLong and Clarke-Pearson (Biometrics 1988)."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

Floats = NDArray[np.float64]


def delong_covariance(scores: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Areas under the ROC curves of several classifiers on the same images, and their covariance.

    By midranks (Sun and Xu, IEEE Signal Processing Letters 2014), which is fast. At least two images of each kind.

    Args:
        scores: shape (classifiers, n).
        truth: shape (n,).

    Returns:
        Areas (classifiers,) and covariance (classifiers, classifiers).
    """
    positive, negative = scores[:, truth], scores[:, ~truth]
    m, n = positive.shape[1], negative.shape[1]
    joint = rankdata(scores, axis=1)
    above = (joint[:, truth] - rankdata(positive, axis=1)) / n  # of each positive: the share of negatives below it
    below = 1 - (joint[:, ~truth] - rankdata(negative, axis=1)) / m
    covariance = np.atleast_2d(np.cov(above)) / m + np.atleast_2d(np.cov(below)) / n
    return above.mean(1), covariance


def delong_interval(scores: Floats, truth: NDArray[np.bool_], level: float = 0.95) -> tuple[float, float]:
    """Interval of one area, normal on the logit scale, so that it stays in [0, 1] (Pepe 2003, section 5.2.5).

    NaN twice where the area is 0 or 1 or the variance nothing, from which no interval can be told.
    """
    areas, covariance = delong_covariance(scores[None], truth)
    area, variance = float(areas[0]), float(covariance[0, 0])
    if not 0 < area < 1 or not variance > 0:
        return np.nan, np.nan
    centre = np.log(area / (1 - area))
    half = norm.ppf((1 + level) / 2) * np.sqrt(variance) / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-np.array([centre - half, centre + half])))
    return float(low), float(high)


def delong_test(first: Floats, second: Floats, truth: NDArray[np.bool_]) -> float:
    """Two-sided p-value that two classifiers have the same area on the same images; 1 where they rank them alike."""
    areas, covariance = delong_covariance(np.stack([first, second]), truth)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    difference = areas[1] - areas[0]
    if variance <= 1e-15:
        return 1.0 if abs(difference) < 1e-12 else 0.0
    return float(2 * norm.sf(abs(difference) / np.sqrt(variance)))
