"""What the page answers for one file."""

import base64
import io
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclf.data.header_validation import detect_format
from medclf.data.image_formats import FORMATS, has_dicom
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.grad_cam import overlay_grad_cam
from medclf.inference.loading import Model, load_model
from medclf.inference.ood import OODDetector
from medclf.inference.predictor import PredictedBatch, Predictor
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS


@dataclass(frozen=True)
class Bar:
    """A class and its calibrated probability, which ``said`` tells in words.

    ``threshold`` is None where it has none of its own.
    """

    name: str
    probability: float
    said: str
    threshold: float | None
    decided: bool


@dataclass(frozen=True)
class Answer:
    """What a model says of an image.

    ``unlike`` is None where the model cannot tell. ``seen`` is the image as the network saw it, ``overlay`` the same
    under its Grad-CAM, None where there is none; both are PNG files in base64. ``seconds`` is how long it took.
    """

    decided: str
    why: str
    bars: list[Bar]
    unlike: bool | None
    likeness: str
    seen: str
    overlay: str | None
    seconds: float


def load_warm_predictor(
    path: Path, accelerator: str, trust_code: bool, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
) -> Predictor:
    """Return a predictor that has answered once, so that the first image takes no longer than the next.

    Args:
        path: of its ``best.json``.
        accelerator: auto, cpu, gpu or mps.
        trust_code: whether a network of the user's own code may be run.
        max_megapixels: an image of more millions of pixels is refused.

    Raises:
        DataError, ConfigError: as ``load_model`` and ``Predictor`` do.
    """
    engine = Predictor(load_model(path, trust_code), accelerator, max_megapixels=max_megapixels)
    answer_image(engine, base64.b64decode(_png(np.zeros((64, 64, 1), np.uint8))))
    return engine


def answer_image(engine: Predictor, content: bytes) -> Answer:
    """Answer for a file.

    Args:
        engine: of the model.
        content: the file's bytes.

    Raises:
        UnreadableImageError: for what is no image of a kind that is taken.
    """
    begun = time.perf_counter()
    model = engine.model
    seen = engine.see(Path(), guess_file_name(content), content)
    found = engine.predict([seen])
    predicted = int(found.predicted[0])
    picture = overlay_grad_cam(model, seen, predicted)
    threshold = format_threshold(model)
    bars = [
        Bar(
            name,
            float(value),
            format_percent(float(value)),
            None if name == model.facts.gate else threshold,
            place == predicted,
        )
        for place, (name, value) in enumerate(zip(model.classes, found.probabilities[0], strict=True))
    ]
    return Answer(
        decided=model.classes[predicted],
        why=explain_decision(model, found),
        bars=bars,
        unlike=None if model.novelty is None else bool(found.unlike[0]),
        likeness=describe_ood(model, found),
        seen=_png(seen[0].transpose(1, 2, 0)),
        overlay=None if picture is None else _png(picture),
        seconds=time.perf_counter() - begun,
    )


def _png(pixels: NDArray[np.uint8]) -> str:
    """Of shape (height, width, 1 or 3)."""
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, "PNG", compress_level=1)
    return base64.b64encode(stream.getvalue()).decode()


def format_percent(share: float) -> str:
    """Return a share from 0 to 1 as a percentage; an uncertain one is never 0 or 100 %."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def format_threshold(model: Model) -> float | None:
    """Return the positive class's threshold on the calibrated probability, of two classes, or None.

    It parts the same images as that of the network's own probability does, since with two classes the temperature
    changes no order.
    """
    threshold = model.facts.operating_point.threshold
    if threshold is None or len(model.classes) != 2 or model.facts.gate is None:
        return None
    if not 0 < threshold < 1:
        return threshold
    return 1 / (1 + math.exp(-math.log(threshold / (1 - threshold)) / model.facts.temperature))


def explain_decision(model: Model, found: PredictedBatch) -> str:
    """Return how the class of the first image was decided."""
    gate, threshold = model.facts.gate, model.facts.operating_point.threshold
    if threshold is None or gate is None:
        return "The most probable class is decided for; this model has no threshold."
    place = model.classes.index(gate)
    reached = "below" if found.predicted[0] == place else "at or above"
    calibrated = format_threshold(model)
    if calibrated is None:
        together = 1 - float(found.uncalibrated[0, place])
        return (
            f"All classes but {gate} have together {format_percent(together)} before calibration, {reached} the "
            "threshold of "
            f"{format_percent(threshold)}."
        )
    other = 1 - place
    name, probability = model.classes[other], format_percent(float(found.probabilities[0, other]))
    return f"The probability of {name}, {probability}, is {reached} the threshold of {format_percent(calibrated)}."


def describe_ood(model: Model, found: PredictedBatch) -> str:
    """Return whether the first image is similar to the training images."""
    if model.novelty is None:
        return "This model cannot tell whether an image is like those that it was trained on."
    told = f"the distance is {found.distance[0]:.4g}, the limit {model.novelty.threshold:.4g}. {_alarms(model.novelty)}"
    if found.unlike[0]:
        return f"The image does not look like those that the model was trained on: {told}"
    return f"The image looks like those that the model was trained on: {told}"


def _alarms(novelty: OODDetector) -> str:
    """How often images of the right kind are called unlike."""
    splits = {
        "validation": (novelty.false_alarms, novelty.validation),
        "test": (novelty.test_alarms, novelty.test),
    }
    told = [f"{few} of {n} {split} images ({format_percent(few / n)})" for split, (few, n) in splits.items() if n]
    return f"False alarms: {', '.join(told) or 'not known'}."


SAID = "PNG, JPEG, BMP, TIFF, WebP or DICOM"


def guess_file_name(content: bytes) -> str:
    """Return a name by which ``medclf.data.image_io.decode_image`` reads these bytes.

    Raises:
        UnreadableImageError: for a kind of file that is not taken.
    """
    if has_dicom(content):
        return "image.dcm"
    if not content:
        raise UnreadableImageError("the file is empty")
    if detect_format(content) not in FORMATS:
        raise UnreadableImageError(f"not a file of a kind that is taken ({SAID})")
    return "image"
