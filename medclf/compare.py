"""``python -m medclf.compare RUN RUN [RUN ...]``: which is better on the same test images. Imports no torch."""

import argparse
import os
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import NoReturn

from medclf.errors import ConfigError, MedclfError, listed
from medclf.runs import is_used

RULES = ("half", "youden", "sensitivity", "specificity", "cost")
"""Those of ``medclf.evaluation.operating_point``, which imports what --help does not pay."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


class Parser(argparse.ArgumentParser):
    """Its errors look as those of the other commands do."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"error: {message}\n")


def main() -> None:
    """Run the command line."""
    try:
        compare(_parser().parse_args())
    except MedclfError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(INTERRUPTED)


def _parser() -> Parser:
    parser = Parser("python -m medclf.compare", description="Compare classifiers on the same test images.")
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="a finished run folder, or a predictions table (CSV)")
    add("--metrics", metavar="NAME,NAME", help="what to compare; by default a choice for the number of classes")
    add("--positive", metavar="CLASS", help="of two classes, for runs that do not say it; by default the last one")
    add("--operating-point", choices=RULES, help="chosen on validation, for runs that bring none; by default half")
    add("--resamples", type=_at_least(100), default=2000, metavar="N", help="of the bootstrap (default 2000)")
    add("--seed", type=_at_least(0), default=0, metavar="N", help="of the bootstrap (default 0)")
    add("--output", type=Path, metavar="FOLDER", help="new or empty; by default one below runs/compare")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
        return int(text)

    return whole


def compare(typed: argparse.Namespace) -> None:
    """Compare, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = typed.output or Path("runs", "compare", f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")
    if is_used(folder):
        raise ConfigError(f"--output {folder}: already holds something, and nothing is overwritten; name a new folder")

    from medclf.comparison import report, result  # pandas and Matplotlib, which --help does not pay

    found = result.compared(
        typed.runs, typed.metrics, typed.positive, typed.operating_point, typed.resamples, typed.seed
    )
    text = report.text(found)
    try:
        report.save(found, text, folder)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be written: {error}") from error
    files = listed(sorted(file.name for file in folder.iterdir()))
    _print(f"{text}\nWritten to {folder.as_posix()}: {files}\n")


def _print(text: str) -> None:
    """Print; whoever reads it may stop early, as ``head`` does: the folder has everything."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # what Python flushes when it ends goes there
        os.close(nowhere)


if __name__ == "__main__":
    main()
