from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Pillow's names of the kinds of image with up to 8 bits a channel."""


class UnreadableImageError(Exception):
    """A file that is no image, a damaged one, or one of a kind that is not read yet."""


def read_image(path: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode an image and squash it to a square.

    Turned as its EXIF orientation says; transparency is dropped; resized with Pillow's antialiased bilinear filter.

    Args:
        path: the file.
        size: side of the square in pixels.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.

    Returns:
        Array of shape (channels, size, size), values 0 to 255.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                raise UnreadableImageError(f"images of mode {image.mode} (more than 8 bits a channel) are not read yet")
            upright = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            pixels = np.array(upright.resize((size, size), Image.Resampling.BILINEAR))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImageError(str(error)) from error
    return pixels.reshape(size, size, channels).transpose(2, 0, 1)
