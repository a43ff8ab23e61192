"""``python -m medclf.ensemble RUN RUN [RUN ...]``: the mean of several runs, evaluated like a run. Imports no torch."""

from pathlib import Path

from medclf.cli import key_value_arguments
from medclf.cli.results_folder import choose_output_folder
from medclf.config.command_schemas import EnsembleConfig


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(EnsembleConfig, ensemble, positional="runs")


def ensemble(config: EnsembleConfig) -> None:
    """Average, evaluate, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(config.output, "ensemble")

    from medclf.composites.ensemble import build_ensemble  # pandas and Matplotlib, which --help does not pay

    build_ensemble([Path(run) for run in config.runs], folder)


if __name__ == "__main__":
    main()
