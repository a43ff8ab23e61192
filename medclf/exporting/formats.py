"""What a model can be exported to, and into which files. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from medclf.config.command_schemas import FormatName
from medclf.inference.model_metadata import ModelMetadata
from medclf.utils.errors import ConfigError, format_list
from medclf.utils.file_names import safe_file_name


@dataclass(frozen=True)
class Format:
    """Endings of its files, the one to load first, and the packages that writing and verifying it need."""

    suffixes: tuple[str, ...]
    needs: tuple[str, ...] = ()


FORMATS: dict[FormatName, Format] = {
    "onnx": Format((".onnx",), ("onnx", "onnxscript", "onnxruntime")),
    "torch": Format((".pt2",)),
    "openvino": Format((".xml", ".bin"), ("openvino",)),
}
"""Each that needs packages has an extra of its name."""


def check_installed(name: FormatName) -> None:
    """Refuse a format whose packages are not there.

    Raises:
        ConfigError: with the line that installs them.
    """
    missing = [package for package in FORMATS[name].needs if find_spec(package) is None]
    if missing:
        raise ConfigError(f"format={name}: needs {format_list(missing)}; pip install 'medclf[{name}]'")


def list_files(name: FormatName, folder: Path, facts: ModelMetadata) -> list[Path]:
    """Return the files to write, none of which exists: the one to load, its companions, and the .json.

    Args:
        name: of the format.
        folder: to write them into.
        facts: metadata of the model, which gives the files their name.

    Raises:
        ConfigError: for files that are there, and a folder that cannot be made.
    """
    suffixes = FORMATS[name].suffixes
    model = facts.kind if facts.model is None else facts.model.name
    stem = safe_file_name(f"{facts.dataset}_{model}", words_only=True)
    files = [folder / f"{stem}{suffix}" for suffix in (*suffixes, f"{suffixes[0]}.json")]
    _refuse_used(folder, files)
    return files


def _refuse_used(folder: Path, files: Iterable[Path]) -> None:
    there = [path.name for path in files if path.exists()]
    if there:
        raise ConfigError(
            f"output={folder}: already holds {there[0]}, and nothing is overwritten; name another folder, or "
            "delete the file first"
        )
