"""The first images on pages, each with what was predicted."""

import csv
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.output import UNREADABLE
from medclf.inference.predictor import NetworkInputs
from medclf.plots.image_grids import Cell, draw_sheet
from medclf.plots.style import COLOURS, Plot, escape_label

PER_PAGE = 60
SHORT = 18
"""Letters of a name that have room above an image."""
KNOWN, FLAGGED = "#000000", COLOURS[1]


def draw_contact_sheet(table: Path, count: int, see: Callable[[int], NetworkInputs], folder: Path) -> None:
    """Write pages ``sheet_1.png``, ``sheet_2.png`` ….

    Args:
        table: the predictions.
        count: of its first images that are shown.
        see: gives what the model sees of a row; raises UnreadableImageError.
        folder: gets the pages.
    """
    with table.open(encoding="utf-8", newline="") as file:
        rows = islice(csv.DictReader(file), count)
        begin = 0
        while page := [_cell(row, at, see) for at, row in enumerate(islice(rows, PER_PAGE), begin)]:
            name = f"sheet_{begin // PER_PAGE + 1}"
            figure = draw_sheet(page, f"Images {begin + 1} to {begin + len(page)}, and what was predicted")
            (folder / f"{name}.png").write_bytes(Plot(name, figure, "Images with what was predicted.").png())
            begin += PER_PAGE


def _cell(row: dict[str, str], at: int, see: Callable[[int], NetworkInputs]) -> Cell:
    name, predicted = escape_label(Path(row["path"]).name, SHORT), row["predicted_class"]
    said = f"{escape_label(predicted, SHORT)} {float(row[f'prob_{predicted}']):.2f}" if predicted else UNREADABLE
    flag = f"\n{row['flag']}" if row["flag"] and predicted else ""
    return Cell(f"{name}\n{said}{flag}", FLAGGED if row["flag"] else KNOWN, _image(at, see))


def _image(at: int, see: Callable[[int], NetworkInputs]) -> NDArray[np.uint8] | None:
    try:
        return see(at)[0]
    except UnreadableImageError:
        return None
