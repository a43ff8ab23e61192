"""What is known of each file: its content's hash, size and kind, and a perceptual hash; remembered between runs."""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import imagehash
from tqdm import tqdm

from medclf.config.image_limits import MAX_MEGAPIXELS
from medclf.data.decoding_budget import decoding
from medclf.data.pixels import UnreadableImageError, validate_size
from medclf.data.reading import is_array_item, read_bytes, read_image
from medclf.errors import DataError, listed

HASH_SIDE = 16
CHUNK = 512
Stamp = tuple[str, int, int]
"""What tells whether a file has changed: absolute path, size in bytes, time of change in nanoseconds."""


@dataclass(frozen=True)
class Fingerprint:
    """Facts of one image. Where ``error`` says why it cannot be read, the others but ``sha256`` are empty or 0.

    ``perceptual`` is a hash of 256 bits as hex, of the low frequencies of the discrete cosine transform (pHash, by
    imagehash): nearly the same for one picture in another size, format or brightness. ``mode`` is Pillow's name of the
    kind of image. ``note`` says what in the file was invalid and therefore ignored.
    """

    sha256: str
    width: int = 0
    height: int = 0
    mode: str = ""
    perceptual: str = ""
    error: str = ""
    note: str = ""


def fingerprints(
    root: Path, paths: Sequence[str], store: Path, progress: bool = True, max_megapixels: float = MAX_MEGAPIXELS
) -> list[Fingerprint]:
    """The fingerprints of images, in order; files that have not changed since the last time are not read again.

    Args:
        root: folder that the paths are below.
        paths: one for each image.
        store: folder in which fingerprints are remembered.
        progress: whether to show a bar.
        max_megapixels: an image of more millions of pixels is unreadable.

    Raises:
        DataError: when the store cannot be written, and for file names that are not Unicode.
    """
    strange = [ascii(path) for path in paths if not _is_unicode(path)]
    if strange:
        raise DataError(f"{root}: {len(strange)} file names are not Unicode; rename them: {listed(strange)}")
    stamps = [_stamp(root, path) for path in paths]
    try:
        store.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(store / "fingerprints.sqlite", timeout=120)) as database:
            _create(database)
            known = _remembered(database, stamps)
            unknown = [index for index, stamp in enumerate(stamps) if stamp not in known]
            bar = tqdm(total=len(unknown), desc="Looking at images", disable=not (progress and unknown), leave=False)
            with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
                for begin in range(0, len(unknown), CHUNK):
                    chunk = unknown[begin : begin + CHUNK]
                    taken = list(pool.map(lambda index: fingerprint(root, paths[index], max_megapixels), chunk))
                    new = {stamps[index]: value for index, value in zip(chunk, taken, strict=True)}
                    _remember(database, new)
                    known |= new
                    bar.update(len(chunk))
    except (OSError, sqlite3.Error) as error:
        raise DataError(f"dataset.store={store}: cannot be written: {error}") from error
    return [_within(known[stamp], max_megapixels) for stamp in stamps]


def fingerprint(root: Path, path: str, max_megapixels: float = MAX_MEGAPIXELS) -> Fingerprint:
    """Read one image whole and take its fingerprint."""
    try:
        with decoding():
            return _fingerprint(root, path, read_bytes(root, path, max_megapixels), max_megapixels)
    except UnreadableImageError as error:
        return Fingerprint("", error=str(error))


def _fingerprint(root: Path, path: str, content: bytes, max_megapixels: float) -> Fingerprint:
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        read = read_image(root, path, True, 4 * HASH_SIDE, content, max_megapixels)
    except UnreadableImageError as error:
        return Fingerprint(sha256, error=str(error))
    perceptual = str(imagehash.phash(read.image, hash_size=HASH_SIDE))
    return Fingerprint(sha256, read.width, read.height, read.mode, perceptual, note=read.note)


def _within(known: Fingerprint, max_megapixels: float) -> Fingerprint:
    """Return a fingerprint, unreadable if the image was remembered under a higher limit."""
    if known.error:
        return known
    try:
        validate_size(known.width, known.height, max_megapixels)
    except UnreadableImageError as error:
        return Fingerprint(known.sha256, error=str(error))
    return known


def _is_unicode(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def _stamp(root: Path, path: str) -> Stamp:
    file = root / path.rpartition("#")[0] if is_array_item(path) else root / path
    try:
        status = file.stat()
    except OSError:
        return str((root / path).absolute()), -1, -1
    return str((root / path).absolute()), status.st_size, status.st_mtime_ns


def _create(database: sqlite3.Connection) -> None:
    columns = ", ".join(field.name for field in fields(Fingerprint))
    database.execute(f"CREATE TABLE IF NOT EXISTS fingerprint2 (file PRIMARY KEY, size, changed, {columns})")


def _remembered(database: sqlite3.Connection, stamps: Iterable[Stamp]) -> dict[Stamp, Fingerprint]:
    wanted = set(stamps)
    folder = os.path.commonpath([stamp[0] for stamp in wanted]) if wanted else ""
    rows = database.execute("SELECT * FROM fingerprint2 WHERE file >= ? AND file < ?", (folder, folder + chr(0x10FFFF)))
    found = {(str(row[0]), int(row[1]), int(row[2])): Fingerprint(*row[3:]) for row in rows}
    return {stamp: value for stamp, value in found.items() if stamp in wanted and stamp[1] >= 0}


def _remember(database: sqlite3.Connection, new: dict[Stamp, Fingerprint]) -> None:
    marks = ", ".join("?" * (3 + len(fields(Fingerprint))))
    # what cannot be read today may be tomorrow, with another permission or decoder, and looks unchanged then
    rows = [(*stamp, *astuple(value)) for stamp, value in new.items() if not value.error]
    with database:
        database.executemany(f"INSERT OR REPLACE INTO fingerprint2 VALUES ({marks})", rows)  # noqa: S608
