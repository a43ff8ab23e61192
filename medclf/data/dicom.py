"""DICOM images, by pydicom (the extra ``dicom``)."""

import io

import numpy as np
from numpy.typing import NDArray

from medclf.data.pixels import UnreadableImageError, refuse_bomb, to_eight_bits


def decode_dicom(content: bytes) -> NDArray[np.uint8]:
    """Decode a single-frame DICOM image to 8 bits: (height, width) or (height, width, 3).

    Grey values pass the rescale slope and intercept, then the VOI LUT or window that the file gives (DICOM PS3.3 C.11),
    and are scaled from the smallest to the largest; MONOCHROME1 is inverted, so that air is dark in every image.

    Raises:
        UnreadableImageError: for what is no DICOM image, has several frames or too many pixels, or needs a decoder that
            is not installed.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ImportError as error:
        raise UnreadableImageError('DICOM needs pydicom: python -m pip install "medclf[dicom]"') from error
    try:
        image = pydicom.dcmread(io.BytesIO(content))
        frames = int(image.get("NumberOfFrames", 1) or 1)
        if frames > 1:
            raise UnreadableImageError(f"a DICOM file of {frames} frames; export the one frame to be classified")
        refuse_bomb(int(image.Columns), int(image.Rows))
        pixels = image.pixel_array
        kind = image.PhotometricInterpretation
    except UnreadableImageError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds for a damaged file
        raise UnreadableImageError(f"no DICOM image that can be decoded: {error}") from error
    if kind == "RGB":
        return np.asarray(pixels, dtype=np.uint8) if pixels.dtype == np.uint8 else to_eight_bits(pixels)
    if not kind.startswith("MONOCHROME"):
        raise UnreadableImageError(f"DICOM images of kind {kind} are not read; export as PNG")
    grey = to_eight_bits(apply_voi_lut(apply_modality_lut(pixels, image), image))
    return np.asarray(255 - grey, dtype=np.uint8) if kind == "MONOCHROME1" else grey
