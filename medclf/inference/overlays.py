"""A picture of each image with what spoke for its class, as a file."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from medclf.inference.loading import Model
from medclf.inference.overlay import overlay
from medclf.inference.predictor import Seen
from medclf.utils.errors import ConfigError

LONGEST = 80
"""Letters of an image's path that its picture's name has room for."""


def refuse_without_maps(model: Model) -> None:
    """Refuse a model whose networks have no feature maps.

    Raises:
        ConfigError: saying so.
    """
    blank = tuple(np.zeros((form.channels, form.image_size, form.image_size), np.uint8) for form in model.forms)
    if any(overlay(model, blank, place) is None for place in range(len(model.classes))):
        raise ConfigError("grad_cam=true: this network has no feature maps; type grad_cam=false")


def save_overlay(model: Model, seen: Seen, predicted: int, folder: Path, row: int, path: str) -> None:
    """Write the picture of one image, ``ROW_PATH.png``, the row of predictions.csv being counted from 1.

    Args:
        model: one with feature maps.
        seen: the image.
        predicted: the place of its class.
        folder: is made where it is not there.
        row: counted from 0.
        path: of the image, of which what a file's name may not hold becomes ``_``.
    """
    picture = overlay(model, seen, predicted)
    assert picture is not None
    folder.mkdir(exist_ok=True)
    name = re.sub(r"[^\w.-]+", "_", Path(path).with_suffix("").as_posix(), flags=re.ASCII)[-LONGEST:]
    Image.fromarray(picture).save(folder / f"{row + 1:06d}_{name}.png")
