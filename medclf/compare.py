"""``python -m medclf.compare RUN RUN [RUN ...]``: which is better on the same test images. Imports no torch."""

import argparse

from medclf.cli.common import Parser, a_path, add_bootstrap_options, new_folder, run, write_results

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
    add_bootstrap_options(parser)
    add("--output", type=a_path, metavar="FOLDER", help="new or empty; by default one below runs/compare")
    return parser


def compare(typed: argparse.Namespace) -> None:
    """Compare, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = new_folder(typed.output, "compare")

    from medclf.comparison import compare  # pandas and Matplotlib, which --help does not pay
    from medclf.reporting import comparison_report

    found = compare.compared(
        typed.runs, typed.metrics, typed.positive, typed.operating_point, typed.resamples, typed.seed
    )
    text = comparison_report.text(found)
    write_results(folder, text, lambda target: comparison_report.save(found, text, target))


if __name__ == "__main__":
    main()
