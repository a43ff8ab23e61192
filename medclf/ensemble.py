"""``python -m medclf.ensemble RUN RUN [RUN ...]``: the mean of several runs, evaluated like a run. Imports no torch."""

import argparse
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from medclf.config.arguments import Parser, run
from medclf.errors import ConfigError
from medclf.runs import is_used


def main() -> None:
    """Run the command line."""
    run(_parser(), ensemble)


def _parser() -> Parser:
    parser = Parser("python -m medclf.ensemble", description="Average the predictions of runs on the same images.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run folder")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="new or empty; by default one below runs/ensemble"
    )
    return parser


def ensemble(typed: argparse.Namespace) -> None:
    """Average, evaluate, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = typed.output or Path("runs", "ensemble", f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")
    if is_used(folder):
        raise ConfigError(f"--output {folder}: already holds something, and nothing is overwritten; name a new folder")

    from medclf.reporting.ensemble import conclude_ensemble  # pandas and Matplotlib, which --help does not pay

    conclude_ensemble(typed.runs, folder)


if __name__ == "__main__":
    main()
