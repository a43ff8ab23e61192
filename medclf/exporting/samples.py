"""The images that an exported file is verified on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.config.schema import Form
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.evaluation.predictions_io import load_predictions
from medclf.exporting.folder import images_below
from medclf.inference.predictor import Engine, Seen
from medclf.inference.run_images import own_images
from medclf.inference.stream import most_at_once
from medclf.utils.errors import ConfigError, MedclfError
from medclf.utils.plain_data import read_yaml
from medclf.utils.run_dir import Run

MOST = 32
NOISE = "pictures of noise"


@dataclass(frozen=True)
class Samples:
    """Images as the model sees them, and in words where they are from."""

    seen: list[Seen]
    source: str


def samples_of(engine: Engine, folder: str | None) -> Samples:
    """At most 32 images: of a folder, else of the run's validation and test, else noise where these have gone.

    Raises:
        ConfigError: for a folder in which none can be read.
    """
    if folder is not None:
        seen = _seen(engine, Path(folder), images_below(folder))
        if not seen:
            raise ConfigError(f"images={folder}: none of its images can be read")
        return Samples(seen, f"images of {folder}")
    seen = _of_run(engine, Run(engine.model.path.parent.parent))
    if seen:
        return Samples(seen, "validation and test images of the run")
    return Samples(_noise(engine), NOISE)


def _of_run(engine: Engine, run: Run) -> list[Seen]:
    if not run.config.is_file() or not run.predictions.is_file():
        return []
    try:
        config = read_yaml(run.config)
        table = load_predictions(run.predictions)
        return _seen(engine, own_images(config)[1], table.loc[table["split"] != "train", "path"])
    except (MedclfError, KeyError, ValueError):  # a run of another kind or of an older medclf
        return []


def _seen(engine: Engine, root: Path, paths: Iterable[str]) -> list[Seen]:
    """Those that can be read of some, spread evenly over all."""
    every = list(paths)
    seen = []
    for at in np.linspace(0, len(every) - 1, min(len(every), _most(engine))).round().astype(int):
        try:
            seen.append(engine.see(root, every[at]))
        except UnreadableImageError:
            continue
    return seen


def _noise(engine: Engine) -> list[Seen]:
    """Of every brightness and contrast."""
    rng = np.random.default_rng(0)

    def picture(form: Form) -> NDArray[np.uint8]:
        shape = (form.channels, form.image_size, form.image_size)
        return rng.normal(rng.uniform(0, 255), rng.uniform(5, 80), shape).clip(0, 255).astype(np.uint8)

    return [tuple(picture(form) for form in engine.model.forms) for _ in range(_most(engine))]


def _most(engine: Engine) -> int:
    return min(MOST, most_at_once(engine))
