"""Grad-CAM of a model that was loaded, for the pages of a report."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from medclf.evaluation.evaluate import Evaluation
from medclf.inference.grad_cam import Activation, saved_grad_cam
from medclf.inference.loading import Model
from medclf.inference.overlay import heat_of
from medclf.inference.predictor import Engine, Seen
from medclf.plots.image_grids import Seen as Shown
from medclf.plots.run_plots import GradCam


def saved_maps(engine: Engine, root: Path, evaluation: Evaluation, shown: Shown, file: Path) -> GradCam | None:
    """Maps of some of the images that a model was judged on.

    Args:
        engine: the model, for whose classes the evaluation is.
        root: folder that the paths of the images are below.
        evaluation: of its predictions.
        shown: gives the images that the pages show.
        file: is written, as a run keeps them.

    Returns:
        None where no pages are asked for, and where the networks have no feature maps.
    """
    return saved_grad_cam(evaluation, shown, activation_of(engine.model, partial(engine.see, root)), file)


def activation_of(model: Model, see: Callable[[str], Seen]) -> Activation:
    """The maps of a model for the pages of its report, all in the size of its first form.

    Args:
        model: as it was loaded.
        see: gives what the model sees of an image, by its path.
    """

    def activation(paths: Sequence[str], classes: Sequence[int]) -> NDArray[np.float32] | None:
        side = model.forms[0].image_size
        maps = [heat_of(model, see(path), predicted)[1] for path, predicted in zip(paths, classes, strict=True)]
        found = [cv2.resize(one, (side, side)) for one in maps if one is not None]
        return np.stack(found).astype(np.float32) if len(found) == len(maps) else None

    return activation
