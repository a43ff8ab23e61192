"""Configuration files of the user's own: what is refused before Hydra reads them, and what is said where it cannot."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from medclf.config.limits import MAX_FILE_BYTES, MAX_FILE_DEPTH, MAX_FILE_VALUES, MAX_FILES
from medclf.config.messages import format_value
from medclf.utils.errors import ConfigError
from medclf.utils.json_yaml import LOADER


def validate_config_folder(folder: Path) -> None:
    """Raise if a folder of configurations is not there, or holds a file that would expand to more than memory takes.

    Raises:
        ConfigError: naming the folder or the file.
    """
    try:
        exists = folder.is_dir()
    except OSError:  # a name that is too long
        exists = False
    if not exists:
        raise ConfigError(f"--config-dir {format_value(str(folder))}: there is no such folder")
    for path in _files(folder):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: is larger than {MAX_FILE_BYTES >> 10} KiB, which no configuration is")
        try:
            node = yaml.compose(path.read_bytes(), LOADER)
        except (yaml.YAMLError, ValueError):
            continue  # reported where it is chosen
        except RecursionError as error:
            raise ConfigError(f"{path}: is nested more than {MAX_FILE_DEPTH} levels deep") from error
        if node is not None and _size(node, path, ()) > MAX_FILE_VALUES:
            raise ConfigError(f"{path}: its aliases expand to more than {MAX_FILE_VALUES} values")


def validate_readable(folders: Sequence[Path]) -> None:
    """Raise for the first file of the user's own that is not text in UTF-8.

    Raises:
        ConfigError: naming the file.
    """
    for path in (path for folder in folders for path in _files(folder)):
        try:
            path.read_text(encoding="utf-8")
        except ValueError as error:
            raise ConfigError(f"{path}: is not text in UTF-8; save it as UTF-8") from error


def format_yaml_error(error: yaml.YAMLError) -> str:
    """Return file, line and reason of a file that is not valid YAML."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    if mark is None:
        return f"{getattr(error, 'name', 'the configuration')}: not valid YAML: {reason}"
    return f"{mark.name}, line {mark.line + 1}: not valid YAML: {reason}"


def list_options(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the choices of a group, sorted; none for what is not a group."""
    places = [folder / group for folder in folders if group and not group.startswith("/")]
    return sorted({path.stem for place in places for path in place.glob("*.yaml")} - {"base"})


def _files(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*.yaml") if path.is_file())
    if len(found) > MAX_FILES:
        raise ConfigError(f"--config-dir {folder}: holds more than {MAX_FILES} .yaml files; name a smaller folder")
    return found


def _size(node: yaml.Node, path: Path, above: tuple[int, ...]) -> int:
    """The values below a node, counted once for each alias."""
    if id(node) in above:
        raise ConfigError(f"{path}, line {node.start_mark.line + 1}: an alias that holds itself")
    if len(above) >= MAX_FILE_DEPTH:
        raise ConfigError(f"{path}, line {node.start_mark.line + 1}: is nested more than {MAX_FILE_DEPTH} levels deep")
    size = 1
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
        pairs = isinstance(node, yaml.MappingNode)
        for inner in (item for entry in node.value for item in (entry if pairs else [entry])):
            size += _size(inner, path, (*above, id(node)))
            if size > MAX_FILE_VALUES:
                break
    return size
