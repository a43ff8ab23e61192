"""``python -m medclf.predict``: a trained model on any images. Neither training data nor conf/ are needed."""

from pathlib import Path

from medclf.cli import key_value_arguments
from medclf.cli.results_folder import default_output_folder, validate_writable
from medclf.config.command_schemas import PredictConfig
from medclf.inference.composite_model_files import validate_model
from medclf.inference.model_metadata import find_model_file
from medclf.utils.process_lifecycle import exit_process, importing_libraries


def predict(config: PredictConfig) -> None:
    """Leave predictions in a folder. Raises ConfigError or DataError before that is made."""
    path = find_model_file(config.run, config.model)
    facts = validate_model(path, config.trust_code)
    from medclf.inference.inputs import find_inputs, validate_output_outside  # NumPy, which --help does not pay
    from medclf.inference.output import PredictionFolder, build_settings

    images = find_inputs(config.input)
    output = PredictionFolder(default_output_folder("predict") if config.output is None else Path(config.output))
    validate_output_outside(images, config.input, output.folder)
    validate_writable(output.folder)
    settings = build_settings(config, path, images)
    output.refuse_other(settings)
    with importing_libraries():
        from medclf.inference.batch_predict import predict_to_folder  # torch: once what was typed is known to be right

    predict_to_folder(config, path, facts, images, output, settings)


def main() -> None:
    """Run the command line."""
    key_value_arguments.run_key_value_command(PredictConfig, predict)


if __name__ == "__main__":
    main()
    exit_process()
