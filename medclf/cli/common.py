"""What the commands share: the folder of results, and the message about an option that begins with a dash."""

import os
import shlex
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from medclf.utils import terminal
from medclf.utils.errors import ConfigError, format_list, suggest_word
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
    terminal.print_message(f"{text}\nWritten to {folder.as_posix()}: {files}\n")


def default_output_folder(command: str) -> Path:
    """Return the path of a new folder below ``runs/COMMAND``."""
    return Path("runs", command, f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")


def format_dashed(word: str, following: Sequence[str], known: Sequence[str]) -> str:
    """Return the message about a word such as ``--output``: options are ``key=value``.

    Args:
        word: typed, beginning with a dash.
        following: the words after it, the first of which may be its value.
        known: keys of the command.
    """
    name, sign, value = word.lstrip("-").partition("=")
    name = {"o": "output"}.get(name, name.replace("-", "_"))
    closest = _find_closest(name, known) if name else ""
    if not closest:
        return f"{word}: options are typed as key=value; --help lists them"
    if not sign:
        value = next((text for text in following[:1] if not text.startswith("-")), "VALUE")
    typed = f"{closest}={value}"
    return f"{word}: options are typed as key=value: {shlex.quote(typed)}"


def _find_closest(name: str, known: Sequence[str]) -> str:
    if name in known:
        return name
    beginning = [key for key in known if key.startswith(name)]
    inner = [key for key in known if key.endswith(f".{name}")]
    return next(iter(inner), beginning[0] if len(beginning) == 1 else suggest_word(name, known))
