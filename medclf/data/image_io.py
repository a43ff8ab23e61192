"""Decoding: from a file of any kind to 8-bit pixels."""

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from medclf.data.decoding_budget import DECODING, READING, decoding_memory, reserve_memory
from medclf.data.header_validation import detect_format, validate_header, validate_scans, validate_tags
from medclf.data.image_formats import FORMATS, is_dicom
from medclf.data.pixel_conversion import UnreadableImageError, scale_rows, validate_size
from medclf.data.sources.medmnist import load_array
from medclf.utils.errors import DataError
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS, MAX_FILE_BYTES
from medclf.utils.regular_files import open_regular

EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "LAB", "HSV"})
"""Pillow's names of the kinds of image with up to 8 bits a channel."""
NOT_CONVERTED = frozenset({"LAB"})
"""Those that Pillow does not convert to RGB."""
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes that a pixel takes in Pillow's memory; 4 in all other modes."""
DECODER_BYTES = {"TIFF": 4, "WEBP": 12}
"""Bytes a pixel that a decoder takes besides; a progressive JPEG keeps 2 for each of 3 channels."""
Modes = tuple[str, ...]
"""Modes in which an image may be returned; others are converted to the first."""
EXPLAINS = ("truncated", "unsupported", "not supported", "broken", "unrecognized")
"""Words of Pillow's messages that tell a person what is wrong."""
ARRAY_ITEM = re.compile(r".*\.npy#\d{1,18}", re.DOTALL)

# our own limit is checked before decoding; Pillow's would warn from every thread
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", message=".*Palette images with Transparency.*")
# what its readers make of damaged tags: if the image suffers too, the file is unreadable
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image, ``L`` or ``RGB``, and facts of its file.

    ``width``, ``height`` and ``mode`` (Pillow's name, DICOM or array) are those of the file. ``note`` says what in it
    was invalid and therefore ignored.
    """

    image: Image.Image
    width: int
    height: int
    mode: str
    note: str = ""


def is_array_item(path: str) -> bool:
    """Return whether a path is ``ARRAYS.npy#INDEX``, an image of an array of the MedMNIST source."""
    return ARRAY_ITEM.fullmatch(path) is not None


def read_bytes(root: Path, path: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> bytes:
    """Return what identifies an image: its file's bytes, or the pixels of ``ARRAYS.npy#INDEX``.

    Raises:
        UnreadableImageError: with the reason.
    """
    return _array_image(root, path, max_megapixels).tobytes() if is_array_item(path) else read_file(root / path)


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file of at most ``MAX_FILE_BYTES``.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        with open_regular(path) as file, decoding_memory():
            size = file.seek(0, io.SEEK_END)
            if size > MAX_FILE_BYTES:
                raise UnreadableImageError(f"{size} bytes, over {MAX_FILE_BYTES}: too large for one image")
            reserve_memory(READING, size)
            file.seek(0)
            return file.read(size)  # not to the end: the file may be growing
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise UnreadableImageError(getattr(error, "strerror", None) or str(error)) from error


def decode_image(
    root: Path,
    path: str,
    grey: bool,
    at_least: int | None = None,
    content: bytes | None = None,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
) -> Image.Image:
    """Decode an image to 8 bits, ``L`` or ``RGB``.

    Turned as its EXIF orientation says; transparency is dropped; 16-bit and floating values are scaled from their own
    smallest and largest to 0 to 255; grey from colour is ITU-R 601 luma. DICOM as ``medclf.data.dicom_pixels`` says.

    Args:
        root: folder that the path is below.
        path: a file, or ``ARRAYS.npy#INDEX``.
        grey: one channel instead of three.
        at_least: a JPEG may be decoded to a smaller size, not below this many pixels a side: several times as fast.
        content: the file's bytes, if they are read already.
        max_megapixels: limit on the pixels of the image, in millions.

    Raises:
        UnreadableImageError: with the reason.
    """
    return read_image(root, path, grey, at_least, content, max_megapixels).image


def read_image(
    root: Path,
    path: str,
    grey: bool,
    at_least: int | None = None,
    content: bytes | None = None,
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS,
    keep_grey: bool = False,
) -> DecodedImage:
    """Decode an image as ``decode`` does, and return the facts of its file with it.

    With ``keep_grey`` a grey image stays ``L``, whatever ``grey`` says: three channels need four times the memory.
    """
    modes = _modes(grey, keep_grey)
    with decoding_memory():
        data = b"" if content is None else content
        try:
            if is_array_item(path):
                return _from_array(_array_image(root, path, max_megapixels), modes)
            data = read_file(root / path) if content is None else content
            if is_dicom(path, data):
                return _from_dicom(data, modes, max_megapixels)
            return _from_raster(data, modes, at_least, max_megapixels)
        except UnreadableImageError:
            raise
        except Exception as error:  # readers raise many kinds for a damaged file
            raise UnreadableImageError(_reason(error, data)) from error


def convert_image(
    image: Image.Image, grey: bool, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS, keep_grey: bool = False
) -> Image.Image:
    """Convert an image in memory, which stays as it is, to 8 bits as ``read_image`` converts that of a file.

    Args:
        image: of any mode that files have; its pixels may not be decoded yet.
        grey: one channel instead of three.
        max_megapixels: limit on the pixels of the image, in millions.
        keep_grey: whether a grey image stays ``L``, whatever ``grey`` says.

    Raises:
        UnreadableImageError: with the reason.
    """
    try:
        validate_size(image.width, image.height, max_megapixels)
        image.load()
        if isinstance(exif := image.info.get("exif"), bytes):
            validate_tags(exif.removeprefix(b"Exif\0\0"), max_megapixels)
        turned = ImageOps.exif_transpose(image)
        return _converted(turned if turned.mode in EIGHT_BITS else _scaled(turned), _modes(grey, keep_grey))
    except UnreadableImageError:
        raise
    except Exception as error:  # readers raise many kinds for a damaged file
        raise UnreadableImageError(_reason(error, b"")) from error


def _modes(grey: bool, keep_grey: bool) -> Modes:
    return ("L",) if grey else ("RGB", "L") if keep_grey else ("RGB",)


def _from_array(pixels: NDArray[np.uint8], modes: Modes) -> DecodedImage:
    image = _converted(Image.fromarray(pixels), modes)
    return DecodedImage(image, image.width, image.height, "array")


def _from_dicom(content: bytes, modes: Modes, max_megapixels: float) -> DecodedImage:
    from medclf.data.dicom_pixels import decode_dicom  # needs the extra "dicom"

    pixels, note = decode_dicom(content, max_megapixels)
    image = _converted(Image.fromarray(pixels), modes)
    return DecodedImage(image, image.width, image.height, "DICOM", note)


def _from_raster(content: bytes, modes: Modes, at_least: int | None, max_megapixels: float) -> DecodedImage:
    image = _opened(content, max_megapixels)
    width, height, file_mode = image.width, image.height, image.mode
    if at_least is not None:
        image.draft(modes[0], (at_least, at_least))
    reserve_memory(DECODING, _decoding_bytes(image, modes, width * height))
    image.load()
    if isinstance(exif := image.info.get("exif"), bytes):
        validate_tags(exif.removeprefix(b"Exif\0\0"), max_megapixels)
    ImageOps.exif_transpose(image, in_place=True)
    eight_bits = image if image.mode in EIGHT_BITS else _scaled(image)
    del image  # the pixels of more bits, before those of more channels are made
    return DecodedImage(_converted(eight_bits, modes), width, height, file_mode)


def _opened(content: bytes, max_megapixels: float) -> Image.Image:
    """Return an image whose header is read and found acceptable, its pixels not decoded yet."""
    validate_header(content, max_megapixels)
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise UnreadableImageError(_unidentified(content)) from error
    bits = {1: 8, 2: 16, 4: 32}[PIXEL_BYTES.get(image.mode, 4)] if image.mode not in EIGHT_BITS else 8
    validate_size(image.width, image.height, max_megapixels, bits)
    if image.info.get("progressive"):
        validate_scans(content, image.width, image.height)
    return image


def _decoding_bytes(image: Image.Image, modes: Modes, file_pixels: int) -> int:
    """Return about how much memory decoding takes at its peak: the pixels as they are, turned, and converted."""
    own = PIXEL_BYTES.get(image.mode, 4)
    scaled = 0 if image.mode in EIGHT_BITS else 1
    as_it_is = ("L" if scaled else image.mode) in modes
    pixel = 2 * own + scaled + (0 if as_it_is else PIXEL_BYTES.get(modes[0], 4))
    decoder = 6 if image.info.get("progressive") else DECODER_BYTES.get(image.format or "", 0)
    return image.width * image.height * pixel + file_pixels * decoder


def _scaled(image: Image.Image) -> Image.Image:
    def read(rows: slice) -> NDArray[np.generic]:
        return np.asarray(image.crop((0, rows.start, image.width, rows.stop)))

    return Image.fromarray(scale_rows(read, (image.height, image.width)))


def _converted(image: Image.Image, modes: Modes) -> Image.Image:
    if image.mode in NOT_CONVERTED:
        raise UnreadableImageError(f"colours of kind {image.mode} are not read; export as RGB")
    return image if image.mode in modes else image.convert(modes[0])


def _array_image(root: Path, path: str, max_megapixels: float) -> NDArray[np.uint8]:
    name, _, index = path.rpartition("#")
    try:
        array = load_array(root / name)
    except DataError as error:
        raise UnreadableImageError(str(error)) from error
    except Exception as error:  # of a damaged header, which is Python's syntax
        raise UnreadableImageError(f"{name} is damaged") from error
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
        raise UnreadableImageError(f"{name} has shape {array.shape} and type {array.dtype}; expected uint8 images")
    if int(index) >= len(array):
        raise UnreadableImageError(f"{name} has {len(array)} images, counted from 0")
    validate_size(array.shape[2], array.shape[1], max_megapixels)
    pixels = np.array(array[int(index)])
    return pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels


def _unidentified(content: bytes) -> str:
    kind = detect_format(content)
    if not content:
        return "the file is empty"
    if kind in FORMATS:
        return f"a damaged {kind} file"
    return f"{kind}, not an image of a known kind" if kind else "not an image of a known kind"


def _reason(error: Exception, content: bytes) -> str:
    """Return a reason for people: some messages of the readers explain, most are accidents of their code."""
    text = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "decoding needs more memory than there is"
    if isinstance(error, OSError | SyntaxError) and any(word in text.lower() for word in EXPLAINS):
        return text
    return f"a damaged {detect_format(content) or 'image'} file"
