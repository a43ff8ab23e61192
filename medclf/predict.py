"""``python -m medclf.predict``: a trained model on any images. Neither training data nor conf/ are needed."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from medclf.cli import key_value
from medclf.cli.common import default_output_folder, validate_writable
from medclf.config.limits import MAX_BATCH_SIZE, MAX_SHEET
from medclf.config.schema import Accelerator, StrictModel, TestTime
from medclf.inference.metadata import find_model_file
from medclf.inference.model_files import validate_model
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS, HIGHEST_MAX_MEGAPIXELS
from medclf.utils.process import exit_process, importing_libraries


class PredictConfig(StrictModel):
    """Predict the class of images with a trained model.

        python -m medclf.predict run=RUN input=FOLDER
        python -m medclf.predict run=RUN 'input=FOLDER/*.png' output=FOLDER sheet=60 grad_cam=true
        python -m medclf.predict model=best.pth input=TABLE.csv

    The output folder gets predictions.csv, a row an image: calibrated probabilities, the class at the threshold of the
    model, and a flag with its reason where an image cannot be read or is unlike those of the training. What broke off
    goes on where the same line is typed again, with its output=FOLDER.
    """

    run: str | None = Field(None, description="a run folder")
    model: str | None = Field(None, description="a best.pth, with its best.json beside it, instead of a run")
    input: str = Field(description="image, folder, glob between quotes, .zip, or .csv with a column path")
    output: str | None = Field(None, description="new or empty folder; null: one below runs/predict")
    tta: TestTime = Field("none", description="none, or flip: the mean over each image and its mirror image")
    batch_size: int = Field(32, ge=1, le=MAX_BATCH_SIZE, description="images at once")
    sheet: int = Field(
        0, ge=0, le=MAX_SHEET, description="how many of the first images are shown on pages, with what was predicted"
    )
    max_megapixels: float = Field(
        DEFAULT_MAX_MEGAPIXELS,
        gt=0,
        le=HIGHEST_MAX_MEGAPIXELS,
        description="an image of more millions of pixels is not decoded",
    )
    grad_cam: bool = Field(False, description="a picture of each image with what spoke for its class")
    accelerator: Accelerator = Field("auto", description="auto, cpu, gpu, mps")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] | None = Field(
        None, description="32-true, 16-mixed, bf16-mixed; null: as trained, and as the machine is built for"
    )
    trust_code: bool = Field(False, description="run a network of your own code")


def predict(config: PredictConfig) -> None:
    """Leave predictions in a folder. Raises ConfigError or DataError before that is made."""
    path = find_model_file(config.run, config.model)
    facts = validate_model(path, config.trust_code)
    from medclf.inference.inputs import find_inputs, validate_output_outside  # NumPy, which --help does not pay
    from medclf.inference.output import PredictionFolder, build_settings

    images = find_inputs(config.input)
    output = PredictionFolder(default_output_folder("predict") if config.output is None else Path(config.output))
    validate_output_outside(images, config.input, output.folder)
    validate_writable("output=", output.folder)
    settings = build_settings(config, path, images)
    output.refuse_other(settings)
    with importing_libraries():
        from medclf.inference.batch_predict import predict_to_folder  # torch: once what was typed is known to be right

    predict_to_folder(config, path, facts, images, output, settings)


def main() -> None:
    """Run the command line."""
    key_value.run_key_value_command(PredictConfig, predict)


if __name__ == "__main__":
    main()
    exit_process()
