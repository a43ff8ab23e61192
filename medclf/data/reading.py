"""Decoding: from a file of any kind to 8-bit pixels."""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from medclf.data.kinds import is_dicom
from medclf.data.pixels import UnreadableImageError, refuse_bomb, to_eight_bits
from medclf.data.sources.medmnist import load_array
from medclf.errors import DataError

EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "LAB", "HSV"})
"""Pillow's names of the kinds of image with up to 8 bits a channel."""

# our own limit is checked before decoding; Pillow's would warn from every thread
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", message=".*Palette images with Transparency.*")


def read_bytes(root: Path, path: str) -> bytes:
    """What identifies an image: its file's bytes, or the pixels of ``ARRAYS.npy#INDEX``.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        return _array_image(root, path).tobytes() if ".npy#" in path else (root / path).read_bytes()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def decode(root: Path, path: str, grey: bool, at_least: int | None = None, content: bytes | None = None) -> Image.Image:
    """Decode an image to 8 bits, ``L`` or ``RGB``.

    Turned as its EXIF orientation says; transparency is dropped; 16-bit and floating values are scaled from their own
    smallest and largest to 0 to 255; grey from colour is ITU-R 601 luma. DICOM as ``medclf.data.dicom`` says.

    Args:
        root: folder that the path is below.
        path: a file, or ``ARRAYS.npy#INDEX``.
        grey: one channel instead of three.
        at_least: a JPEG may be decoded to a smaller size, not below this many pixels a side: several times as fast.
        content: the file's bytes, if they are read already.

    Raises:
        UnreadableImageError: with the reason.
    """
    mode = "L" if grey else "RGB"
    if ".npy#" in path:
        return Image.fromarray(_array_image(root, path)).convert(mode)
    data = read_bytes(root, path) if content is None else content
    if is_dicom(path, data):
        from medclf.data.dicom import decode_dicom  # needs the extra "dicom"

        return Image.fromarray(decode_dicom(data)).convert(mode)
    try:
        with Image.open(io.BytesIO(data)) as image:
            refuse_bomb(image.width, image.height)
            if at_least is not None:
                image.draft(mode, (at_least, at_least))
            upright = ImageOps.exif_transpose(image)
            if upright.mode not in EIGHT_BITS:
                upright = Image.fromarray(to_eight_bits(np.asarray(upright)))
            return upright.convert(mode)
    except UnidentifiedImageError as error:
        raise UnreadableImageError("the file is empty" if not data else "not an image of a known kind") from error
    except UnreadableImageError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file
        raise UnreadableImageError(str(error) or type(error).__name__) from error


def decode_with_digest(root: Path, path: str, grey: bool, at_least: int | None = None) -> tuple[Image.Image, str]:
    """Decode an image and return it with the SHA-256, in hex, of the very bytes it was decoded from.

    Args: as ``decode`` takes them.

    Raises:
        UnreadableImageError: with the reason.
    """
    content = read_bytes(root, path)
    return decode(root, path, grey, at_least, content), hashlib.sha256(content).hexdigest()


def _array_image(root: Path, path: str) -> NDArray[np.uint8]:
    name, _, index = path.rpartition("#")
    try:
        pixels = np.array(load_array(root / name)[int(index)])
    except DataError as error:
        raise UnreadableImageError(str(error)) from error
    return pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels
