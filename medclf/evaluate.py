"""``python -m medclf.evaluate``: judge the predictions of a run, anybody's predictions, or a model on other images."""

import sys
from pathlib import Path

from medclf.cli import hydra_app
from medclf.config.schema import EvaluateConfig
from medclf.config.validation import check_evaluate


def check(config: EvaluateConfig) -> None:
    """Refuse what cannot be judged. Raises ConfigError or DataError."""
    check_evaluate(config)
    if config.dataset is not None:
        from medclf.data.sources.discovery import check_root  # NumPy, which --help does not pay

        check_root(config.dataset)
    from medclf.reporting.validation import check_images, check_predicting, check_predictions  # pandas likewise

    check_predictions(config)
    check_images(config)
    check_predicting(config)


def evaluate(config: EvaluateConfig, folder: Path) -> None:
    """Leave figures, pictures and a report in a folder."""
    from medclf.reporting.run_evaluation import judge  # pandas and Matplotlib: once the config is known to be right

    judge(config, folder, hydra_app.typed_keys("evaluation"))


def main() -> None:
    """Run the command line."""
    # Hydra takes an entry that conf/ does not have only with a plus, and the names of classes it cannot have
    sys.argv[1:] = [f"++{word}" if word.startswith(("class_map.", "class_map=")) else word for word in sys.argv[1:]]
    hydra_app.run(evaluate, "evaluate", EvaluateConfig, check)


if __name__ == "__main__":
    main()
