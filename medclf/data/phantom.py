"""Synthetic B-mode ultrasound of the neck: an organ that is present or absent, made from a seed.

Speckle is fully developed (Rayleigh amplitude: Wagner et al., IEEE Trans. Sonics Ultrason. 1983), the image is
log-compressed as a scanner does it, and deeper is darker. The organ is an ellipse of homogeneous texture within a
bright capsule. Both classes hold vessels, fascia and a bone with its shadow; where the organ is absent there is a patch
of its brightness and area, but with a ragged edge and no capsule. Gain and contrast are drawn for each image, so that
brightness alone does not tell.
"""

import json
import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from medclf.config.schema import PhantomConfig
from medclf.utils.atomic_write import atomic_folder, remove_abandoned, write_text
from medclf.utils.errors import DataError
from medclf.utils.json_yaml import read_json
from medclf.utils.write_errors import format_unwritable

SETTINGS = "phantom.json"
CLASSES = ("organ_absent", "organ_present")
FloatImage = NDArray[np.float64]


def ensure_phantom(root: Path, config: PhantomConfig) -> bool:
    """Write the phantom as PNG files below root, unless it is there.

    The layout is ``{train,validation}/{organ_present,organ_absent}/NNNN.png``. The folder is
    written whole, so that neither an interruption nor a second process leaves half a set.

    Returns:
        Whether it was made now.

    Raises:
        DataError: when root holds something else, a damaged phantom or one made with other settings, or cannot be
            written.
    """
    if root.exists():
        _check_same(root, config)
        return False
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(root.parent, re.escape(root.name))
        with atomic_folder(root) as aside:
            _write(aside, config)
    except OSError as error:
        if not root.exists():
            raise DataError(format_unwritable("dataset.root", root, error)) from error
        _check_same(root, config)  # another process was first
    return True


def draw(present: bool, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return one image of shape (size, size), values 0 to 255, with or without the organ."""
    depth = np.linspace(0, 1, size)[:, None]
    echo = 0.25 + 0.08 * _smooth_noise(size, size / 10, rng)
    echo = echo + _fascia(size, rng)
    centre = rng.uniform((0.35, 0.3), (0.65, 0.7))
    axes = rng.uniform((0.14, 0.18), (0.2, 0.28))
    brightness = rng.uniform(0.5, 0.7)
    if present:
        distance = _ellipse(size, centre, axes, rng.uniform(-0.4, 0.4))
        echo = np.where(distance < 1, brightness, echo)
        echo = np.where(np.abs(distance - 1) < 0.07, 1.1, echo)
    else:
        ragged = _ellipse(size, centre, axes, rng.uniform(-0.4, 0.4)) + 0.45 * _smooth_noise(size, size / 14, rng)
        echo = echo + (brightness - echo) / (1 + np.exp((ragged - 1) * 8))
    for _ in range(rng.integers(1, 4)):
        vessel = _ellipse(size, rng.uniform(0.1, 0.9, 2), rng.uniform(0.03, 0.07, 2), 0.0)
        echo = np.where(vessel < 1, 0.03, echo)
    echo = _bone(echo, size, rng)
    attenuated = np.clip(echo, 0, None) * np.exp(-rng.uniform(0.6, 1.4) * depth)
    speckle = rng.rayleigh(1.0, (size, size))
    amplitude = gaussian_filter(attenuated * speckle, (0.5, 0.9))
    compressed = np.log1p(30 * amplitude)
    standard = (compressed - compressed.mean()) / compressed.std()
    pixels = rng.uniform(75, 125) + rng.uniform(35, 50) * standard
    return np.asarray(np.clip(np.rint(pixels), 0, 255), dtype=np.uint8)


def _check_same(root: Path, config: PhantomConfig) -> None:
    settings = root / SETTINGS
    if not settings.is_file():
        raise DataError(f"dataset.root={root}: holds something that is no phantom; set dataset.root to a new folder")
    remove = shlex.join(["rm", "-r", str(root)])
    try:
        made_with = read_json(settings)
    except DataError as error:
        raise DataError(f"dataset.root={root}: holds a damaged phantom ({error}); remove it: {remove}") from error
    if made_with != config.model_dump():
        raise DataError(
            f"dataset.root={root}: holds a phantom made with {made_with}, not with {config.model_dump()}; "
            f"set dataset.root to a new folder, or remove this one: {remove}"
        )
    missing = sum(not (root / name).is_file() for name, _, _ in _images(config))
    if missing:
        raise DataError(f"dataset.root={root}: {missing} images of the phantom are missing; remove it: {remove}")


def _images(config: PhantomConfig) -> Iterator[tuple[str, bool, tuple[int, int, int]]]:
    """Each image's path below the phantom's folder, whether it shows the organ, and its seed."""
    for split, (part, count) in enumerate((("train", config.train), ("validation", config.validation))):
        for index in range(count):
            yield f"{part}/{CLASSES[index % 2]}/{index:04d}.png", index % 2 == 1, (config.seed, split, index)


def _write(folder: Path, config: PhantomConfig) -> None:
    for part in ("train", "validation"):
        for label in CLASSES:
            (folder / part / label).mkdir(parents=True)

    def write(job: tuple[str, bool, tuple[int, int, int]]) -> None:
        name, present, seed = job
        Image.fromarray(draw(present, config.size, np.random.default_rng(seed))).save(folder / name)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write, _images(config)))
    write_text(folder / SETTINGS, json.dumps(config.model_dump()))


def _ellipse(size: int, centre: NDArray[np.float64], axes: NDArray[np.float64], angle: float) -> FloatImage:
    """Elliptic distance of each pixel from a centre: 1 on the ellipse. Lengths in shares of the side."""
    y, x = np.mgrid[0:size, 0:size] / size
    dy, dx = y - centre[0], x - centre[1]
    u, v = dy * np.cos(angle) - dx * np.sin(angle), dy * np.sin(angle) + dx * np.cos(angle)
    return np.asarray(np.hypot(u / axes[0], v / axes[1]))


def _smooth_noise(size: int, sigma: float, rng: np.random.Generator) -> FloatImage:
    """Noise of mean 0 and standard deviation 1 that varies over ``sigma`` pixels."""
    noise = gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
    return np.asarray(noise / noise.std())


def _fascia(size: int, rng: np.random.Generator) -> FloatImage:
    """Two to four bright, slightly bent, nearly level lines across the image."""
    y, x = np.mgrid[0:size, 0:size] / size
    lines = np.zeros((size, size))
    for _ in range(rng.integers(2, 5)):
        height = rng.uniform(0.05, 0.95) + rng.uniform(-0.1, 0.1) * (x - 0.5) + rng.uniform(-0.3, 0.3) * (x - 0.5) ** 2
        lines += rng.uniform(0.5, 1.0) * np.exp(-(((y - height) / 0.012) ** 2))
    return np.asarray(lines)


def _bone(echo: FloatImage, size: int, rng: np.random.Generator) -> FloatImage:
    """A short bright arc with an acoustic shadow below it."""
    y, x = np.mgrid[0:size, 0:size] / size
    centre, width = rng.choice([rng.uniform(0.0, 0.15), rng.uniform(0.85, 1.0)]), rng.uniform(0.08, 0.14)
    surface = rng.uniform(0.3, 0.6) + 1.5 * (x - centre) ** 2
    inside = np.abs(x - centre) < width
    echo = np.where(inside & (y > surface), echo * 0.15, echo)
    return np.asarray(np.where(inside & (np.abs(y - surface) < 0.015), 1.5, echo))
