"""A CSV file with a row an image: path and class, where it has them patient, split and whatever else is known of it."""

import posixpath
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from medclf.config.schema import DatasetConfig, TableConfig
from medclf.data.sources.folders import class_of_folder
from medclf.data.sources.records import FoundImage, FoundImages, match_group
from medclf.utils.csv_tables import CsvTable, read_csv
from medclf.utils.errors import DataError, format_list, suggest

KEYS = ("path", "label", "group", "split")
RESERVED = frozenset({"path", "class", "group", "split", "fold", "true_class", "predicted_class"})


def find_table_images(root: Path, config: DatasetConfig) -> FoundImages:
    """Read the table ``config.table.file`` below root; the paths in it are below root too.

    Raises:
        DataError: for a missing file or column, a label that is no class, a split of another name, a class without an
            image, and a path that is outside root, not there or named twice.
    """
    file = root / config.table.file
    table, place = _read(file, config.table)
    label_at, others = place["label"], _other_columns(table.columns, config.table)
    classes = config.classes or sorted({row[label_at].strip() for row in table.rows})
    class_of = class_of_folder(classes, config.class_folders or {})
    split_of = {"": None, **config.splits.folders}
    images, wrong = [], _Wrong(file)
    for row in table.rows:
        path, label, group, split = (row[place[key]].strip() if key in place else "" for key in KEYS)
        path, split = posixpath.normpath(path.replace("\\", "/")), split.lower()
        wrong.check("label that is no class", label, label in class_of)
        wrong.check("split that is none", split, split in split_of)
        inside, there = _place(root, path)
        wrong.check("path outside root", path, inside)
        wrong.check("file that is not there", path, not inside or there)
        if "group" not in place:
            group = match_group(path, config.group_pattern)
        known = {name: row[at].strip() for name, at in others.items()}
        images.append(FoundImage(path, class_of.get(label, ""), group or path, split_of.get(split), known))
    for path, count in Counter(image.path for image in images).items():
        wrong.check("path named twice", path, count == 1)
    found = {image.label for image in images}
    for label in classes:
        wrong.check("class without an image", label, label in found)
    wrong.refuse()
    return FoundImages(sorted(images, key=lambda image: image.path), classes)


def _other_columns(names: list[str], columns: TableConfig) -> dict[str, int]:
    """Return the index of each column that the config does not name; ``table_`` precedes a name that medclf uses."""
    named = set(columns.model_dump(exclude={"file"}).values())
    others = {name: at for at, name in enumerate(names) if name not in named}
    return {_renamed(name, others) if _is_ours(name) else name: at for name, at in others.items()}


def _renamed(name: str, others: Mapping[str, int]) -> str:
    name = f"table_{name}"
    return _renamed(name, others) if name in others else name


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
            lines = [f"{len(items)} times a {kind}: {format_list(items)}" for kind, items in self.items.items()]
            raise DataError(f"{self.file}: " + "\n".join(lines))


def _read(file: Path, columns: TableConfig) -> tuple[CsvTable, dict[str, int]]:
    """Return the table, and the index of each column that the config names."""
    table = read_csv(file, f"dataset.table.file={file}")
    wanted = {key: name for key, name in columns.model_dump(exclude={"file"}).items() if name is not None}
    for key, name in wanted.items():
        if name not in table.columns:
            raise DataError(
                f"{file}: has no column '{name}' (dataset.table.{key}); {suggest(name, table.columns)}"
                f"Columns: {format_list(table.columns)}"
            )
    return table, {key: table.columns.index(name) for key, name in wanted.items()}
