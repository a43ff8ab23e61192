"""``python -m medclf.report FOLDER [FOLDER ...]``: all runs below folders as one table and page. Imports no torch."""

import argparse

from medclf.config.arguments import Parser, a_path, new_folder, run, whole_number
from medclf.config.limits import MAX_RESAMPLES, MAX_SEED
from medclf.errors import ConfigError, listed
from medclf.terminal import say
from medclf.write_errors import reason


def main() -> None:
    """Run the command line."""
    run(_parser(), report)


def _parser() -> Parser:
    parser = Parser("python -m medclf.report", description="All runs below folders as one table and one page.")
    add = parser.add_argument
    add("folders", nargs="+", type=a_path, metavar="FOLDER", help="every run in it or below is reported")
    add("--metrics", metavar="NAME,NAME", help="of test, as metrics.json has them; by default three")
    add("--columns", metavar="KEY,KEY", help="keys of the configuration to be shown, as optimizer.lr")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs that have it; may be repeated")
    add(
        "--resamples",
        type=whole_number(100, MAX_RESAMPLES),
        default=2000,
        metavar="N",
        help="of the bootstrap (default 2000)",
    )
    add("--seed", type=whole_number(0, MAX_SEED), default=0, metavar="N", help="of the bootstrap (default 0)")
    add("--output", type=a_path, metavar="FOLDER", help="new or empty; by default one below runs/report")
    return parser


def report(typed: argparse.Namespace) -> None:
    """Report, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = new_folder(typed.output, "report")

    from medclf.overview import result, saving, words  # pandas and Matplotlib, which --help does not pay

    found = result.overview(typed.folders, typed.metrics, typed.columns, typed.where, typed.resamples, typed.seed)
    text = words.text(found)
    try:
        saving.save(found, text, folder)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be written: {reason(error)}; name a folder elsewhere") from error
    files = listed(sorted(file.name for file in folder.iterdir()))
    say(f"{text}\nWritten to {folder.as_posix()}: {files}\n")


if __name__ == "__main__":
    main()
