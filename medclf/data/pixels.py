import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 2**27
"""A picture of more pixels than any scanner gives is taken for a decompression bomb."""


class UnreadableImageError(Exception):
    """A file that is no image, a damaged one, or one of a kind that is not read."""


def refuse_bomb(width: int, height: int) -> None:
    """Refuse a picture of too many pixels before it is decoded.

    Raises:
        UnreadableImageError: saying how many there are.
    """
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width}x{height} pixels, over {MAX_PIXELS}: a decompression bomb?")


def to_eight_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values of any type to 0 to 255, from the smallest to the largest; a constant image is 0."""
    floats = values.astype(np.float64)
    low, high = floats.min(), floats.max()
    if not np.isfinite([low, high]).all():
        raise UnreadableImageError("holds values that are no numbers")
    return np.asarray(np.rint((floats - low) * (255 / max(high - low, 1e-300) if high > low else 0)), dtype=np.uint8)
