"""``python -m medclf.prepare``: fetch a dataset where it can be had, check it, and prepare its images for training."""

from pathlib import Path

from medclf.cli import hydra_app
from medclf.config.command_schemas import PrepareConfig
from medclf.config.consistency_validation import validate_dataset_config


def check(config: PrepareConfig) -> None:
    """Refuse a config whose parts do not fit, a root that is missing and cannot be fetched, and a wrong export folder.

    Raises ConfigError or DataError.
    """
    from medclf.data.quick_checks import validate_export_folder  # pandas, which --help does not pay
    from medclf.data.sources.discovery import validate_root

    validate_dataset_config(config.dataset)
    validate_export_folder(config)
    if config.dataset.kaggle is None or not config.download:
        validate_root(config.dataset)


def prepare(config: PrepareConfig, folder: Path) -> None:
    """Download where that is possible and needed, extract, build the image store, export where asked."""
    from medclf.data.preparation import prepare_dataset

    prepare_dataset(config, folder)


def main() -> None:
    """Run the command line."""
    hydra_app.run_hydra_command(prepare, "prepare", PrepareConfig, check)


if __name__ == "__main__":
    main()
