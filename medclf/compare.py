"""``python -m medclf.compare RUN RUN [RUN ...]``: which is better on the same test images. Imports no torch."""

import argparse

from medclf.config.arguments import Parser, a_path, new_folder, run, whole_number
from medclf.config.limits import MAX_RESAMPLES, MAX_SEED
from medclf.errors import ConfigError, listed
from medclf.terminal import say
from medclf.write_errors import reason

RULES = ("half", "youden", "sensitivity", "specificity", "cost")
"""Those of ``medclf.evaluation.operating_point``, which imports what --help does not pay."""


def main() -> None:
    """Run the command line."""
    run(_parser(), compare)


def _parser() -> Parser:
    parser = Parser("python -m medclf.compare", description="Compare classifiers on the same test images.")
    add = parser.add_argument
    add("runs", nargs="+", type=a_path, metavar="RUN", help="a finished run folder, or a predictions table (CSV)")
    add("--metrics", metavar="NAME,NAME", help="what to compare; by default a choice for the number of classes")
    add("--positive", metavar="CLASS", help="of two classes, for runs that do not say it; by default the last one")
    add("--operating-point", choices=RULES, help="chosen on validation, for runs that bring none; by default half")
    add(
        "--resamples",
        type=whole_number(100, MAX_RESAMPLES),
        default=2000,
        metavar="N",
        help="of the bootstrap (default 2000)",
    )
    add("--seed", type=whole_number(0, MAX_SEED), default=0, metavar="N", help="of the bootstrap (default 0)")
    add("--output", type=a_path, metavar="FOLDER", help="new or empty; by default one below runs/compare")
    return parser


def compare(typed: argparse.Namespace) -> None:
    """Compare, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = new_folder(typed.output, "compare")

    from medclf.comparison import report, result  # pandas and Matplotlib, which --help does not pay

    found = result.compared(
        typed.runs, typed.metrics, typed.positive, typed.operating_point, typed.resamples, typed.seed
    )
    text = report.text(found)
    try:
        report.save(found, text, folder)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be written: {reason(error)}; name a folder elsewhere") from error
    files = listed(sorted(file.name for file in folder.iterdir()))
    say(f"{text}\nWritten to {folder.as_posix()}: {files}\n")


if __name__ == "__main__":
    main()
