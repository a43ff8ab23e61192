"""A CSV file with a row an image: path and class, where it has them patient, split and whatever else is known of it."""

import csv
import posixpath
from collections import Counter
from pathlib import Path

from medclf.config.schema import Dataset, Table
from medclf.data.sources.folders import class_of_folder
from medclf.data.sources.found import FoundImage, FoundImages, group_of
from medclf.errors import DataError, did_you_mean, listed

Row = dict[str, str]
RESERVED = frozenset({"path", "class", "group", "split", "fold", "true_class", "predicted_class"})


def find(root: Path, config: Dataset) -> FoundImages:
    """Read the table ``config.table.file`` below root; the paths in it are below root too.

    Raises:
        DataError: for a missing file or column, a label that is no class, a split of another name, a class without an
            image, and a path that is outside root, not there or named twice.
    """
    file = root / config.table.file
    columns = config.table
    rows = _rows(file, config)
    classes = config.classes or sorted({row[columns.label] for row in rows})
    class_of = class_of_folder(classes, config.class_folders or {})
    split_of = {"": None, **config.splits.folders}
    images, wrong = [], _Wrong(file)
    for row in rows:
        path = posixpath.normpath(row[columns.path].replace("\\", "/"))
        label, split = row[columns.label], row[columns.split].lower() if columns.split else ""
        wrong.check("label that is no class", label, label in class_of)
        wrong.check("split that is none", split, split in split_of)
        inside, there = _place(root, path)
        wrong.check("path outside root", path, inside)
        wrong.check("file that is not there", path, not inside or there)
        group = row[columns.group] if columns.group else group_of(path, config.group_pattern)
        known = _attributes(row, columns)
        images.append(FoundImage(path, class_of.get(label, ""), group or path, split_of.get(split), known))
    for path, count in Counter(image.path for image in images).items():
        wrong.check("path named twice", path, count == 1)
    for label in classes:
        wrong.check("class without an image", label, any(image.label == label for image in images))
    wrong.refuse()
    return FoundImages(sorted(images, key=lambda image: image.path), classes)


def _attributes(row: Row, columns: Table) -> dict[str, str]:
    """The columns that the config does not name; one that bears a name of ours gets another."""
    named = {"", *columns.model_dump(exclude={"file"}).values()}  # pandas writes its index under no name
    others = {name: value for name, value in row.items() if name not in named}
    return {f"table_{name}" if _is_ours(name) else name: value for name, value in others.items()}


def _is_ours(name: str) -> bool:
    return name in RESERVED or name.startswith(("prob_", "logit_"))


def _place(root: Path, path: str) -> tuple[bool, bool]:
    """Whether a path stays below root, and whether there is a file."""
    try:
        return (root / path).resolve().is_relative_to(root.resolve()), (root / path).is_file()
    except (OSError, ValueError):  # what no file system can have: too long, or with a NUL
        return True, False


class _Wrong:
    """What is wrong in a table, by kind, so that it is said in one message."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.items: dict[str, list[str]] = {}

    def check(self, kind: str, item: str, right: bool) -> None:
        if not right:
            self.items.setdefault(kind, []).append(item)

    def refuse(self) -> None:
        if self.items:
            lines = [f"{len(items)} times a {kind}: {listed(items)}" for kind, items in self.items.items()]
            raise DataError(f"{self.file}: " + "\n".join(lines))


def _rows(file: Path, config: Dataset) -> list[Row]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restval="")
            names = list(reader.fieldnames or [])
            wanted = {key: name for key, name in config.table.model_dump(exclude={"file"}).items() if name is not None}
            for key, name in wanted.items():
                if name not in names:
                    raise DataError(
                        f"{file}: has no column '{name}' (dataset.table.{key}); {did_you_mean(name, names)}"
                        f"Columns: {listed(names) or 'none'}"
                    )
            rows = [{name: (row[name] or "").strip() for name in names} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"dataset.table.file={file}: cannot be read: {error}") from error
    if not rows:
        raise DataError(f"{file}: has no row")
    return rows
