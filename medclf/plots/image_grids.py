"""Pages of images with what was predicted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medclf.evaluation.predictions import Predictions
from medclf.plots.style import COLOURS, DPI, Plot, escape_label
from medclf.utils.safe_terminal import escape_control

ImageReader = Callable[[str], NDArray[np.uint8] | None]
"""Gives an image by its path as the network sees it, (channels, size, size); None where it cannot be had."""
PER_ROW = 6
SHORT = 12
"""Letters of a class's name that have room above an image."""
RIGHT, WRONG = COLOURS[0], COLOURS[1]
UNSEEN = np.full((1, 8, 8), 235, np.uint8)


def misclassified_gallery(test: Predictions, seen: ImageReader, count: int) -> Plot | None:
    """Misclassified images, those first of whose wrong class the network was surest; None where there are none."""
    confidence = test.probabilities[np.arange(len(test)), test.predicted]
    wrong = np.flatnonzero(test.predicted != test.target)
    rows = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    if not len(rows):
        return None
    title = f"Misclassified: {len(wrong)} of {len(test)} test images, the {len(rows)} most confident"
    return Plot(
        "misclassified", _page(test, rows, seen, title), "Misclassified images, the most confident first.",
        pd.DataFrame(name_image(test, rows)),
    )  # fmt: skip


def prediction_grid(test: Predictions, seen: ImageReader, count: int, seed: int = 0) -> Plot | None:
    """Test images drawn at random, with true and predicted class."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(test))[:count])
    if not len(rows):
        return None
    figure = _page(test, rows, seen, f"{len(rows)} of {len(test)} test images, drawn at random")
    return Plot("test_predictions", figure, "Test images drawn at random.", pd.DataFrame(name_image(test, rows)))


class NamedImage(NamedTuple):
    """An image in words."""

    path: str
    true_class: str
    predicted_class: str
    probability: float

    @property
    def title(self) -> str:
        """Two lines that stand above it."""
        true, predicted = escape_label(self.true_class, SHORT), escape_label(self.predicted_class, SHORT)
        return f"true: {true}\npredicted: {predicted} {self.probability:.2f}"

    @property
    def colour(self) -> str:
        """Return whether it was classified correctly."""
        return RIGHT if self.true_class == self.predicted_class else WRONG


def name_image(test: Predictions, rows: NDArray[np.int64]) -> list[NamedImage]:
    """Path, true class, predicted class and its probability of some images."""
    paths = test.table["path"].to_numpy()
    return [
        NamedImage(
            str(paths[row]),
            test.classes[test.target[row]],
            test.classes[test.predicted[row]],
            float(test.probabilities[row, test.predicted[row]]),
        )
        for row in rows
    ]


def grad_cam_page(test: Predictions, paths: list[str], maps: NDArray[np.float32], seen: ImageReader, name: str) -> Plot:
    """Draw images next to their Grad-CAM overlays.

    Args:
        test: the predictions that hold the images.
        paths: of the images.
        maps: shape (n, size, size), what spoke for the predicted class, from 0 to 1.
        seen: gives the images.
        name: right or wrong.
    """
    places = {path: row for row, path in enumerate(test.table["path"])}
    images = name_image(test, np.asarray([places[path] for path in paths]))
    columns = max(4, min(PER_ROW, 2 * len(paths)))
    height = -(-2 * len(paths) // columns)
    figure = _blank_page(height, columns, f"Grad-CAM: what spoke for the predicted class; classified {name}ly")
    panels = figure.subplots(height, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for place, image in enumerate(images):
        pixels = _shown(seen(image.path))
        for axes in panels[2 * place : 2 * place + 2]:
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        over = (-0.5, pixels.shape[1] - 0.5, pixels.shape[0] - 0.5, -0.5)
        panels[2 * place + 1].imshow(maps[place], cmap="inferno", vmin=0, vmax=1, alpha=0.5, extent=over)
        panels[2 * place].set_title(image.title, fontsize=8, loc="left", color=image.colour)
    caption = f"Grad-CAM (Selvaraju et al., ICCV 2017) of images that were classified {name}ly."
    return Plot(f"grad_cam_{name}", figure, caption, pd.DataFrame(images))


def _page(test: Predictions, rows: NDArray[np.int64], seen: ImageReader, title: str) -> Figure:
    images = name_image(test, rows)
    return draw_sheet([Cell(image.title, image.colour, seen(image.path)) for image in images], title)


class Cell(NamedTuple):
    """An image of a page, (channels, size, size), None where it cannot be had, and what stands above it."""

    title: str
    colour: str
    image: NDArray[np.uint8] | None


def draw_sheet(cells: Sequence[Cell], title: str) -> Figure:
    """Draw a page of at least one image."""
    columns = max(4, min(PER_ROW, len(cells)))
    height = -(-len(cells) // columns)
    figure = _blank_page(height, columns, title)
    panels = figure.subplots(height, columns, squeeze=False).flatten()
    for axes in panels:
        axes.set_axis_off()
    for axes, cell in zip(panels, cells, strict=False):
        axes.imshow(_shown(cell.image), cmap="gray", vmin=0, vmax=255)
        axes.set_title(cell.title, fontsize=8, color=cell.colour)
    return figure


def _blank_page(height: int, columns: int, title: str) -> Figure:
    figure = Figure(figsize=(1.75 * columns, 2.15 * height + 0.4), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize="medium")
    return figure


def _shown(image: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    return (UNSEEN if image is None else image).transpose(1, 2, 0).squeeze()


def image_page(images: NDArray[np.uint8], titles: Sequence[str], columns: int = 4) -> Figure:
    """Draw a page of images with a title above each.

    Args:
        images: shape (n, channels, height, width), 1 or 3 channels.
        titles: one for each.
        columns: images in a row.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.4 * rows), dpi=100, layout="constrained")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(escape_control(title), fontsize=9, parse_math=False)  # a name may hold dollars
    return figure
