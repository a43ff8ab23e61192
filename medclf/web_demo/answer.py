"""What the page answers for one file."""

import base64
import io
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclf.inference.loading import load_model
from medclf.inference.overlay import overlay
from medclf.inference.predictor import Engine
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS
from medclf.web_demo.file_kind import name_for
from medclf.web_demo.sentences import likeness, percent, threshold_of, why


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


def warmed_up(path: Path, accelerator: str, trust_code: bool, max_megapixels: float = DEFAULT_MAX_MEGAPIXELS) -> Engine:
    """A model that has answered once, so that the first image takes no longer than the next.

    Args:
        path: of its ``best.json``.
        accelerator: auto, cpu, gpu or mps.
        trust_code: whether a network of the user's own code may be run.
        max_megapixels: an image of more millions of pixels is refused.

    Raises:
        DataError, ConfigError: as ``load_model`` and ``Engine`` do.
    """
    engine = Engine(load_model(path, trust_code), accelerator, max_megapixels=max_megapixels)
    answer(engine, base64.b64decode(_png(np.zeros((64, 64, 1), np.uint8))))
    return engine


def answer(engine: Engine, content: bytes) -> Answer:
    """Answer for a file.

    Args:
        engine: of the model.
        content: the file's bytes.

    Raises:
        UnreadableImageError: for what is no image of a kind that is taken.
    """
    begun = time.perf_counter()
    model = engine.model
    seen = engine.see(Path(), name_for(content), content)
    found = engine.predict([seen])
    predicted = int(found.predicted[0])
    picture = overlay(model, seen, predicted)
    threshold = threshold_of(model)
    bars = [
        Bar(
            name,
            float(value),
            percent(float(value)),
            None if name == model.facts.gate else threshold,
            place == predicted,
        )
        for place, (name, value) in enumerate(zip(model.classes, found.probabilities[0], strict=True))
    ]
    return Answer(
        decided=model.classes[predicted],
        why=why(model, found),
        bars=bars,
        unlike=None if model.novelty is None else bool(found.unlike[0]),
        likeness=likeness(model, found),
        seen=_png(seen[0].transpose(1, 2, 0)),
        overlay=None if picture is None else _png(picture),
        seconds=time.perf_counter() - begun,
    )


def _png(pixels: NDArray[np.uint8]) -> str:
    """Of shape (height, width, 1 or 3)."""
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, "PNG", compress_level=1)
    return base64.b64encode(stream.getvalue()).decode()
