"""Checks of headers before a decoder acts on them: sizes and counts that a file claims cost memory."""

import struct
from collections.abc import Iterator

from medclf.data.pixel_conversion import UnreadableImageError, validate_size
from medclf.utils.file_limits import MAX_SCANNED_PIXELS, MAX_STRIPS

SIGNATURES = (
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"RIFF", "WEBP"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"GIF8", "GIF"),
    (b"8BPS", "PSD"),
    (b"PK\3\4", "ZIP"),
    (b"\0\0\0\x0cjP", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
"""First bytes of files of the formats that are read, and of others that people give such names."""
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value of each TIFF type (TIFF 6.0, section 2; BigTIFF adds 16 to 18)."""
STRIP_OFFSETS, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS = 273, 322, 323, 324
TAGS_TOO_LARGE = "its tags claim more bytes than the file has"


def detect_format(content: bytes) -> str | None:
    """Return the name of a file's format by its first bytes, or None."""
    if content[4:8] == b"ftyp":
        return "HEIF"
    name = next((name for signature, name in SIGNATURES if content.startswith(signature)), None)
    return None if name == "WEBP" and content[8:12] != b"WEBP" else name


def validate_header(content: bytes, max_megapixels: float) -> None:
    """Raise for headers that would make Pillow allocate memory before it reports the size of the image.

    Raises:
        UnreadableImageError: with the reason.
    """
    kind = detect_format(content)
    if kind == "TIFF":
        validate_tags(content, max_megapixels)
    if kind == "WEBP" and (size := webp_size(content)) is not None:
        validate_size(*size, max_megapixels)


def validate_scans(content: bytes, width: int, height: int) -> None:
    """Raise for a progressive JPEG whose scans would take minutes to decode.

    Raises:
        UnreadableImageError: with the number of scans.
    """
    scans = content.count(b"\xff\xda")
    if scans * width * height > MAX_SCANNED_PIXELS:
        raise UnreadableImageError(f"{scans} scans of {width}x{height} pixels; a JPEG file has up to about 10")


def webp_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height of a WebP canvas (RFC 9649), or None for a damaged header."""
    kind, head = content[12:16], content[:30].ljust(30, b"\0")
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def validate_tags(content: bytes, max_megapixels: float) -> None:
    """Raise if the first tag directory of a TIFF file, or of EXIF data, costs far more memory than its bytes.

    Many tags may point at the same bytes, each of which a reader copies; so their sizes are added up.

    Raises:
        UnreadableImageError: with the reason.
    """
    total, tile = 0, {TILE_WIDTH: 0, TILE_LENGTH: 0}
    for tag, count, unit, value in _tags(content):
        total += count * unit
        if tag in (STRIP_OFFSETS, TILE_OFFSETS) and count > MAX_STRIPS:
            raise UnreadableImageError(f"{count} strips or tiles, over {MAX_STRIPS}")
        if tag in tile and count == 1:
            tile[tag] = value
    if total > len(content):
        raise UnreadableImageError(TAGS_TOO_LARGE)
    if all(tile.values()):
        validate_size(tile[TILE_WIDTH], tile[TILE_LENGTH], max_megapixels)


def _tags(content: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, count, bytes of a value, and first value of each entry whose data lies in the file."""
    order = "<" if content.startswith(b"II") else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    counted, entry, pointer = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    length, inline = struct.calcsize(order + entry) + struct.calcsize(order + pointer), 8 if big else 4
    try:
        (at,) = struct.unpack_from(order + pointer, content, 8 if big else 4)
        (entries,) = struct.unpack_from(order + counted, content, at)
        at += struct.calcsize(order + counted)
        for place in range(at, min(at + entries * length, len(content)), length):
            tag, kind, count = struct.unpack_from(order + entry, content, place)
            data = place + length - inline
            (offset,) = struct.unpack_from(order + pointer, content, data)
            unit = TYPE_BYTES.get(kind, 0)
            size = count * unit
            if size > inline and offset + size > len(content):
                continue  # cut off by the end of the file: Pillow skips such a tag
            (short,) = struct.unpack_from(order + "H", content, data)
            yield tag, count if unit else 0, unit, short if kind == 3 else offset
    except struct.error:
        return
