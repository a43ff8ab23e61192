from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medclf.utils.terminal import printable


def image_page(images: NDArray[np.uint8], titles: Sequence[str], columns: int = 4) -> Figure:
    """A page of images with a title over each.

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
        axes.set_title(printable(title), fontsize=9, parse_math=False)  # a name may hold dollars
    return figure
