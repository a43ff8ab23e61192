"""``python -m medclf.ensemble RUN RUN [RUN ...]``: the mean of several runs, evaluated like a run. Imports no torch."""

import argparse

from medclf.cli.common import Parser, a_path, new_folder, run


def main() -> None:
    """Run the command line."""
    run(_parser(), ensemble)


def _parser() -> Parser:
    parser = Parser("python -m medclf.ensemble", description="Average the predictions of runs on the same images.")
    parser.add_argument("runs", nargs="+", type=a_path, metavar="RUN", help="a finished run folder")
    parser.add_argument(
        "--output", type=a_path, metavar="FOLDER", help="new or empty; by default one below runs/ensemble"
    )
    return parser


def ensemble(typed: argparse.Namespace) -> None:
    """Average, evaluate, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = new_folder(typed.output, "ensemble")

    from medclf.composites.ensemble import conclude_ensemble  # pandas and Matplotlib, which --help does not pay

    conclude_ensemble(typed.runs, folder)


if __name__ == "__main__":
    main()
