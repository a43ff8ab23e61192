"""What the commands have in common that take arguments instead of Hydra's overrides."""

import argparse
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import NoReturn

from medclf import terminal
from medclf.errors import ConfigError
from medclf.runs import is_used


class Parser(argparse.ArgumentParser):
    """Its errors look as those of the other commands do."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        terminal.fail(message)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of ``least`` or more."""

    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
        return int(text)

    return whole


def new_folder(typed: Path | None, command: str, key: str = "--output ") -> Path:
    """Where a command writes: the folder typed, or one of its own below ``runs/COMMAND``.

    Args:
        typed: by the user, after ``key``.
        command: its name.
        key: how the folder is typed.

    Raises:
        ConfigError: for one that holds something.
    """
    folder = typed or own_folder(command)
    if is_used(folder):
        raise ConfigError(f"{key}{folder}: already holds something, and nothing is overwritten; name a new folder")
    return folder


def own_folder(command: str) -> Path:
    """A folder of its own below ``runs/COMMAND``."""
    return Path("runs", command, f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")


def run(parser: Parser, work: Callable[[argparse.Namespace], None]) -> None:
    """Parse what was typed and do the work; what a user can mend ends it with one line and exit code 2."""
    with told():
        work(parser.parse_args())


told = terminal.command
say = terminal.say
INTERRUPTED = terminal.INTERRUPTED
