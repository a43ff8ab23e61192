"""From images to the rows of a table: a prediction from its model to its summary."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medclf.data.decoding_budget import decoding
from medclf.inference.file_stamps import Stamps, stamp
from medclf.inference.inputs import Images
from medclf.inference.loading import Model, load_model
from medclf.inference.metadata import Facts
from medclf.inference.output import Output, Settings
from medclf.inference.predictor import Engine, Found, Seen
from medclf.inference.rows import UNLIKE, UNREADABLE, Row, Rows, header_of
from medclf.inference.stream import Part, predict_stream
from medclf.utils.memory import keep_freed_memory
from medclf.utils.terminal import say

if TYPE_CHECKING:
    from medclf.predict import PredictConfig


def predict_all(
    config: "PredictConfig", path: Path, facts: Facts, images: Images, output: Output, settings: Settings
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
    engine = Engine(model, config.accelerator, config.precision, config.tta, config.max_megapixels)
    work = Work(engine, images)
    if config.grad_cam:
        from medclf.inference.overlays import refuse_without_maps  # Matplotlib, Captum

        refuse_without_maps(engine.model)
    header = header_of(facts.classes, engine.model.novelty is not None)
    settings = settings | {"device": engine.device.type, "precision": engine.precision}
    with output.at_work(settings, _about(path, facts), header, images) as rows:
        pace = work.fill(rows, output.stamps, config.batch_size, output.overlays if config.grad_cam else None)
        if config.sheet:
            from medclf.inference.contact_sheet import draw_sheet  # Matplotlib

            draw_sheet(rows.path, config.sheet, work.see, output.folder)
    say(f"{_summary(rows, facts.classes)}{_skipped(images)}{pace}\nWritten to {output.table.as_posix()}\n")


@dataclass(frozen=True)
class Work:
    """A model and the images that it is to predict; ``seen_as`` holds the stamps of those that were just read."""

    engine: Engine
    images: Images
    seen_as: dict[int, str] = field(default_factory=dict)

    def see(self, row: int) -> Seen:
        """What the model sees of an image. Raises UnreadableImageError."""
        if row not in self.seen_as:  # before it is read, so that a file that replaces it has another stamp
            self.seen_as[row] = stamp(self.images, row)
        with decoding():
            return self.engine.see(self.images.root, self.images.paths[row], self.images.content(row))

    def fill(self, rows: Rows, stamps: Stamps, batch_size: int, overlays: Path | None) -> str:
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
            found = self._rows(part)
            stamps.add([self.seen_as.pop(row) for row in sorted(found)])
            rows.add([[self.images.shown(row), *found[row]] for row in sorted(found)])
        count, taken = len(rows) - before, time.perf_counter() - begin
        return f"{count} images in {taken:.1f} s, {count / taken:.1f} a second"

    def _show(self, part: Part, overlays: Path) -> None:
        from medclf.inference.overlays import save_overlay

        if part.found is not None:
            for row, predicted in zip(part.rows, part.found.predicted.tolist(), strict=True):
                save_overlay(self.engine.model, self.see(row), predicted, overlays, row, self.images.shown(row))

    def _rows(self, part: Part) -> dict[int, Row]:
        model = self.engine.model
        rows = {row: _unreadable(model, reason) for row, reason in part.unreadable.items()}
        if part.found is not None:
            rows |= {row: _row(model, part.found, at) for at, row in enumerate(part.rows)}
        return rows


def _skipped(images: Images) -> str:
    return "".join(f"skipped: {path} is {kind}, not a file\n" for path, kind in images.skipped.items())


def _row(model: Model, found: Found, at: int) -> Row:
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


def _about(path: Path, facts: Facts) -> dict[str, Any]:
    return {
        "model": str(path.absolute()),
        "classes": facts.classes,
        "operating_point": facts.operating_point.model_dump(),
        "temperature": facts.temperature,
    }


def _summary(rows: Rows, classes: Sequence[str]) -> str:
    """How many images there are of each predicted class, and of each flag."""
    lines = [(f"predicted {name}", rows.classes[name]) for name in classes]
    lines += [(flag, rows.flags[flag]) for flag in (UNREADABLE, UNLIKE) if rows.flags[flag]]
    width = max(len(words) for words, _ in lines)
    return "".join(f"{words:<{width}}  {count}\n" for words, count in lines)
