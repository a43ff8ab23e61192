"""What a prediction leaves in its folder, and how it goes on where it broke off. Imports no torch."""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from medclf.inference.inputs import InputImages
from medclf.inference.resume_stamps import FileStamps
from medclf.utils.atomic_write import remove_leftovers
from medclf.utils.errors import ConfigError
from medclf.utils.file_digests import file_digest
from medclf.utils.json_yaml import read_json, write_json
from medclf.utils.run_folder import is_used, package_versions, utc_now
from medclf.utils.safe_terminal import INTERRUPTED
from medclf.utils.write_errors import suggest_remedy, write_failure

if TYPE_CHECKING:
    from medclf.config.command_schemas import PredictConfig
import csv
import os
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from types import TracebackType

UNREADABLE = "unreadable"
UNLIKE = "unlike training"
Row = list[str | float]


class PredictionRows:
    """A table that grows, each row of it an image, and all rows whole.

    What stands in its file is kept, but for a last row that was not written to its end. ``classes`` counts the images
    by predicted class, ``flags`` by flag.

    Args:
        path: of the file.
        header: names of the columns; the first one is the path, the second the predicted class, the last but one the
            flag.
        paths: of every image, in order.
        most: rows that may be kept at most, the header not counted; None: all.
    """

    def __init__(self, path: Path, header: Sequence[str], paths: Sequence[str], most: int | None = None) -> None:
        self.path = path
        self.classes: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()
        self._count = -1  # of the header
        end = 0
        for row, place in islice(_whole(path, header, paths), None if most is None else most + 1):
            self._note([*row])
            end = place
        if path.is_file():
            os.truncate(path, end)
        self._file = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if not end:
            self.add([[*header]])

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> "PredictionRows":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows, so that they outlive this process."""
        self._writer.writerows(rows)
        self._file.flush()
        for row in rows:
            self._note(row)

    def settle(self) -> None:
        """See that all rows are on the disk."""
        os.fsync(self._file.fileno())

    def _note(self, row: Row) -> None:
        self._count += 1
        if self._count > 0:
            self.classes.update([str(row[1])] if row[1] else [])
            self.flags.update([str(row[-2])] if row[-2] else [])


def build_header(classes: Sequence[str], with_distance: bool) -> list[str]:
    """Return the columns of a predictions table; with ``distance`` if the model has an OOD score."""
    distance = ["distance"] if with_distance else []
    return ["path", "predicted_class", *(f"prob_{name}" for name in classes), *distance, "flag", "reason"]


def _whole(path: Path, header: Sequence[str], paths: Sequence[str]) -> Iterator[tuple[list[str], int]]:
    """The rows that stand whole in a file, header first, and where each ends."""
    if not path.is_file():
        return
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line.decode()

    with path.open("rb") as file:
        try:
            for row, expected in zip(csv.reader(lines()), [header[0], *paths], strict=False):
                if len(row) != len(header) or row[0] != expected:
                    return
                yield row, end
        except (csv.Error, UnicodeDecodeError):  # what a machine that lost its power left
            return


log = logging.getLogger(__name__)
PACKAGES = ("medclf", "torch", "torchvision", "numpy", "pillow")
Settings = dict[str, Any]
"""What must be the same where a prediction goes on."""


class PredictionFolder:
    """The folder of a prediction.

    ``table`` is there once all images are predicted, until then ``partial``. ``record`` says what was predicted with
    what, and whether that is done.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "predictions.csv"
        self.partial = folder / "predictions.partial.csv"
        self.stamps = FileStamps(folder / "predictions.partial.stamps")
        self.record = folder / "prediction.json"
        self.overlays = folder / "overlays"

    def refuse_other(self, settings: Settings) -> None:
        """Refuse a folder that is used, but for a prediction with these settings that broke off.

        Args:
            settings: those known by now.

        Raises:
            ConfigError: saying what is there, or which setting is another one.
        """
        if not self._is_used():
            return
        if not self.record.is_file():
            raise ConfigError(
                f"output={self.folder}: already holds something, and nothing is overwritten; name another"
            )
        record = read_json(self.record)
        if record.get("status") == "finished":
            raise ConfigError(f"output={self.folder}: holds a prediction that is finished; name another folder")
        before = record.get("settings", {})
        other = [key for key in settings if before.get(key) != settings[key]]
        if other:
            told = "; ".join(f"{key} was {before.get(key)}, and is {settings[key]}" for key in other)
            raise ConfigError(f"output={self.folder}: the prediction there was begun otherwise: {told}; name another")

    @contextmanager
    def at_work(
        self, settings: Settings, about: dict[str, Any], header: list[str], images: InputImages
    ) -> Iterator[PredictionRows]:
        """Hold the folder while rows are written, and record how that ends.

        Args:
            settings: all of them.
            about: what else the record is to tell.
            header: names of the columns.
            images: of which every row tells.

        Yields:
            The rows, with those of before.

        Raises:
            ConfigError: for a folder that cannot be written to, and one in which another process is at work.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._held():
                self.refuse_other(settings)
                remove_leftovers(self.folder)
                self._note(_beginning() | about | {"settings": settings})
                yield from self._writing(header, images)
        except OSError as error:
            raise ConfigError(
                f"output={self.folder}: cannot be written: {write_failure(error)}; "
                f"{suggest_remedy(error)}, then rerun the same command to resume"
            ) from error

    def _writing(self, header: list[str], images: InputImages) -> Iterator[PredictionRows]:
        paths = [images.shown(row) for row in range(len(images))]
        with PredictionRows(self._begun(), header, paths, self._unchanged(images)) as rows:
            self.stamps.keep(len(rows))
            try:
                yield rows
            except KeyboardInterrupt:
                self._note({"status": "interrupted", "ended": utc_now()})
                told = f"interrupted after {len(rows)} of {len(paths)} images; to go on: {self._again()}"
                sys.stderr.write(f"\n{told}\n")
                sys.exit(INTERRUPTED)
            rows.settle()
        if self.partial.is_file():
            self.partial.replace(self.table)
        self.stamps.remove()
        counts = {"images": len(rows), "classes": dict(rows.classes), "flags": dict(rows.flags)}
        self._note({"status": "finished", "ended": utc_now(), "counts": counts})

    def _begun(self) -> Path:
        return self.table if self.table.is_file() else self.partial

    def _unchanged(self, images: InputImages) -> int:
        """Return how many rows are of images that are still the same files; the first other one is named."""
        count = self.stamps.unchanged(images)
        if count < self.stamps.count():
            log.warning("%s has changed since: predicting it and the images after it again.", images.shown(count))
        return count

    def _again(self) -> str:
        words = [word for word in sys.argv[1:] if not word.startswith("output=")]
        return shlex.join(["python", "-m", "medclf.predict", *words, f"output={self.folder}"])

    def _is_used(self) -> bool:
        """Whether the folder holds more than what a prediction leaves that was killed as it began."""
        if not self.folder.is_dir():
            return is_used(self.folder)
        return any(
            path.name != ".lock" and not path.name.startswith(".prediction.json-") for path in self.folder.iterdir()
        )

    @contextmanager
    def _held(self) -> Iterator[None]:
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ConfigError(f"output={self.folder}: another process is at work there; wait for it") from error
        try:
            yield
        finally:
            lock.release()

    def _note(self, facts: dict[str, Any]) -> None:
        before = read_json(self.record) if self.record.is_file() else {}
        write_json(self.record, {**before, **facts})


def build_settings(config: "PredictConfig", path: Path, images: InputImages) -> Settings:
    """Return the facts on which the numbers of a prediction depend, known before the model is loaded.

    Args:
        config: as it was typed.
        path: the model's ``best.json``.
        images: found by ``input``.
    """
    return {
        "best_json_sha256": file_digest(path),
        "input": str(Path(config.input).absolute()),
        "images": len(images),
        "paths_sha256": images.digest(),
        **config.model_dump(include={"tta", "sheet", "grad_cam", "max_megapixels"}),
    }


def _beginning() -> dict[str, Any]:
    return {
        "status": "running",
        "started": utc_now(),
        "ended": None,
        "command": sys.argv[1:],
        "versions": package_versions(PACKAGES),
    }
