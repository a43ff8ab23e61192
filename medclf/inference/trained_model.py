"""A trained model in Python: images of any kind go in, a table of predictions comes out."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from medclf.config.command_schemas import PredictConfig
from medclf.config.schema import validate_content
from medclf.utils.errors import DataError

if TYPE_CHECKING:
    from medclf.inference.predictor import NetworkInputs, Predictor

PathLike = str | os.PathLike[str]
ImageInput = PathLike | Image.Image | NDArray[np.uint8]
"""A file, an image of Pillow, or pixels of 0 to 255: uint8, shape (height, width) or (height, width, 3)."""
_LOADING = Lock()
"""One thread at a time decodes images of Pillow, of which two may share a file."""


class TrainedModel:
    """A trained model that predicts the class of images.

    Args:
        predictor: the model on its device.
    """

    def __init__(self, predictor: "Predictor") -> None:
        self._predictor = predictor

    @property
    def classes(self) -> list[str]:
        """The classes in the order of the probabilities."""
        return list(self._predictor.model.classes)

    def predict(
        self, images: ImageInput | Iterable[ImageInput], batch_size: int = 32, progress: bool = False
    ) -> pd.DataFrame:
        """Predict images as ``python -m medclf.predict`` does.

        Args:
            images: one image or several: paths, images of Pillow, or uint8 arrays of shape (height, width) or
                (height, width, 3).
            batch_size: images at once.
            progress: whether to show a bar.

        Returns:
            A row for each image, in order: ``path`` (empty for an image in memory), ``predicted_class`` at the
            operating point, a calibrated probability ``prob_<class>`` for each class, ``distance`` from the training
            images where the model measures it, ``flag`` (empty, ``unreadable`` or ``unlike training``) and ``reason``.
            An image that cannot be read has a row without class and probabilities, which says why.

        Raises:
            DataError: for what is not an image: another type, dtype or shape.
            ConfigError: for a batch size that is not a positive whole number.
        """
        from medclf.inference.batch_predict import build_rows, predict_stream
        from medclf.inference.output import build_header

        size = validate_content({"input": "images", "batch_size": batch_size}, PredictConfig).batch_size
        model = self._predictor.model
        items = _list_images(images)
        readers = [_build_reader(self._predictor, item, place) for place, item in enumerate(items)]
        rows: dict[int, list[str | float]] = {}
        for part in predict_stream(self._predictor, lambda row: readers[row](), len(items), size, progress):
            rows |= build_rows(model, part)
        header = build_header(model.classes, model.novelty is not None)
        shown = [_show_path(item) for item in items]
        frame = pd.DataFrame([[shown[row], *rows[row]] for row in sorted(rows)], columns=header)
        numbers = [name for name in header if name.startswith("prob_") or name == "distance"]
        return frame.assign(**{name: pd.to_numeric(frame[name]).astype(float) for name in numbers})


def _list_images(images: ImageInput | Iterable[ImageInput]) -> list[ImageInput]:
    if isinstance(images, str | os.PathLike | Image.Image | np.ndarray):
        return [images]
    if not isinstance(images, Iterable):
        return [images]  # refused with its type
    return list(images)


def _build_reader(predictor: "Predictor", image: ImageInput, place: int) -> Callable[[], "NetworkInputs"]:
    """Return a function that gives what the model sees of an image; it raises UnreadableImageError.

    Raises:
        DataError: for what is not an image.
    """
    if isinstance(image, Image.Image):
        return partial(_read_pillow, predictor, image)
    if isinstance(image, np.ndarray):
        return partial(predictor.look, Image.fromarray(_check_array(image, place)))
    if not isinstance(image, str | os.PathLike) or not isinstance(os.fspath(image), str):
        raise DataError(
            f"images[{place}]: is {type(image).__name__}; pass a path, an image of Pillow or a NumPy array of uint8"
        )
    return _build_file_reader(predictor, os.fspath(image))


def _read_pillow(predictor: "Predictor", image: Image.Image) -> "NetworkInputs":
    with _LOADING:
        return predictor.look(image)


def _build_file_reader(predictor: "Predictor", path: str) -> Callable[[], "NetworkInputs"]:
    from medclf.data.decoding_budget import decoding_memory
    from medclf.inference.inputs import InputImages

    files = InputImages([path])

    def read() -> "NetworkInputs":
        with decoding_memory():
            return predictor.see(files.root, path, files.content(0))

    return read


def _check_array(pixels: NDArray[Any], place: int) -> NDArray[np.uint8]:
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not fits or pixels.size == 0:
        raise DataError(
            f"images[{place}]: is an array of {pixels.dtype} and shape {pixels.shape}; pass uint8 values from 0 to 255 "
            "of shape (height, width) or (height, width, 3), and several images as a list"
        )
    return np.ascontiguousarray(pixels)


def _show_path(image: ImageInput) -> str:
    """Return a path as text that any file can hold; an image in memory has none."""
    if isinstance(image, Image.Image | np.ndarray):
        return ""
    return os.fspath(image).encode("utf-8", "backslashreplace").decode()
