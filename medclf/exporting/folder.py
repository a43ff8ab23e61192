"""A folder of images to verify on. Imports no torch."""

from pathlib import Path

from medclf.data.image_formats import SUFFIXES
from medclf.data.sources.folders import image_paths
from medclf.utils.errors import ConfigError


def images_below(folder: str) -> list[str]:
    """The images of a folder and those below, sorted, by their paths below it.

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
