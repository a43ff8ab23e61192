"""The images that an exported file is verified on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medclf.config.schema import ImageSpecConfig
from medclf.data.image_formats import SUFFIXES
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.data.sources.folders import image_paths
from medclf.evaluation.predictions_io import load_predictions
from medclf.inference.batch_predict import max_batch_size
from medclf.inference.predictor import NetworkInputs, Predictor
from medclf.inference.training_run_images import find_run_images
from medclf.utils.errors import ConfigError, MedclfError
from medclf.utils.json_yaml import read_yaml
from medclf.utils.run_folder import Run

MOST = 32
NOISE = "pictures of noise"


@dataclass(frozen=True)
class Samples:
    """Images as the model sees them, and in words where they are from."""

    seen: list[NetworkInputs]
    source: str


def collect_samples(engine: Predictor, folder: str | None) -> Samples:
    """Return at most 32 images: of a folder, else of the run's validation and test, else noise if these are gone.

    Raises:
        ConfigError: for a folder in which none can be read.
    """
    if folder is not None:
        seen = _seen(engine, Path(folder), list_images(folder))
        if not seen:
            raise ConfigError(f"images={folder}: none of its images can be read")
        return Samples(seen, f"images of {folder}")
    seen = _of_run(engine, Run(engine.model.path.parent.parent))
    if seen:
        return Samples(seen, "validation and test images of the run")
    return Samples(_noise(engine), NOISE)


def _of_run(engine: Predictor, run: Run) -> list[NetworkInputs]:
    if not run.config.is_file() or not run.predictions.is_file():
        return []
    try:
        config = read_yaml(run.config)
        table = load_predictions(run.predictions)
        return _seen(engine, find_run_images(config)[1], table.loc[table["split"] != "train", "path"])
    except (MedclfError, KeyError, ValueError):  # a run of another kind or of an older medclf
        return []


def _seen(engine: Predictor, root: Path, paths: Iterable[str]) -> list[NetworkInputs]:
    """Those that can be read of some, spread evenly over all."""
    every = list(paths)
    seen = []
    for at in np.linspace(0, len(every) - 1, min(len(every), _most(engine))).round().astype(int):
        try:
            seen.append(engine.see(root, every[at]))
        except UnreadableImageError:
            continue
    return seen


def _noise(engine: Predictor) -> list[NetworkInputs]:
    """Of every brightness and contrast."""
    rng = np.random.default_rng(0)

    def picture(form: ImageSpecConfig) -> NDArray[np.uint8]:
        shape = (form.channels, form.image_size, form.image_size)
        return rng.normal(rng.uniform(0, 255), rng.uniform(5, 80), shape).clip(0, 255).astype(np.uint8)

    return [tuple(picture(form) for form in engine.model.forms) for _ in range(_most(engine))]


def _most(engine: Predictor) -> int:
    return min(MOST, max_batch_size(engine))


def list_images(folder: str) -> list[str]:
    """Return the images in and below a folder, sorted, by their relative paths.

    Raises:
        ConfigError: when there is none.
        DataError: for a folder that cannot be read.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"images={folder}: there is no such folder")
    found = sorted(str(path) for path in image_paths(root))
    if not found:
        raise ConfigError(f"images={folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found
