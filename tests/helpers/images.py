"""Small generated images in class folders."""

from pathlib import Path

import numpy as np
from PIL import Image

from medclf.config.composition import Composer
from medclf.config.schema import DatasetConfig, TrainConfig, validate_config


def write_image(path: Path, value: int = 0, mode: str = "L", size: tuple[int, int] = (40, 30)) -> None:
    """A noisy image whose brightness is about ``value``; the noise depends on the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([value, *path.name.encode()])
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    pixels = np.clip(value + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
    Image.fromarray(pixels, mode).save(path)


def write_classes(root: Path, classes: dict[str, int], pattern: str = "image ({index}).png") -> None:
    """So many images of each class folder; classes differ in brightness."""
    for position, (name, count) in enumerate(classes.items()):
        for index in range(1, count + 1):
            write_image(root / name / pattern.format(index=index), 60 + 50 * position)


def dataset(root: Path, *overrides: str, name: str = "folder") -> DatasetConfig:
    """The config of a dataset at a root; what is remembered of its images lies beside the root."""
    store = root.parent / "store"
    words = [f"dataset={name}", f"dataset.root='{root}'", f"dataset.store='{store}'", *overrides]
    return validate_config(Composer("train").compose(words), TrainConfig).dataset
