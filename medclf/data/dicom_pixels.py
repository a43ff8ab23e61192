"""DICOM images, by pydicom (the extra ``dicom``)."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclf.data.decoding_budget import DECODING, decoding_memory, reserve_memory
from medclf.data.pixel_conversion import UnreadableImageError, to_eight_bits, validate_size
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS

NEEDED = ("Rows", "Columns", "PhotometricInterpretation")
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
Values = NDArray[np.generic]
Transform = Callable[[Values], Values]


def decode_dicom(content: bytes, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> tuple[NDArray[np.uint8], str]:
    """Decode a single-frame DICOM image to 8 bits.

    Grey values pass the rescale slope and intercept, then the VOI LUT or window that the file gives (DICOM PS3.3 C.11),
    and are scaled from the smallest to the largest; MONOCHROME1 is inverted, so that air is dark in every image. An
    invalid VOI LUT or window is ignored.

    Returns:
        Pixels, (height, width) or (height, width, 3), and a note on what was ignored, usually empty.

    Raises:
        UnreadableImageError: for a file that is not a DICOM image, has several frames or too many pixels, or needs a
            decoder that is not installed.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise UnreadableImageError('DICOM needs pydicom: python -m pip install "medclf[dicom]"') from error
    try:
        with decoding_memory():
            return _decoded(content, max_megapixels)
    except UnreadableImageError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds for a damaged file
        raise UnreadableImageError(f"no DICOM image that can be decoded: {_reason(error)}") from error


def _decoded(content: bytes, max_megapixels: float) -> tuple[NDArray[np.uint8], str]:
    from medclf.data.dicom_reading import read_dataset, validate_frame

    image = read_dataset(content)
    _validate(image, max_megapixels)
    validate_frame(image, max_megapixels)
    kind = str(image.PhotometricInterpretation)
    pixels = image.pixel_array
    if kind == "RGB":
        return np.asarray(pixels, dtype=np.uint8) if pixels.dtype == np.uint8 else to_eight_bits(pixels), ""
    if not kind.startswith("MONOCHROME"):
        raise UnreadableImageError(f"DICOM images of kind {kind} are not read; export as PNG")
    transform, note = _display_transform(image, pixels[:1, :1])
    grey = to_eight_bits(pixels, transform)
    return np.asarray(255 - grey, dtype=np.uint8) if kind == "MONOCHROME1" else grey, note


def _validate(image: Any, max_megapixels: float) -> None:
    missing = [name for name in NEEDED if image.get(name) is None]
    if missing:
        raise UnreadableImageError(f"no DICOM image that can be decoded: it has no {missing[0]}")
    if not any(name in image for name in PIXELS):
        raise UnreadableImageError("no DICOM image that can be decoded: it holds no pixels")
    frames = int(image.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise UnreadableImageError(f"a DICOM file of {frames} frames; export the one frame to be classified")
    width, height, bits = int(image.Columns), int(image.Rows), int(image.get("BitsAllocated") or 8)
    validate_size(width, height, max_megapixels, bits)
    channels = int(image.get("SamplesPerPixel") or 1)
    reserve_memory(DECODING, width * height * channels * (bits // 4 + 2) + width * height * 4)


def _display_transform(image: Any, probe: Values) -> tuple[Transform, str]:
    """Return the rescaling and windowing of an image, and a note if its window is invalid and left out.

    Args:
        image: dataset.
        probe: some of its pixels, on which the window is tried.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    def rescaled(values: Values) -> Values:
        return np.asarray(apply_modality_lut(values, image))

    def windowed(values: Values) -> Values:
        return np.asarray(apply_voi_lut(rescaled(values), image))

    before = rescaled(probe)
    try:
        with np.errstate(all="ignore"):
            valid = np.isfinite(windowed(probe)).all() or not np.isfinite(before).all()
    except Exception:  # a width below 1, an unknown function, a LUT that is cut short …
        valid = False
    return (windowed, "") if valid else (rescaled, _ignored(image))


def _ignored(image: Any) -> str:
    if image.get("VOILUTSequence"):
        return "its VOI LUT is invalid and is ignored"
    function = image.get("VOILUTFunction")
    named = f", function {function}" if function else ""
    centre, width = image.get("WindowCenter"), image.get("WindowWidth")
    return f"its window (centre {centre}, width {width}{named}) is invalid and is ignored"


def _reason(error: Exception) -> str:
    """Return the first line of what a decoder says, or that the file is damaged where that is not for people."""
    text = str(error).split("\n")[0].rstrip(":")
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    unexplained = isinstance(error, RecursionError) or text.startswith(("invalid literal", "Unable to decode as"))
    if isinstance(error, ValueError | NotImplementedError | RuntimeError) and not unexplained:
        return text
    return "it is damaged"
