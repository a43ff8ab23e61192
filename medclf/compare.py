"""``python -m medclf.compare RUN RUN [RUN ...]``: which is better on the same test images. Imports no torch."""

import argparse

from medclf.cli.common import (
    Parser,
    add_bootstrap_options,
    choose_output_folder,
    parse_path,
    run_command,
    write_results,
)

RULES = ("half", "youden", "sensitivity", "specificity", "cost")
"""Those of ``medclf.evaluation.operating_point``, which imports what --help does not pay."""


def main() -> None:
    """Run the command line."""
    run_command(_parser(), compare)


def _parser() -> Parser:
    parser = Parser("python -m medclf.compare", description="Compare classifiers on the same test images.")
    add = parser.add_argument
    add("runs", nargs="+", type=parse_path, metavar="RUN", help="a finished run folder, or a predictions table (CSV)")
    add("--metrics", metavar="NAME,NAME", help="what to compare; by default a choice for the number of classes")
    add("--positive", metavar="CLASS", help="of two classes, for runs that do not say it; by default the last one")
    add("--operating-point", choices=RULES, help="chosen on validation, for runs that bring none; by default half")
    add_bootstrap_options(parser)
    add("--output", type=parse_path, metavar="FOLDER", help="new or empty; by default one below runs/compare")
    return parser


def compare(typed: argparse.Namespace) -> None:
    """Compare, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(typed.output, "compare")

    from medclf.comparison import compare  # pandas and Matplotlib, which --help does not pay
    from medclf.reporting import comparison_report

    found = compare.compare_sources(
        typed.runs, typed.metrics, typed.positive, typed.operating_point, typed.resamples, typed.seed
    )
    text = comparison_report.format_comparison(found)
    write_results(folder, text, lambda target: comparison_report.save_comparison(found, text, target))


if __name__ == "__main__":
    main()
