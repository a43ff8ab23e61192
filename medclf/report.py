"""``python -m medclf.report FOLDER [FOLDER ...]``: all runs below folders as one table and page. Imports no torch."""

from pathlib import Path

from medclf.cli import key_value_arguments
from medclf.cli.results_folder import choose_output_folder, write_results
from medclf.config.command_schemas import ReportConfig


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(ReportConfig, report, positional="folders")


def report(config: ReportConfig) -> None:
    """Report, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(config.output, "report")

    from medclf.overview import markdown, overview, write_overview

    folders = [Path(folder) for folder in config.folders]
    found = overview.build_overview(
        folders, config.metrics, config.columns, config.where, config.resamples, config.seed
    )
    text = markdown.format_overview(found)
    write_results(folder, text, lambda target: write_overview.save_overview(found, text, target))


if __name__ == "__main__":
    main()
