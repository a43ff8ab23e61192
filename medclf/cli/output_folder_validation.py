"""Where a command may write: a folder with a usable name, and not among the images it reads."""

import re
import sys
from argparse import Namespace
from pathlib import Path

from medclf.config.field_types import FILE_ENDING
from medclf.config.messages import format_value
from medclf.config.overrides import parse_overrides
from medclf.config.schema import DatasetConfig
from medclf.utils.errors import ConfigError
from medclf.utils.quoting import format_override
from medclf.utils.safe_terminal import escape_control

HIDDEN = (".", "__MACOSX")
"""Beginnings of the names of folders in which no images are looked for."""


def rename_output(arguments: Namespace) -> str:
    """Replace ``output=FOLDER`` by Hydra's own key in the command line, and return the key that messages name.

    Args:
        arguments: command line as Hydra reads it; its overrides and ``sys.argv`` are changed.

    Raises:
        ConfigError: for a folder that is named twice, or cannot be read.
    """
    own = "hydra.sweep.dir" if arguments.multirun else "hydra.run.dir"
    words: list[str] = arguments.overrides
    typed = [word for word in words if re.match(r"[+~]*output(=|$)", word)]
    others = [word for word in words if re.match(r"[+~]*hydra\.(run|sweep)\.dir=", word)]
    if not typed:
        return own if any(own in word for word in others) else "output"
    if len(typed) + len(others) > 1:
        raise ConfigError(f"{' and '.join([*typed, *others])}: name the output folder more than once; type one of them")
    if not typed[0].startswith("output="):
        raise ConfigError(f"{format_value(typed[0])}: must be output=FOLDER")
    (override,) = parse_overrides(typed)
    if override.is_sweep_override():
        raise ConfigError(f"{typed[0]}: names one folder; put a name with a comma into quotes: output='\"NAME\"'")
    value = typed[0].removeprefix("output=")
    new = [] if override.value() is None else [f"{own}={value}"]
    position = sys.argv.index(typed[0])
    sys.argv[position : position + 1] = new
    position = words.index(typed[0])
    arguments.overrides = [*words[:position], *new, *words[position + 1 :]]
    return "output"


def validate_folder_name(key: str, folder: Path, several_processes: bool = False) -> None:
    """Raise if a folder's name cannot be passed on to Hydra, to a log file or to other processes.

    Args:
        key: by which the folder was named.
        folder: to be made.
        several_processes: whether processes are started that get the name on their command line.

    Raises:
        ConfigError: with what is wrong.
    """
    name = str(folder)
    wrong = "a control character" if escape_control(name) != name or any(sign in name for sign in "\n\t") else None
    wrong = "'${'" if "${" in name else wrong
    wrong = "'::' or '://'" if "::" in name or "://" in name else wrong  # Lightning takes it for an address
    if several_processes and any(sign in name for sign in '"\\'):
        wrong = "a quotation mark or backslash, which several processes cannot be given"
    if not wrong and (plain := FILE_ENDING.sub("", name)) != name:
        used = format_override(key, Path(plain).as_posix())
        raise ConfigError(f"{key}={name}: names a folder, and this is the name of a file; use {used}")
    if wrong:
        shown = escape_control(name.replace("\n", "\\n").replace("\t", "\\t"))
        raise ConfigError(f"{key}={shown}: has {wrong} in its name; name another: {key}=FOLDER")


def validate_outside_images(key: str, folder: Path, dataset: DatasetConfig | None) -> None:
    """Raise if a command would write into the folder whose every image belongs to its dataset.

    Args:
        key: by which the folder was named.
        folder: to be written.
        dataset: read by the command; None: it reads none.

    Raises:
        ConfigError: naming both folders.
    """
    if dataset is None or not _is_searched(folder, dataset):
        return
    nearby = Path("runs", folder.name)
    elsewhere = Path("..", nearby) if _is_searched(nearby, dataset) else nearby
    raise ConfigError(
        f"{format_override(key, folder.as_posix())}: lies in dataset.root={dataset.root}, where its plots would be "
        "taken for "
        f"images; name a folder elsewhere, such as {format_override(key, elsewhere.as_posix())}"
    )


def validate_cache_outside_images(dataset: DatasetConfig | None) -> None:
    """Raise if the folder of cached images would be taken for a class.

    Raises:
        ConfigError: naming both folders.
    """
    if dataset is None or dataset.classes is not None or not _is_searched(Path(dataset.store), dataset):
        return
    root = Path(dataset.root)
    if root.is_dir() and any(path.name.lower() in dataset.splits.folders for path in root.iterdir()):
        return  # classes are looked for in these folders alone
    raise ConfigError(
        f"dataset.store={dataset.store}: lies in dataset.root={dataset.root}, where it would be taken for a class; "
        "name a folder elsewhere: dataset.store=FOLDER"
    )


def _is_searched(folder: Path, dataset: DatasetConfig) -> bool:
    """Whether images are looked for in a folder, now or once it exists."""
    if dataset.format != "folders":
        return False
    root, place = Path(dataset.root), folder.resolve()
    root = (root.with_suffix("") if root.suffix.lower() == ".zip" else root).resolve()
    if not place.is_relative_to(root):
        return False
    return not any(part.startswith(HIDDEN) for part in place.relative_to(root).parts)
