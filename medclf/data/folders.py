"""Finding images in class folders, with or without split folders. Imports neither pandas nor torch."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from medclf.config.schema import Dataset, SplitName
from medclf.errors import DataError, did_you_mean, listed

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True)
class FoundImage:
    """One image: its path below root (with ``/``), its class, its patient, and the part its folder gives or None."""

    path: str
    label: str
    group: str
    split: SplitName | None


@dataclass(frozen=True)
class FoundImages:
    """The images below a root, sorted by path; the classes in order; and what was left out."""

    images: list[FoundImage]
    classes: list[str]
    excluded: int
    outside: int


def find_images(config: Dataset) -> FoundImages:
    """Find the images of a dataset.

    A file belongs to the class, and to the split, whose folder stands anywhere on its path below root. Hidden files
    and folders, links to folders, and what ``exclude`` names are passed over.

    Raises:
        DataError: when root is missing, a class has no image, an image has two classes, or some images lie in split
            folders and some do not.
    """
    root = Path(config.root)
    _check_root(root, config)
    files, excluded = _files(root, config.exclude)
    classes = config.classes or _discovered_classes(root, config)
    class_of = _class_of_folder(classes, config.class_folders or {})
    images = []
    for path in files:
        labels = {class_of[part] for part in path.parent.parts if part in class_of}
        if len(labels) > 1:
            raise DataError(f"{root / path}: lies in the folders of several classes: {listed(sorted(labels))}")
        if labels:
            images.append(FoundImage(str(path), labels.pop(), _group(path, config.group_pattern), _split(path, config)))
    _check_classes(images, classes, class_of, config)
    _check_split_folders(images, config)
    return FoundImages(images, classes, excluded, len(files) - len(images))


def _check_root(root: Path, config: Dataset) -> None:
    if root.is_dir():
        return
    what = "is a file, not a folder" if root.exists() else "there is no such folder"
    raise DataError(
        f"dataset.root={config.root}: {what} (looked for {root.absolute()}). "
        f"Expected in it: {config.layout or 'class folders'}. To be had from: {config.source or 'not stated'}. "
        "Then set dataset.root=FOLDER"
    )


def _files(root: Path, exclude: list[str]) -> tuple[list[PurePosixPath], int]:
    files, excluded = [], 0
    for path in _image_paths(root):
        names = (*path.parts, str(path))
        if any(fnmatch(name, pattern) for name in names for pattern in exclude):
            excluded += 1
        else:
            files.append(path)
    return sorted(files), excluded


def _image_paths(root: Path) -> Iterator[PurePosixPath]:
    for folder, subfolders, names in os.walk(root, onerror=_refuse_unreadable):
        subfolders[:] = [name for name in subfolders if not name.startswith((".", "__MACOSX"))]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES:
                yield PurePosixPath((Path(folder) / name).relative_to(root).as_posix())


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: this folder cannot be read: {error.strerror}") from error


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _discovered_classes(root: Path, config: Dataset) -> list[str]:
    folders = _subfolders(root)
    while len(folders) == 1 and folders[0].name.lower() not in config.splits.folders:
        folders = _subfolders(folders[0])
    parts = [folder for folder in folders if folder.name.lower() in config.splits.folders]
    if parts:
        folders = [folder for part in parts for folder in _subfolders(part)]
    classes = sorted({folder.name for folder in folders})
    if len(classes) < 2:
        raise DataError(
            f"dataset.root={config.root}: needs at least two class folders, found {classes or 'none'}; "
            "put the images of each class in a folder of its own, or name the classes: dataset.classes=[A,B]"
        )
    return classes


def _class_of_folder(classes: list[str], folders: dict[str, str | list[str]]) -> dict[str, str]:
    class_of: dict[str, str] = {}
    for label in classes:
        names = folders.get(label, label)
        class_of.update(dict.fromkeys([names] if isinstance(names, str) else names, label))
    return class_of


def _group(path: PurePosixPath, pattern: str | None) -> str:
    found = re.search(pattern, path.name) if pattern else None
    if found is None:
        return str(path)
    return (found.group(1) if found.re.groups else found.group(0)) or str(path)


def _split(path: PurePosixPath, config: Dataset) -> SplitName | None:
    parts = (config.splits.folders.get(part.lower()) for part in path.parent.parts)
    return next((part for part in parts if part is not None), None)


def _check_classes(images: list[FoundImage], classes: list[str], class_of: dict[str, str], config: Dataset) -> None:
    found = {image.label for image in images}
    empty = [label for label in classes if label not in found]
    if not empty:
        return
    present = sorted({path.name for path in Path(config.root).rglob("*") if path.is_dir()})
    lines = []
    for label in empty:
        names = [name for name, owner in class_of.items() if owner == label]
        state = "holds no image" if any(name in present for name in names) else "is not there"
        lines.append(
            f"class '{label}': its folder {listed(names)} {state}; {did_you_mean(names[0], present)}".rstrip("; ")
        )
    raise DataError(
        f"dataset.root={config.root}: " + "\n".join(lines) + f"\nFolders found: {listed(present) or 'none'}. "
        "Mend the folder, or set dataset.class_folders={CLASS: FOLDER}, or leave the class out of dataset.classes"
    )


def _check_split_folders(images: list[FoundImage], config: Dataset) -> None:
    without = [image.path for image in images if image.split is None]
    if without and len(without) < len(images):
        raise DataError(
            f"dataset.root={config.root}: {len(without)} of {len(images)} images lie in no split folder, the others "
            f"do: {listed(without)}. Move them, or leave them out by dataset.exclude=[PATTERN]"
        )
