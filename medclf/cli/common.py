"""What the commands have in common that take arguments instead of Hydra's overrides."""

import argparse
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, NoReturn

from medclf.config.field_types import path_text
from medclf.config.limits import MAX_RESAMPLES, MAX_SEED
from medclf.config.messages import format_value
from medclf.utils import terminal
from medclf.utils.errors import ConfigError, format_list
from medclf.utils.run_dir import is_used
from medclf.utils.write_errors import write_failure


class _Once(argparse.Action):
    """Stores the value of an option that may be typed once."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        typed = namespace.__dict__.setdefault("_typed", set())
        if option_string is not None and self.dest in typed:
            parser.error(f"{option_string}: is typed twice")
        typed.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """Its errors look as those of the other commands do; options are typed in full, and once."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog, description=description, allow_abbrev=False)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        terminal.fail(message.removeprefix("argument "))


def whole_number_type(least: int, most: int) -> Callable[[str], int]:
    """Return the type of an argument that is a whole number from ``least`` to ``most``."""

    def whole(text: str) -> int:
        if not text.isdecimal() or len(text) > len(str(most)) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{format_value(text)} must be a whole number from {least} to {most}")
        return int(text)

    return whole


def parse_path(text: str) -> Path:
    """Return the path that an argument names; the type of such arguments."""
    try:
        return Path(path_text(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{format_value(text)} {error}") from error


def choose_output_folder(typed: Path | None, command: str, key: str = "--output ") -> Path:
    """Where a command writes: the folder typed, or one of its own below ``runs/COMMAND``.

    Args:
        typed: by the user, after ``key``.
        command: its name.
        key: how the folder is typed.

    Raises:
        ConfigError: for one that holds something, or cannot be made.
    """
    folder = typed or default_output_folder(command)
    validate_writable(key, folder)
    if is_used(folder):
        raise ConfigError(f"{key}{folder}: already holds something, and nothing is overwritten; name a new folder")
    return folder


def validate_writable(key: str, folder: Path) -> None:
    """Raise if a folder cannot be made since a part of its path is a file or not writable.

    Args:
        key: how the folder is typed.
        folder: that need not exist yet.

    Raises:
        ConfigError: naming the part.
    """
    there = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    if there != folder.absolute() and not there.is_dir():
        raise ConfigError(f"{key}{folder}: cannot be written: {there} is a file; name a folder elsewhere")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{key}{folder}: cannot be written: {there} is not writable; name a folder elsewhere")


def add_bootstrap_options(parser: Parser) -> None:
    """Add ``--resamples`` and ``--seed``."""
    parser.add_argument(
        "--resamples",
        type=whole_number_type(100, MAX_RESAMPLES),
        default=2000,
        metavar="N",
        help="of the bootstrap (default 2000)",
    )
    parser.add_argument(
        "--seed", type=whole_number_type(0, MAX_SEED), default=0, metavar="N", help="of the bootstrap (default 0)"
    )


def write_results(folder: Path, text: str, save: Callable[[Path], None]) -> None:
    """Save results to the folder of ``--output``, then print them and the names of the files.

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
            f"--output {folder}: cannot be written: {write_failure(error)}; name a folder elsewhere"
        ) from error
    files = format_list(sorted(file.name for file in folder.iterdir()))
    terminal.print_message(f"{text}\nWritten to {folder.as_posix()}: {files}\n")


def default_output_folder(command: str) -> Path:
    """A folder of its own below ``runs/COMMAND``."""
    return Path("runs", command, f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")


def run_command(parser: Parser, work: Callable[[argparse.Namespace], None]) -> None:
    """Parse what was typed and do the work; what a user can mend ends it with one line and exit code 2."""
    with terminal.command_errors():
        work(parser.parse_args())
