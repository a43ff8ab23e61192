"""DICOM files read within bounds: inflated up to a limit, compressed frames checked before they are decoded."""

import io
import struct
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from medclf.data.image_formats import DICM, PREAMBLE, has_dicom
from medclf.data.pixel_conversion import UnreadableImageError, validate_size
from medclf.utils.file_limits import MAX_FILE_BYTES, MAX_INFLATION, SMALL_INFLATION

DEFLATED, EXPLICIT = b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.1.2.1"
"""Transfer syntaxes: explicit little endian, with the dataset deflated as a whole or not (DICOM PS3.5, A.5 and A.2)."""
PIECE = 2**16
CHANNELS = 4
"""Most components of a compressed frame."""
RLE_EXPANSION = 64
"""Times its size to which an RLE segment can expand: two bytes may stand for 128."""
SIZES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
"""Markers of JPEG and JPEG-LS frame headers."""


def read_dataset(content: bytes) -> Any:
    """Parse a DICOM file.

    Raises:
        UnreadableImageError: for a file without the DICOM marker, or one that inflates beyond the limits.
    """
    import pydicom

    if not has_dicom(content):
        raise UnreadableImageError("no DICOM image: the marker DICM is missing")
    return pydicom.dcmread(io.BytesIO(inflate_dataset(content)))


def inflate_dataset(content: bytes) -> bytes:
    """Return a DICOM file with its dataset inflated, where it is deflated as a whole.

    Raises:
        UnreadableImageError: if it inflates to more than ``MAX_INFLATION`` times its size, or is damaged.
    """
    from pydicom.filereader import read_dataset as read_elements

    file = io.BytesIO(content)
    file.seek(PREAMBLE + len(DICM))
    meta = read_elements(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")).encode() != DEFLATED:
        return content
    begin = file.tell()
    data = memoryview(content)[begin:]
    limit = min(MAX_FILE_BYTES, max(MAX_INFLATION * len(data), SMALL_INFLATION))
    size = 0
    for piece in _inflate(data):  # counted first, so that a bomb is never held
        size += len(piece)
        if size > limit:
            raise UnreadableImageError(f"inflates to over {limit // max(1, len(data))} times its size")
    return content[:begin].replace(DEFLATED, EXPLICIT.ljust(len(DEFLATED), b"\0")) + b"".join(_inflate(data))


def _inflate(data: memoryview) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for begin in range(0, len(data), PIECE):
        waiting = bytes(data[begin : begin + PIECE])
        while waiting:
            yield inflater.decompress(waiting, 2**20)
            waiting = inflater.unconsumed_tail
    yield inflater.flush()
    if not inflater.eof:
        raise UnreadableImageError("a damaged DICOM file: its deflated data is cut short")


def validate_frame(image: Any, max_megapixels: float) -> None:
    """Raise if a compressed frame claims more pixels than its dataset may have, before it is decoded.

    Args:
        image: dataset of a single frame, with ``Rows`` and ``Columns``.
        max_megapixels: limit, in millions of pixels.

    Raises:
        UnreadableImageError: with the reason.
    """
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    syntax = image.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in image:
            del image[name]  # a single frame needs none, and it could lead past the one checked here
    frame = get_frame(image.PixelData, 0, number_of_frames=1)
    if syntax == RLELossless:
        _validate_rle(frame, int(image.Rows) * int(image.Columns))
        return
    for width, height, channels in read_codestream_sizes(frame):
        validate_size(width, height, max_megapixels)
        if channels > CHANNELS:
            raise UnreadableImageError(f"a compressed frame of {channels} components, over {CHANNELS}")
        if (width, height) != (int(image.Columns), int(image.Rows)):
            claimed = f"{image.Columns}x{image.Rows}"
            raise UnreadableImageError(f"its compressed frame has {width}x{height} pixels, its header says {claimed}")


def read_codestream_sizes(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield width, height and components that the headers of a JPEG, JPEG-LS or JPEG 2000 codestream claim."""
    at = frame.find(b"\xff\x4f\xff\x51")
    if at >= 0 and len(frame) >= at + 42:
        right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
        yield max(right - left, 0), max(bottom - top, 0), struct.unpack_from(">H", frame, at + 40)[0]
    elif frame.startswith(b"\xff\xd8"):
        for marker, begin in _segments(frame):
            if marker in SIZES and begin + 8 <= len(frame):
                height, width, channels = struct.unpack_from(">HHB", frame, begin + 3)
                yield width, height, channels


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and begin of each segment up to the first scan."""
    at = 2
    while at + 4 <= len(frame):
        if frame[at] != 0xFF or frame[at + 1] in (0x00, 0xFF):
            at += 1
            continue
        marker = frame[at + 1]
        yield marker, at + 2
        if marker == 0xDA:
            return
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD9
        at += 2 if alone else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")


def _validate_rle(frame: bytes, pixels: int) -> None:
    """Raise for RLE data that decodes to more than the pixels of each of its segments (DICOM PS3.5, annex G)."""
    if len(frame) * RLE_EXPANSION <= SMALL_INFLATION:
        return
    count = min(int.from_bytes(frame[:4], "little"), 15)
    offsets = [*struct.unpack_from(f"<{count}I", frame, 4), len(frame)]
    for begin, end in pairwise(offsets):
        if end - begin > 2 * pixels + PIECE or _exceeds(frame[begin:end], pixels + PIECE):
            raise UnreadableImageError("a damaged DICOM file: its RLE data decodes to more than its pixels")


def _exceeds(segment: bytes, limit: int) -> bool:
    """Return whether an RLE segment decodes to more bytes than a limit."""
    at = size = 0
    while at < len(segment) and size <= limit:
        code = segment[at]
        if code < 128:
            size += code + 1
            at += code + 2
        else:
            size += 257 - code if code > 128 else 0
            at += 2 if code > 128 else 1
    return size > limit
