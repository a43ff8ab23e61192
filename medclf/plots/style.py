"""How all pictures look, and what a picture is."""

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medclf.metric_registry import MAX_SHOWN_CLASSES
from medclf.utils.atomic_write import write_bytes, write_csv

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Told apart by colour-blind people too (Okabe and Ito 2008)."""
STYLES = ("-", "--", "-.", ":")
GREY = "#767676"
DPI = 120


@dataclass(frozen=True)
class Plot:
    """A picture, its name as a file and a tag, what it shows in a sentence, and the table it was drawn from."""

    name: str
    figure: Figure
    caption: str
    data: pd.DataFrame | None = None

    def png(self) -> bytes:
        """Return the plot as a PNG file."""
        stream = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # names may be of any script
            # a sixteenth larger than with Pillow's own level 6, in less than half the time
            self.figure.savefig(stream, format="png", dpi=DPI, pil_kwargs={"compress_level": 3})
        return stream.getvalue()


def new_axes(width: float = 5.2, height: float = 5.0) -> tuple[Figure, Axes]:
    """Return empty axes in a figure of a size in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    axes.grid(True, color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def get_line_style(index: int) -> dict[str, Any]:
    """Colour and style of the n-th line: after seven the colours come again with another style."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": STYLES[index // len(COLOURS) % len(STYLES)]}


def add_legend(figure: Figure, axes: Axes) -> None:
    """Add a legend below the axes; for more than six lines the figure grows."""
    handles, labels = axes.get_legend_handles_labels()
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, len(labels) - 6))
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", frameon=False)


def escape_label(name: str, limit: int = 26) -> str:
    """Return a name for a plot: a long one without its middle, and without signs that Matplotlib interprets.

    A dollar begins a formula, and a label that begins with an underscore comes into no legend. Control characters and
    those that change the direction of writing become a replacement character.
    """
    shown = "".join(sign if sign.isprintable() else "\ufffd" for sign in " ".join(name.split()))
    if len(shown) > limit:
        shown = f"{shown[: limit - 1 - limit // 2]}…{shown[-(limit // 2) :]}"
    return ("\u200b" if shown.startswith("_") else "") + shown.replace("$", r"\$")


def select_shown_classes(counts: NDArray[np.int64]) -> tuple[list[int], str]:
    """Return the classes that a plot has room for, in their order, and what its caption adds where that is not all.

    Args:
        counts: images of each class, shape (classes,); the most frequent classes are shown.
    """
    if len(counts) <= MAX_SHOWN_CLASSES:
        return list(range(len(counts))), ""
    frequent = np.argsort(-counts, kind="stable")[:MAX_SHOWN_CLASSES]
    note = (
        f" The {MAX_SHOWN_CLASSES} most frequent of {len(counts)} classes; the CSV file of the same name has them all."
    )
    return sorted(int(at) for at in frequent), note


def save_plots(pictures: Iterable[Plot], folder: Path) -> dict[str, bytes]:
    """Write each picture as ``NAME.png`` and its table as ``data/NAME.csv``.

    Returns:
        The PNG files by name.
    """
    (folder / "data").mkdir(parents=True, exist_ok=True)
    files = {}
    for picture in pictures:
        files[picture.name] = picture.png()
        write_bytes(folder / f"{picture.name}.png", files[picture.name])
        if picture.data is not None:
            index = picture.data.index.name is not None
            write_csv(folder / "data" / f"{picture.name}.csv", picture.data, index)
    return files
