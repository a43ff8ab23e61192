"""What is known of each file: its content's hash, size and kind, and a perceptual hash; remembered between runs."""

import hashlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import imagehash
from tqdm import tqdm

from medclf.data.decoding_budget import decoding_memory
from medclf.data.image_io import is_array_item, read_bytes, read_image
from medclf.data.pixel_conversion import UnreadableImageError, validate_size
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import DataError, format_list
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS, HIGHEST_MAX_MEGAPIXELS
from medclf.utils.write_errors import format_unwritable

log = logging.getLogger(__name__)
DATABASE = "fingerprints.sqlite"
PATIENCE = 120
"""Seconds to wait for another process that writes to the database."""
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


def compute_fingerprints(
    root: Path, paths: Sequence[str], store: Path, progress: bool = True, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> list[Fingerprint]:
    """Return the fingerprints of images, in order; unchanged files are not read again.

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
        raise DataError(f"{root}: {len(strange)} file names are not Unicode; rename them: {format_list(strange)}")
    stamps = [_stamp(root, path) for path in paths]
    try:
        store.mkdir(parents=True, exist_ok=True)
        try:
            known = _looked_up(root, paths, stamps, store / DATABASE, progress, max_megapixels)
        except sqlite3.DatabaseError as error:
            if not _is_damaged(error):
                raise
            log.warning("%s is damaged (%s) and is built again.", store / DATABASE, error)
            for suffix in ("", "-journal", "-wal", "-shm"):
                (store / f"{DATABASE}{suffix}").unlink(missing_ok=True)
            known = _looked_up(root, paths, stamps, store / DATABASE, progress, max_megapixels)
    except (OSError, sqlite3.Error) as error:
        raise DataError(_unusable(store, error)) from error
    return [_within(known[stamp], max_megapixels) for stamp in stamps]


def _looked_up(
    root: Path, paths: Sequence[str], stamps: Sequence[Stamp], path: Path, progress: bool, max_megapixels: float
) -> dict[Stamp, Fingerprint]:
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
        _create(database)
        known = _remembered(database, stamps)
        unknown = [index for index, stamp in enumerate(stamps) if stamp not in known]
        bar = tqdm(total=len(unknown), desc="Looking at images", disable=not (progress and unknown), leave=False)
        with bar, ThreadPoolExecutor(os.cpu_count()) as pool:
            for begin in range(0, len(unknown), CHUNK):
                chunk = unknown[begin : begin + CHUNK]
                taken = list(pool.map(lambda index: compute_fingerprint(root, paths[index], max_megapixels), chunk))
                new = {stamps[index]: value for index, value in zip(chunk, taken, strict=True)}
                _remember(database, new)
                known |= new
                bar.update(len(chunk))
    return known


def forget_fingerprint(root: Path, path: str, store: Path) -> None:
    """Forget an image whose file changed although size and time tell otherwise; it is read again the next time."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(store / DATABASE, timeout=PATIENCE)) as database, database:
        database.execute("DELETE FROM fingerprint2 WHERE file = ?", (_stamp(root, path)[0],))


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is no database of ours; one that is locked or cannot be written raises OperationalError too."""
    return type(error) is sqlite3.DatabaseError or "decode" in str(error)


def _unusable(store: Path, error: Exception) -> str:
    if "locked" in str(error):
        return f"dataset.store={store}: {DATABASE} has been in use by another process for {PATIENCE} s; try again"
    return format_unwritable("dataset.store", store, error)


def compute_fingerprint(root: Path, path: str, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> Fingerprint:
    """Read one image whole and take its fingerprint."""
    try:
        with decoding_memory():
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
    found = ", ".join(row[1] for row in database.execute("PRAGMA table_info(fingerprint2)"))
    if found != f"file, size, changed, {columns}":
        raise sqlite3.DatabaseError("its table has other columns")


def _remembered(database: sqlite3.Connection, stamps: Iterable[Stamp]) -> dict[Stamp, Fingerprint]:
    wanted = set(stamps)
    folder = os.path.commonpath([stamp[0] for stamp in wanted]) if wanted else ""
    rows = database.execute("SELECT * FROM fingerprint2 WHERE file >= ? AND file < ?", (folder, folder + chr(0x10FFFF)))
    found = {(row[0], row[1], row[2]): Fingerprint(*row[3:]) for row in rows if _is_valid(row[3:])}
    return {stamp: value for stamp, value in found.items() if stamp in wanted and stamp[1] >= 0}


def _is_valid(values: Sequence[object]) -> bool:
    """Whether the columns have the types that ``_remember`` writes."""
    sha256, width, height, *texts = values
    numbers = isinstance(width, int) and isinstance(height, int)
    return numbers and all(isinstance(text, str) for text in (sha256, *texts))


def _remember(database: sqlite3.Connection, new: dict[Stamp, Fingerprint]) -> None:
    marks = ", ".join("?" * (3 + len(fields(Fingerprint))))
    # what cannot be read today may be tomorrow, with another permission or decoder, and looks unchanged then
    rows = [(*stamp, *astuple(value)) for stamp, value in new.items() if not value.error]
    with database:
        database.executemany(f"INSERT OR REPLACE INTO fingerprint2 VALUES ({marks})", rows)  # noqa: S608


PROGRESS_DELAY = 5
"""Seconds before a bar is shown."""


def validate_unchanged_images(root: Path, paths: Sequence[str], prints: Path) -> None:
    """Refuse images that are not there any more, or are other files than those that a run had.

    Args:
        root: folder that the paths are below.
        paths: of the run's images.
        prints: what ``medclf.data.training_overlap.save_fingerprints`` wrote of the run.

    Raises:
        DataError: with how many there are, and some of them.
    """
    if not prints.is_file():
        raise DataError(f"{prints}: is not there, so nobody can tell whether the images are still those of the run")
    known = read_frame(prints, ["path", "sha256"]).groupby("path")["sha256"].agg(set).to_dict()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(lambda path: _sha256(root, path), paths)
        now = list(tqdm(hashes, "Checking images", len(paths), leave=False, delay=PROGRESS_DELAY))
    _refuse([path for path, sha in zip(paths, now, strict=True) if sha is None], len(paths), root, "are not there")
    changed = [path for path, sha in zip(paths, now, strict=True) if known.get(path) != {sha}]
    _refuse(changed, len(paths), root, "are other files than those that the run had")


def _refuse(wrong: list[str], count: int, root: Path, how: str) -> None:
    if wrong:
        raise DataError(
            f"{root}: {len(wrong)} of the {count} images to be predicted again {how}: {format_list(wrong, 3)}"
        )


def _sha256(root: Path, path: str) -> str | None:
    try:
        with decoding_memory():
            return hashlib.sha256(read_bytes(root, path, HIGHEST_MAX_MEGAPIXELS)).hexdigest()
    except UnreadableImageError:
        return None
