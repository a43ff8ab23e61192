"""``python -m medclf.evaluate``: judge the predictions of a run, anybody's predictions, or a model on other images."""

import sys
from pathlib import Path

from medclf.cli import hydra_app
from medclf.config.command_schemas import EvaluateConfig
from medclf.config.consistency_validation import validate_evaluate_config


def check(config: EvaluateConfig) -> None:
    """Refuse what cannot be judged. Raises ConfigError or DataError."""
    validate_evaluate_config(config)
    if config.dataset is not None:
        from medclf.data.sources.discovery import validate_root  # NumPy, which --help does not pay

        validate_root(config.dataset)
    from medclf.reporting.evaluate_input_validation import (  # pandas likewise
        validate_images,
        validate_predicting,
        validate_predictions,
    )

    validate_predictions(config)
    validate_images(config)
    validate_predicting(config)


def evaluate(config: EvaluateConfig, folder: Path) -> None:
    """Leave figures, pictures and a report in a folder."""
    from medclf.reporting.evaluate_command import (
        evaluate_run,  # pandas and Matplotlib: once the config is known to be right
    )

    evaluate_run(config, folder, hydra_app.get_typed_keys("evaluation"))


def main() -> None:
    """Run the command line."""
    # Hydra takes an entry that conf/ does not have only with a plus, and the names of classes it cannot have
    sys.argv[1:] = [f"++{word}" if word.startswith(("class_map.", "class_map=")) else word for word in sys.argv[1:]]
    hydra_app.run_hydra_command(evaluate, "evaluate", EvaluateConfig, check)


if __name__ == "__main__":
    main()
