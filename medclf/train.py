"""``python -m medclf.train``: train, test and log one classifier; with ``-m`` a sweep of them."""

from pathlib import Path
from typing import TYPE_CHECKING

from medclf.cli import hydra_app
from medclf.config.schema import TrainConfig
from medclf.utils.process_lifecycle import exit_process, importing_libraries

if TYPE_CHECKING:
    from medclf.data.build_image_table import RunImages  # pandas, which --help does not import


def check(config: TrainConfig) -> None:
    """Refuse what cannot be trained. Raises ConfigError or DataError."""
    from medclf.config.consistency_validation import validate_train_config as check_config
    from medclf.data.quick_checks import validate_image_files  # pandas, which --help does not pay

    check_config(config)
    validate_image_files(config)


def train(config: TrainConfig, folder: Path, images: "RunImages | None" = None) -> float:
    """Train into a run folder.

    Args:
        config: of the run.
        folder: of the run.
        images: of the run, where they are scanned already.

    Returns:
        The best value of ``monitor``, which a sweep can optimise.
    """
    with importing_libraries():
        from medclf.training.run import train_and_test  # torch and lightning: once the config is known to be right

    return train_and_test(config, folder, images)


def main() -> None:
    """Run the command line."""
    hydra_app.run_hydra_command(train, "train", TrainConfig, check)


if __name__ == "__main__":
    main()
    exit_process()
