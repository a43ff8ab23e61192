"""Finding images in class folders, with or without split folders. Imports neither pandas nor torch."""

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from medclf.config.schema import DatasetConfig, SplitName
from medclf.data.image_formats import is_image_file
from medclf.data.sources.records import FoundImage, FoundImages, match_group
from medclf.utils.errors import DataError, format_list, suggest
from medclf.utils.regular_files import special_kind


def find_folder_images(root: Path, config: DatasetConfig) -> FoundImages:
    """Find the images in class folders below root.

    A file belongs to the class, and to the split, whose folder stands anywhere on its path below root. Hidden files
    and folders, links to folders, and what ``exclude`` names are passed over.

    Raises:
        DataError: when a class has no image, an image has two classes, some images lie in split folders and some do
            not, or a folder cannot be read.
    """
    skipped: dict[str, list[str]] = {}
    files, excluded = _files(root, config.exclude, skipped)
    classes = config.classes or _discovered_classes(root, config)
    class_of = class_of_folder(classes, config.class_folders or {})
    images = []
    for path in files:
        labels = {class_of[part] for part in path.parent.parts if part in class_of}
        if len(labels) > 1:
            raise DataError(f"{root / path}: lies in the folders of several classes: {format_list(sorted(labels))}")
        if labels:
            group = match_group(str(path), config.group_pattern)
            images.append(FoundImage(str(path), labels.pop(), group, _split(path, config)))
    _check_classes(root, images, classes, class_of)
    _check_split_folders(images, config)
    return FoundImages(images, classes, excluded, len(files) - len(images), skipped)


def _files(root: Path, exclude: list[str], skipped: dict[str, list[str]]) -> tuple[list[PurePosixPath], int]:
    files, excluded = [], 0
    for path in image_paths(root, skipped):
        names = (*path.parts, str(path))
        if any(fnmatch(name, pattern) for name in names for pattern in exclude):
            excluded += 1
        else:
            files.append(path)
    return sorted(files), excluded


def image_paths(root: Path, skipped: dict[str, list[str]] | None = None) -> Iterator[PurePosixPath]:
    """Yield the images below a folder, in no order; hidden files and folders, and links to folders, are passed over.

    Args:
        root: the folder.
        skipped: gets the path of every other file by suffix, or by kind where it is no regular file.

    Raises:
        DataError: for a folder that cannot be read.
    """
    for folder, subfolders, names in os.walk(root, onerror=_refuse_unreadable):
        subfolders[:] = [name for name in subfolders if not name.startswith((".", "__MACOSX"))]
        for name in sorted(names):
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if is_image_file(file):
                yield PurePosixPath(file.relative_to(root).as_posix())
            elif skipped is not None:
                kind = special_kind(file) or file.suffix.lower() or "no suffix"
                skipped.setdefault(kind, []).append(file.relative_to(root).as_posix())


def _refuse_unreadable(error: OSError) -> None:
    raise DataError(f"{error.filename}: this folder cannot be read: {error.strerror}") from error


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))


def _discovered_classes(root: Path, config: DatasetConfig) -> list[str]:
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


def class_of_folder(classes: list[str], folders: dict[str, str | list[str]]) -> dict[str, str]:
    """Return the class of each folder name or table label: its own name unless another is configured."""
    class_of: dict[str, str] = {}
    for label in classes:
        names = folders.get(label, label)
        class_of.update(dict.fromkeys([names] if isinstance(names, str) else names, label))
    return class_of


def _split(path: PurePosixPath, config: DatasetConfig) -> SplitName | None:
    parts = (config.splits.folders.get(part.lower()) for part in path.parent.parts)
    return next((part for part in parts if part is not None), None)


def _check_classes(root: Path, images: list[FoundImage], classes: list[str], class_of: dict[str, str]) -> None:
    found = {image.label for image in images}
    empty = [label for label in classes if label not in found]
    if not empty:
        return
    present = sorted({path.name for path in root.rglob("*") if path.is_dir()})
    lines = []
    for label in empty:
        names = [name for name, owner in class_of.items() if owner == label]
        state = "holds no image" if any(name in present for name in names) else "is not there"
        lines.append(
            f"class '{label}': its folder {format_list(names)} {state}; {suggest(names[0], present)}".rstrip("; ")
        )
    raise DataError(
        f"dataset.root={root}: " + "\n".join(lines) + f"\nFolders found: {format_list(present) or 'none'}. "
        "Mend the folder, or set 'dataset.class_folders={CLASS: FOLDER}', or leave the class out of dataset.classes"
    )


def _check_split_folders(images: list[FoundImage], config: DatasetConfig) -> None:
    without = [image.path for image in images if image.split is None]
    if without and len(without) < len(images):
        raise DataError(
            f"dataset.root={config.root}: {len(without)} of {len(images)} images lie in no split folder, the others "
            f"do: {format_list(without)}. Move them, or leave them out by dataset.exclude=[PATTERN]"
        )
