"""Limits on pixels, and the conversion of pixels of any type to 8 bits."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS

BLOCK = 2**20
"""Values converted at a time, so that the float64 copy of an image is never held whole."""


class UnreadableImageError(Exception):
    """A file that is not an image, is damaged, or is of a kind that is not read."""


def validate_size(width: int, height: int, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS, bits: int = 8) -> None:
    """Raise if an image has no pixels or too many; call before they are decoded.

    Args:
        width: pixels.
        height: pixels.
        max_megapixels: limit, in millions of pixels.
        bits: depth of a channel, for the message.

    Raises:
        UnreadableImageError: with size and limit.
    """
    if width < 1 or height < 1:
        raise UnreadableImageError(f"{width}x{height} pixels: an image without pixels")
    if width * height > max_megapixels * 1e6:
        raise UnreadableImageError(f"{width}x{height} pixels of {bits} bits, over max_megapixels={max_megapixels:g}")


def to_eight_bits(
    values: NDArray[np.generic],
    transform: Callable[[NDArray[np.generic]], NDArray[np.generic]] = lambda block: block,
) -> NDArray[np.uint8]:
    """Scale values of any type from their smallest and largest to 0 and 255; a constant image becomes 0.

    Args:
        values: shape (height, width) or (height, width, channels).
        transform: applied to blocks of rows first; must treat each value by itself.

    Raises:
        UnreadableImageError: for values that are NaN or infinite.
    """
    return scale_rows(lambda rows: transform(values[rows]), values.shape)


def scale_rows(read: Callable[[slice], NDArray[np.generic]], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Scale an image that is read a block of rows at a time, twice, as ``to_eight_bits`` does.

    Args:
        read: returns the values of a block of rows.
        shape: of the whole image, (height, width) or (height, width, channels).
    """
    step = max(1, BLOCK // max(1, int(np.prod(shape[1:]))))
    blocks = [slice(top, min(top + step, shape[0])) for top in range(0, shape[0], step)]
    extremes = np.array([(block.min(), block.max()) for block in map(read, blocks)], dtype=np.float64)
    low, high = extremes[:, 0].min(), extremes[:, 1].max()
    if not np.isfinite([low, high]).all():
        raise UnreadableImageError("holds values that are not finite numbers")
    scale = 255 / max(high - low, 1e-300) if high > low else 0

    def scaled(values: NDArray[np.generic]) -> NDArray[np.uint8]:
        return np.asarray(np.rint((values.astype(np.float64) - low) * scale), dtype=np.uint8)

    result = np.empty(shape, dtype=np.uint8)
    for rows in blocks:
        block = read(rows)
        if block.dtype.kind in "iu" and block.dtype.itemsize <= 2:  # a few values, many pixels
            result[rows] = scaled(np.arange(int(low), int(high) + 1))[block.astype(np.int32) - int(low)]
        else:
            result[rows] = scaled(block)
    return result
