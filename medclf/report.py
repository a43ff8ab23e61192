"""``python -m medclf.report FOLDER [FOLDER ...]``: all runs below folders as one table and page. Imports no torch."""

import argparse

from medclf.cli.common import (
    Parser,
    add_bootstrap_options,
    choose_output_folder,
    parse_path,
    run_command,
    write_results,
)


def main() -> None:
    """Run the command line."""
    run_command(_parser(), report)


def _parser() -> Parser:
    parser = Parser("python -m medclf.report", description="All runs below folders as one table and one page.")
    add = parser.add_argument
    add("folders", nargs="+", type=parse_path, metavar="FOLDER", help="every run in it or below is reported")
    add("--metrics", metavar="NAME,NAME", help="of test, as metrics.json has them; by default three")
    add("--columns", metavar="KEY,KEY", help="keys of the configuration to be shown, as optimizer.lr")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs that have it; may be repeated")
    add_bootstrap_options(parser)
    add("--output", type=parse_path, metavar="FOLDER", help="new or empty; by default one below runs/report")
    return parser


def report(typed: argparse.Namespace) -> None:
    """Report, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(typed.output, "report")

    from medclf.overview import (
        markdown,  # pandas and Matplotlib, which --help does not pay
        overview,
        write,
    )

    found = overview.build_overview(
        typed.folders, typed.metrics, typed.columns, typed.where, typed.resamples, typed.seed
    )
    text = markdown.format_overview(found)
    write_results(folder, text, lambda target: write.save_overview(found, text, target))


if __name__ == "__main__":
    main()
