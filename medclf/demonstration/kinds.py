"""What kind of file was dropped, by its content: its name may say anything."""

import io

from PIL import Image, UnidentifiedImageError

from medclf.data.kinds import has_dicom
from medclf.data.pixels import UnreadableImageError

TAKEN = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""By Pillow's names; others of its readers start programs (EPS) or are little used, and so little tested."""
SAID = "PNG, JPEG, BMP, TIFF, WebP or DICOM"
DEFLATED = b"1.2.840.10008.1.2.1.99"
"""The transfer syntax of a DICOM file that is compressed as a whole, and may be of any size when it is not."""


def name_for(content: bytes) -> str:
    """A name by which ``medclf.data.reading.decode`` reads these bytes.

    Raises:
        UnreadableImageError: for a kind of file that is not taken.
    """
    if has_dicom(content):
        if DEFLATED in content:
            raise UnreadableImageError("a DICOM file that is compressed as a whole; export it uncompressed, or as PNG")
        return "image.dcm"
    if not content:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=TAKEN):
            return "image"
    except UnidentifiedImageError as error:
        raise UnreadableImageError(f"not a file of a kind that is taken ({SAID})") from error
    except (OSError, ValueError) as error:
        raise UnreadableImageError(str(error)) from error
