"""Whether a written file says what the model says."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.exporting.graph import Runner
from medclf.exporting.samples import Samples
from medclf.inference.predictor import Predictor
from medclf.utils.errors import DataError


@dataclass(frozen=True)
class Verified:
    """How far a file is from the model: on how many images, from where, the largest difference of a probability, and
    how many of them were so near the threshold, or a tie, that their class was not compared."""

    images: int
    source: str
    largest_difference: float
    undecided: int


def verify_export(file: Path, runner: Runner, engine: Predictor, samples: Samples, tolerance: float) -> Verified:
    """Compare a loaded file with the model, on one image alone and on the others together.

    Args:
        file: as it is to be named in messages.
        runner: the file in its runtime.
        engine: the model on the CPU in float32.
        samples: the images.
        tolerance: the largest difference of a probability that is allowed.

    Raises:
        DataError: for a larger one, and another class.
    """
    difference, undecided = 0.0, 0
    for batch in filter(None, (samples.seen[:1], samples.seen[1:])):
        probabilities, predicted = runner([np.stack(form) for form in zip(*batch, strict=True)])
        found = engine.predict(batch)
        # fmax would pass over NaN
        difference = float(np.maximum(difference, np.abs(probabilities - found.probabilities).max()))
        clear = _clear(found.uncalibrated, engine, tolerance)
        undecided += int((~clear).sum())
        if not difference <= tolerance:
            raise DataError(
                f"{file.name}: its probabilities differ from the model's by up to {difference:.2g}, which is more than "
                f"tolerance={tolerance:g}, on {samples.source}; it was not kept"
            )
        if (predicted != found.predicted)[clear].any():
            raise DataError(f"{file.name}: predicts other classes than the model, on {samples.source}; it was not kept")
    return Verified(len(samples.seen), samples.source, difference, undecided)


def _clear(own: NDArray[np.float64], engine: Predictor, tolerance: float) -> NDArray[np.bool_]:
    """Images whose class no difference within the tolerance changes. ``own`` are the network's own probabilities."""
    gate, threshold = engine.classifier.gate, engine.classifier.threshold
    clear = np.ones(len(own), bool)
    if gate is not None and threshold is not None:
        clear = np.abs(1 - own[:, gate] - threshold) > tolerance
        own = np.delete(own, gate, 1)
    if own.shape[1] == 1:
        return clear
    second, first = np.sort(own, 1)[:, -2:].T
    clear &= first - second > tolerance
    return clear
