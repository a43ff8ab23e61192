"""From images to the rows of a table: a prediction from its model to its summary."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from medclf.config.command_schemas import EvaluateConfig
from medclf.data.decoding_budget import decoding_memory
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.inputs import InputImages
from medclf.inference.loading import Model, load_model
from medclf.inference.model_metadata import ModelMetadata
from medclf.inference.output import UNLIKE, UNREADABLE, PredictionFolder, PredictionRows, Row, Settings, build_header
from medclf.inference.predictor import NetworkInputs, PredictedBatch, Predictor
from medclf.inference.resume_stamps import FileStamps, stamp_file
from medclf.utils.errors import DataError
from medclf.utils.file_limits import HIGHEST_MAX_MEGAPIXELS
from medclf.utils.process_lifecycle import keep_freed_memory
from medclf.utils.run_folder import Run
from medclf.utils.safe_terminal import print_message

if TYPE_CHECKING:
    from medclf.config.command_schemas import PredictConfig

BATCH = 32
AHEAD = 2
"""Batches that are decoded while the network is at work."""
BATCH_PIXELS = 2**25
"""Pixels of one batch, whatever batch size is typed: 668 images of 224 x 224, two of 4096 x 4096."""


@dataclass(frozen=True)
class BatchResult:
    """Some of the images: the rows that were predicted, what was found of them (None: none was readable), and why the
    others could not be read, by row."""

    rows: list[int]
    found: PredictedBatch | None
    unreadable: dict[int, str]


def predict_stream(
    engine: Predictor,
    see: Callable[[int], NetworkInputs],
    count: int,
    batch: int = BATCH,
    progress: bool = True,
    begin: int = 0,
) -> Iterator[BatchResult]:
    """Predict images in order, a batch at a time.

    Args:
        engine: predicts.
        see: gives what the model sees of a row, by ``engine.see``, in a thread of its own; raises UnreadableImageError
            with the reason.
        count: how many images there are.
        batch: images at once; fewer where they have more than ``BATCH_PIXELS`` together.
        progress: whether to show a bar.
        begin: rows before this one are passed over.

    Yields:
        Each batch once it is predicted. Whoever stops asking stops the work.
    """

    def look(row: int) -> NetworkInputs | str:
        try:
            return see(row)
        except UnreadableImageError as error:
            return str(error)

    batch = min(batch, max_batch_size(engine))
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        with tqdm(total=count, initial=begin, desc="Predicting", leave=False, disable=not progress) as bar:
            for rows, looks in _ahead(pool, look, range(begin, count), batch):
                seen = [one.result() for one in looks]
                yield _predicted(engine, dict(zip(rows, seen, strict=True)))
                bar.update(len(rows))
    finally:
        pool.shutdown(cancel_futures=True)


def max_batch_size(engine: Predictor) -> int:
    """Return how many images a batch may have, so that a model of large images does not exhaust memory."""
    return max(1, BATCH_PIXELS // max(form.image_size**2 for form in engine.model.forms))


def _ahead(
    pool: ThreadPoolExecutor, look: Callable[[int], NetworkInputs | str], images: range, batch: int
) -> Iterator[tuple[range, list[Future[NetworkInputs | str]]]]:
    waiting: deque[tuple[range, list[Future[NetworkInputs | str]]]] = deque()
    for at in range(0, len(images), batch):
        rows = images[at : at + batch]
        waiting.append((rows, [pool.submit(look, row) for row in rows]))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


def _predicted(engine: Predictor, seen: dict[int, NetworkInputs | str]) -> BatchResult:
    unreadable = {row: reason for row, reason in seen.items() if isinstance(reason, str)}
    images = {row: image for row, image in seen.items() if not isinstance(image, str)}
    return BatchResult(list(images), engine.predict(list(images.values())) if images else None, unreadable)


def predict_to_folder(
    config: "PredictConfig",
    path: Path,
    facts: ModelMetadata,
    images: InputImages,
    output: PredictionFolder,
    settings: Settings,
) -> None:
    """Predict all images, or those that an earlier call has left.

    Args:
        config: as it was typed.
        path: the model's ``best.json``.
        facts: what that says.
        images: at least one.
        output: where to write.
        settings: known by now.

    Raises:
        ConfigError: for a device that is not there, a network without feature maps where those are to be shown, and a
            folder that cannot be written to.
        DataError: for a damaged model.
    """
    keep_freed_memory()
    model = load_model(path, config.trust_code)
    engine = Predictor(model, config.accelerator, config.precision, config.tta, config.max_megapixels)
    work = BatchPrediction(engine, images)
    if config.grad_cam:
        from medclf.inference.grad_cam import validate_has_maps  # Matplotlib, Captum

        validate_has_maps(engine.model)
    header = build_header(facts.classes, engine.model.novelty is not None)
    settings = settings | {"device": engine.device.type, "precision": engine.precision}
    with output.at_work(settings, _about(path, facts), header, images) as rows:
        pace = work.fill(rows, output.stamps, config.batch_size, output.overlays if config.grad_cam else None)
        if config.sheet:
            from medclf.inference.contact_sheet import draw_contact_sheet  # Matplotlib

            draw_contact_sheet(rows.path, config.sheet, work.see, output.folder)
    print_message(f"{_summary(rows, facts.classes)}{_skipped(images)}{pace}\nWritten to {output.table.as_posix()}\n")


@dataclass(frozen=True)
class BatchPrediction:
    """A model and the images that it is to predict; ``seen_as`` holds the stamps of those that were just read."""

    engine: Predictor
    images: InputImages
    seen_as: dict[int, str] = field(default_factory=dict)

    def see(self, row: int) -> NetworkInputs:
        """Return the network inputs of an image. Raises UnreadableImageError."""
        if row not in self.seen_as:  # before it is read, so that a file that replaces it has another stamp
            self.seen_as[row] = stamp_file(self.images, row)
        with decoding_memory():
            return self.engine.see(self.images.root, self.images.paths[row], self.images.content(row))

    def fill(self, rows: PredictionRows, stamps: FileStamps, batch_size: int, overlays: Path | None) -> str:
        """Predict the images that have no row, a batch at a time, and say how fast that was.

        Args:
            rows: get them.
            stamps: get size and time of each image, by which one that is replaced later is noticed.
            batch_size: images at once.
            overlays: folder for a picture of each readable image; None: none is drawn.
        """
        before, begin = len(rows), time.perf_counter()
        for part in predict_stream(self.engine, self.see, len(self.images), batch_size, begin=before):
            if overlays is not None:
                self._show(part, overlays)
            found = build_rows(self.engine.model, part)
            stamps.add([self.seen_as.pop(row) for row in sorted(found)])
            rows.add([[self.images.shown(row), *found[row]] for row in sorted(found)])
        count, taken = len(rows) - before, time.perf_counter() - begin
        return f"{count} images in {taken:.1f} s, {count / taken:.1f} a second"

    def _show(self, part: BatchResult, overlays: Path) -> None:
        from medclf.inference.grad_cam import save_overlay

        if part.found is not None:
            for row, predicted in zip(part.rows, part.found.predicted.tolist(), strict=True):
                save_overlay(self.engine.model, self.see(row), predicted, overlays, row, self.images.shown(row))


def build_rows(model: Model, part: BatchResult) -> dict[int, Row]:
    """Return the row of each image of a batch, from its predicted class on; one that cannot be read has a reason."""
    rows = {row: _unreadable(model, reason) for row, reason in part.unreadable.items()}
    if part.found is not None:
        rows |= {row: _row(model, part.found, at) for at, row in enumerate(part.rows)}
    return rows


def _skipped(images: InputImages) -> str:
    return "".join(f"skipped: {path} is {kind}, not a file\n" for path, kind in images.skipped.items())


def _row(model: Model, found: PredictedBatch, at: int) -> Row:
    """What is said of an image, from its predicted class on."""
    probabilities, distance = found.probabilities[at].tolist(), float(found.distance[at])
    if not np.isfinite(probabilities).all():
        return _unreadable(model, "the network gives no number for it; in float16 it may with precision=32-true")
    flag, reason = "", ""
    if model.novelty is not None and found.unlike[at]:
        known = model.novelty
        flag = UNLIKE
        reason = (
            f"further from the training images than {known.threshold:.4g}, as {known.false_alarms} of "
            f"{known.validation} validation images were"
        )
    return [model.classes[found.predicted[at]], *probabilities, *_where(model, distance), flag, reason]


def _unreadable(model: Model, reason: str) -> Row:
    return ["", *[""] * len(model.classes), *_where(model, ""), UNREADABLE, " ".join(reason.split())]


def _where(model: Model, distance: str | float) -> Row:
    """The column of the distance, where the model can tell it."""
    return [] if model.novelty is None else [distance]


def _about(path: Path, facts: ModelMetadata) -> dict[str, Any]:
    return {
        "model": str(path.absolute()),
        "classes": facts.classes,
        "operating_point": facts.operating_point.model_dump(),
        "temperature": facts.temperature,
    }


def _summary(rows: PredictionRows, classes: Sequence[str]) -> str:
    """How many images there are of each predicted class, and of each flag."""
    lines = [(f"predicted {name}", rows.classes[name]) for name in classes]
    lines += [(flag, rows.flags[flag]) for flag in (UNREADABLE, UNLIKE) if rows.flags[flag]]
    width = max(len(words) for words, _ in lines)
    return "".join(f"{words:<{width}}  {count}\n" for words, count in lines)


def build_predictor(run: Run, config: EvaluateConfig) -> Predictor:
    """Return a run's model on the device and in the precision of the configuration.

    Raises:
        DataError, ConfigError: for a model that cannot be read, or is of code that is not trusted; a device that is not
            there.
    """
    keep_freed_memory()
    model = load_model(run.best_facts, config.trust_code)
    # a run's own images are known to be those that it accepted
    most = HIGHEST_MAX_MEGAPIXELS if config.dataset is None else config.dataset.max_megapixels
    return Predictor(model, config.accelerator, config.precision, config.tta, most)


def predict_probabilities(engine: Predictor, root: Path, paths: Sequence[str]) -> NDArray[np.float64]:
    """Return the network's uncalibrated probabilities, shape (images, classes).

    Args:
        engine: predicts.
        root: folder that the paths are below.
        paths: of the images.

    Raises:
        DataError: for an image that cannot be read.
    """
    found = []
    for part in predict_stream(engine, lambda row: engine.see(root, paths[row]), len(paths)):
        for row, reason in part.unreadable.items():
            raise DataError(f"{root / paths[row]}: cannot be read: {reason}")
        found += [] if part.found is None else [part.found.uncalibrated]
    return np.concatenate(found)
