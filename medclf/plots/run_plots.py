"""All pictures of an evaluation, in the order in which one looks at them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.evaluation.evaluate import Evaluation
from medclf.plots.confusion import confusion_plot
from medclf.plots.curves import draw_curve_plots
from medclf.plots.image_grids import ImageReader, grad_cam_page, misclassified_gallery, prediction_grid
from medclf.plots.learning_curves import learning_curves_plot
from medclf.plots.style import Plot
from medclf.plots.subgroups import subgroup_plot
from medclf.utils.atomic_write import atomic_file
from medclf.utils.errors import DataError
from medclf.utils.npz_arrays import read_arrays

MAX_BYTES = 2**29
"""Unpacked maps of a run: 600 of 900 x 900 pixels."""


@dataclass(frozen=True)
class GradCam:
    """Grad-CAM maps of some test images, shape (n, size, size), 0 to 1, and whether each was classified correctly."""

    paths: list[str]
    right: list[bool]
    maps: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write it as an .npz file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        paths, right = np.asarray(self.paths), np.asarray(self.right)
        with atomic_file(path) as file:
            np.savez_compressed(file, paths=paths, right=right, maps=self._to_bytes())

    def rounded(self) -> "GradCam":
        """Return the maps as ``load`` gives them once they are saved."""
        return replace(self, maps=(self._to_bytes() / np.float32(255)).astype(np.float32))

    def _to_bytes(self) -> NDArray[np.uint8]:
        return (self.maps * 255).round().astype(np.uint8)

    @classmethod
    def load(cls, path: Path) -> "GradCam":
        """Read what ``save`` wrote.

        Raises:
            DataError: for a file that is damaged, or whose arrays do not fit each other.
        """
        try:
            arrays = read_arrays(path, {"paths": "U", "right": "b", "maps": "u"}, MAX_BYTES)
            _check_shapes(**arrays)
        except ValueError as error:
            raise DataError(f"{path}: {error}; to evaluate without it: evaluation.grad_cam=0") from error
        maps = (arrays["maps"] / np.float32(255)).astype(np.float32)
        return cls(arrays["paths"].tolist(), arrays["right"].tolist(), maps)


def _check_shapes(paths: NDArray[Any], right: NDArray[Any], maps: NDArray[Any]) -> None:
    if (paths.ndim, right.ndim, maps.ndim) != (1, 1, 3) or not len(paths) == len(right) == len(maps):
        raise ValueError("its arrays do not fit each other")


def draw_run_plots(
    evaluation: Evaluation,
    seen: ImageReader | None = None,
    history: pd.DataFrame | None = None,
    best_epoch: int | None = None,
    grad_cam: GradCam | None = None,
) -> list[Plot]:
    """Draw everything that there is something to draw of.

    Args:
        evaluation: of a predictions table.
        seen: gives the images; None: they cannot be had, and the pages of images are left out.
        history: the metrics of each epoch.
        best_epoch: of the checkpoint that was tested.
        grad_cam: maps of some of the images.
    """
    test, config = evaluation.test, evaluation.config
    pictures = [confusion_plot(predictions, part) for part, predictions in reversed(evaluation.predictions.items())]
    pictures += draw_curve_plots(evaluation)
    found = [subgroup_plot(evaluation.subgroups, len(test.classes))]
    if history is not None:
        found.append(learning_curves_plot(history, best_epoch, len(test.classes)))
    if seen is not None:
        found += [
            misclassified_gallery(test, seen, config.gallery),
            prediction_grid(test, seen, config.gallery, config.seed),
        ]
        found += _grad_cam(evaluation, grad_cam, seen)
    return pictures + [picture for picture in found if picture is not None]


def _grad_cam(evaluation: Evaluation, grad_cam: GradCam | None, seen: ImageReader) -> list[Plot]:
    if grad_cam is None:
        return []
    test = evaluation.test
    right_now = dict(zip(test.table["path"], (test.predicted == test.target).tolist(), strict=True))
    pages = []
    for name, wanted in (("right", True), ("wrong", False)):
        # another operating point may predict the other class, of which there is no map
        rows = [
            row
            for row, path in enumerate(grad_cam.paths)
            if grad_cam.right[row] == wanted and right_now.get(path) == wanted
        ]
        if rows:
            paths = [grad_cam.paths[row] for row in rows]
            pages.append(grad_cam_page(test, paths, grad_cam.maps[rows], seen, name))
    return pages
