"""``python -m medclf.compare RUN RUN [RUN ...]``: which is better on the same test images. Imports no torch."""

from pathlib import Path

from medclf.cli import key_value_arguments
from medclf.cli.results_folder import choose_output_folder, write_results
from medclf.config.command_schemas import CompareConfig


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(CompareConfig, compare, positional="runs")


def compare(config: CompareConfig) -> None:
    """Compare, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(config.output, "compare")

    from medclf.comparison import compare  # pandas and Matplotlib, which --help does not pay
    from medclf.reporting import comparison_report

    runs = [Path(run) for run in config.runs]
    found = compare.compare_sources(
        runs, config.metrics, config.positive, config.operating_point, config.resamples, config.seed
    )
    text = comparison_report.format_comparison(found)
    write_results(folder, text, lambda target: comparison_report.save_comparison(found, text, target))


if __name__ == "__main__":
    main()
