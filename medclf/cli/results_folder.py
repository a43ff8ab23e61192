"""The folder that a command writes: which one it is, whether it can be written, and saving results to it."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from medclf.utils import safe_terminal
from medclf.utils.errors import ConfigError, format_list
from medclf.utils.run_folder import is_used
from medclf.utils.write_errors import write_failure


def choose_output_folder(typed: str | None, command: str) -> Path:
    """Return the folder that a command writes: the one typed, or a new one below ``runs/COMMAND``.

    Args:
        typed: value of ``output``.
        command: name of the command.

    Raises:
        ConfigError: for one that holds something, or cannot be made.
    """
    folder = default_output_folder(command) if typed is None else Path(typed)
    validate_writable(folder)
    if is_used(folder):
        raise ConfigError(f"output={folder}: already holds something, and nothing is overwritten; name a new folder")
    return folder


def validate_writable(folder: Path) -> None:
    """Raise if a folder cannot be made since a part of its path is a file or not writable.

    Args:
        folder: value of ``output``; it need not exist yet.

    Raises:
        ConfigError: naming the part.
    """
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    if not there.is_dir():
        raise ConfigError(f"output={folder}: cannot be written: {there} is a file; name a folder elsewhere")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"output={folder}: cannot be written: {there} is not writable; name a folder elsewhere")


def write_results(folder: Path, text: str, save: Callable[[Path], None]) -> None:
    """Save results to the folder of ``output``, then print them and the names of the files.

    Args:
        folder: where they go.
        text: to print.
        save: writes the files into the folder.

    Raises:
        ConfigError: where the folder cannot be written.
    """
    try:
        save(folder)
    except OSError as error:
        raise ConfigError(
            f"output={folder}: cannot be written: {write_failure(error)}; name a folder elsewhere"
        ) from error
    files = format_list(sorted(file.name for file in folder.iterdir()))
    safe_terminal.print_message(f"{text}\nWritten to {folder.as_posix()}: {files}\n")


def default_output_folder(command: str) -> Path:
    """Return the path of a new folder below ``runs/COMMAND``."""
    return Path("runs", command, f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")
