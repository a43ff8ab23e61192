"""``python -m medclf.train``: train, test and log one classifier; with ``-m`` a sweep of them."""

from pathlib import Path

from medclf.cli import hydra_app
from medclf.config.schema import Config
from medclf.utils.process import importing, leave


def check(config: Config) -> None:
    """Refuse what cannot be trained. Raises ConfigError or DataError."""
    from medclf.config.validation import check as check_config
    from medclf.data.dataset_validation import check_images  # pandas, which --help does not pay

    check_config(config)
    check_images(config)


def train(config: Config, folder: Path) -> float:
    """Train into a run folder. Returns the best value of ``monitor``, which a sweep can optimise."""
    with importing():
        from medclf.training.run import train_and_test  # torch and lightning: once the config is known to be right

    return train_and_test(config, folder)


def main() -> None:
    """Run the command line."""
    hydra_app.run(train, "train", Config, check)


if __name__ == "__main__":
    main()
    leave()
