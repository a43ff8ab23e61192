"""``python -m medclf.ensemble RUN RUN [RUN ...]``: the mean of several runs, evaluated like a run. Imports no torch."""

import argparse

from medclf.cli.common import Parser, choose_output_folder, parse_path, run_command


def main() -> None:
    """Run the command line."""
    run_command(_parser(), ensemble)


def _parser() -> Parser:
    parser = Parser("python -m medclf.ensemble", description="Average the predictions of runs on the same images.")
    parser.add_argument("runs", nargs="+", type=parse_path, metavar="RUN", help="a finished run folder")
    parser.add_argument(
        "--output", type=parse_path, metavar="FOLDER", help="new or empty; by default one below runs/ensemble"
    )
    return parser


def ensemble(typed: argparse.Namespace) -> None:
    """Average, evaluate, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(typed.output, "ensemble")

    from medclf.composites.ensemble import build_ensemble  # pandas and Matplotlib, which --help does not pay

    build_ensemble(typed.runs, folder)


if __name__ == "__main__":
    main()
