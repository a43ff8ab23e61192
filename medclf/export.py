"""``python -m medclf.export``: a trained model as one file for another runtime."""

from pathlib import Path

from medclf.cli import key_value_arguments
from medclf.cli.results_folder import validate_writable
from medclf.config.command_schemas import ExportConfig
from medclf.exporting.formats import check_installed, list_files
from medclf.exporting.samples import list_images
from medclf.inference.composite_model_files import validate_model
from medclf.inference.model_metadata import find_model_file
from medclf.utils.process_lifecycle import importing_libraries


def export(config: ExportConfig) -> None:
    """Write the file into a folder and say how far it is from the model.

    Raises:
        ConfigError, DataError: for what a user should mend.
    """
    path = find_model_file(config.run, config.model)
    facts = validate_model(path, config.trust_code)
    check_installed(config.format)
    folder = (path.parent if config.run is None else Path(config.run)) / "export"
    if config.output is not None:
        folder = Path(config.output)
    validate_writable(folder)
    files = list_files(config.format, folder, facts)
    if config.images is not None:
        list_images(config.images)
    with importing_libraries():
        from medclf.exporting import export  # torch: once what was typed is known to be right
        from medclf.inference.loading import load_model

    verified = export.export(load_model(path, config.trust_code), config.format, files, config.images, config.tolerance)
    export.report_export(files, verified, config.format)


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(ExportConfig, export)


if __name__ == "__main__":
    main()
