"""What is done to every image once: contrast, and the square that the network sees."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medclf.config.schema import ClaheConfig, ImageSpecConfig
from medclf.data.decoding_budget import decoding_memory
from medclf.data.image_io import convert_image, read_image
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS

BILINEAR = Image.Resampling.BILINEAR


def preprocess(image: Image.Image, config: ImageSpecConfig) -> NDArray[np.uint8]:
    """Equalise and resize an image as the config says, with Pillow's antialiased bilinear filter.

    Args:
        image: mode ``L`` for one channel, ``RGB`` for three.
        config: the size of the square, and how an image becomes one.

    Returns:
        Array of shape (channels, image_size, image_size), values 0 to 255.
    """
    if config.clahe is not None:
        image = Image.fromarray(equalise_contrast(np.asarray(image), config.clahe))
    square = (config.image_size, config.image_size)
    if config.resize == "letterbox":
        image = ImageOps.pad(image, square, BILINEAR)
    elif config.resize == "crop":
        image = ImageOps.fit(image, square, BILINEAR)
    else:
        image = image.resize(square, BILINEAR)
    pixels = np.array(image)
    return pixels.reshape(*square, -1).transpose(2, 0, 1)


def read_preprocessed(
    root: Path,
    path: str,
    config: ImageSpecConfig,
    at_least: int | None = None,
    content: bytes | None = None,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
) -> tuple[NDArray[np.uint8], str]:
    """Decode and preprocess an image, holding its share of the memory that threads have for large images.

    Args:
        root: folder that the path is below.
        path: a file, or ``ARRAYS.npy#INDEX``.
        config: the size of the square, and how an image becomes one.
        at_least: as ``medclf.data.image_io.decode_image`` takes it.
        content: the file's bytes, if they are read already.
        max_megapixels: limit on the pixels of the image, in millions.

    Returns:
        What ``preprocess`` returns, and a note on what in the file was ignored, usually empty.

    Raises:
        UnreadableImageError: with the reason.
    """
    grey, keep_grey = config.channels == 1, config.clahe is None
    with decoding_memory():
        decoded = read_image(root, path, grey, at_least, content, max_megapixels, keep_grey)
        return _with_channels(decoded.image, config), decoded.note


def preprocess_image(
    image: Image.Image, config: ImageSpecConfig, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> NDArray[np.uint8]:
    """Convert and preprocess an image in memory, of any mode, as ``read_preprocessed`` does with a file.

    Raises:
        UnreadableImageError: with the reason.
    """
    with decoding_memory():
        return _with_channels(convert_image(image, config.channels == 1, max_megapixels, config.clahe is None), config)


def _with_channels(image: Image.Image, config: ImageSpecConfig) -> NDArray[np.uint8]:
    pixels = preprocess(image, config)
    return pixels if len(pixels) == config.channels else pixels.repeat(config.channels, 0)


def smallest_sufficient_side(form: ImageSpecConfig) -> int | None:
    """Return the side to which a JPEG may be decoded: twice the square; None: its contrast is equalised at
    full size."""
    return None if form.clahe else 2 * form.image_size


def equalise_contrast(pixels: NDArray[np.uint8], config: ClaheConfig) -> NDArray[np.uint8]:
    """CLAHE by OpenCV; of colour images the lightness (CIELAB L) alone, so that hues stay."""
    clahe = cv2.createCLAHE(config.clip_limit, (config.tiles, config.tiles))
    if pixels.ndim == 2:
        return np.asarray(clahe.apply(pixels), dtype=np.uint8)
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    lab[..., 0] = clahe.apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)


def read_network_input(
    root: Path, config: ImageSpecConfig, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Callable[[str], NDArray[np.uint8] | None]:
    """Return a function from an image's path to the network's input, (channels, size, size), not augmented.

    It gives None where the image is no longer there, or cannot be read.
    """

    def seen(path: str) -> NDArray[np.uint8] | None:
        try:
            return read_preprocessed(root, path, config, max_megapixels=max_megapixels)[0]
        except UnreadableImageError:
            return None

    return seen
