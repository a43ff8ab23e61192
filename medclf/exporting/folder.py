"""A folder of images to verify on. Imports no torch."""

from pathlib import Path

from medclf.data.sources.folders import SUFFIXES
from medclf.errors import ConfigError


def images_below(folder: str) -> list[str]:
    """The images of a folder and those below, sorted, by their paths below it.

    Raises:
        ConfigError: when there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigError(f"images={folder}: there is no such folder")
    found = [path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    if not found:
        raise ConfigError(f"images={folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return sorted(path.relative_to(root).as_posix() for path in found)
