"""What kind of file was dropped, by its content: its name may say anything."""

from medclf.data.image_formats import FORMATS, has_dicom
from medclf.data.image_headers import format_of
from medclf.data.pixel_conversion import UnreadableImageError

SAID = "PNG, JPEG, BMP, TIFF, WebP or DICOM"


def name_for(content: bytes) -> str:
    """Return a name by which ``medclf.data.image_io.decode`` reads these bytes.

    Raises:
        UnreadableImageError: for a kind of file that is not taken.
    """
    if has_dicom(content):
        return "image.dcm"
    if not content:
        raise UnreadableImageError("the file is empty")
    if format_of(content) not in FORMATS:
        raise UnreadableImageError(f"not a file of a kind that is taken ({SAID})")
    return "image"
