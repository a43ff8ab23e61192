"""What a model can be exported to, and into which files. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from medclf.config.command_schemas import FormatName
from medclf.inference.metadata import ModelMetadata
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


def list_files(name: FormatName, output: str | None, folder: Path, facts: ModelMetadata) -> list[Path]:
    """The files to be written, none of which is there: the one to load, those that belong to it, and the .json.

    Args:
        name: of the format.
        output: the file to load, as it was typed.
        folder: where it goes where none was typed.
        facts: of the model, by which it is named then.

    Raises:
        ConfigError: for an output of another ending, and files that are there.
    """
    suffixes = FORMATS[name].suffixes
    model = facts.kind if facts.model is None else facts.model.name
    stem = safe_file_name(f"{facts.dataset}_{model}", words_only=True)
    first = Path(output) if output is not None else folder / f"{stem}{suffixes[0]}"
    if first.suffix != suffixes[0]:
        raise ConfigError(f"output={output}: format={name} makes a file that ends in {suffixes[0]}")
    files = [*(first.with_suffix(suffix) for suffix in suffixes), first.with_name(f"{first.name}.json")]
    _refuse_used(files)
    return files


def _refuse_used(files: Iterable[Path]) -> None:
    there = [path for path in files if path.exists()]
    if there:
        raise ConfigError(
            f"output={there[0]}: is there already, and nothing is overwritten; name another by output=FILE, or delete "
            "it first"
        )
    folder = next(place for place in next(iter(files)).absolute().parents if place.exists())
    if not folder.is_dir():
        raise ConfigError(f"output: {folder} is a file, so no folder can be made there")
