"""``python -m medclf.export``: a trained model as one file for another runtime."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from medclf.cli import key_value
from medclf.config.schema import StrictModel
from medclf.exporting.formats import FormatName, check_installed, list_files
from medclf.exporting.samples import list_images
from medclf.inference.metadata import find_model_file
from medclf.inference.model_files import validate_model
from medclf.utils.process import importing_libraries


class ExportConfig(StrictModel):
    """Write a trained model as one file that needs no medclf, and compare it with the model on real images.

    python -m medclf.export run=RUN
    python -m medclf.export run=RUN format=openvino images=FOLDER
    python -m medclf.export model=best.pth format=torch output=model.pt2

    Images of 0 to 255 go in, resized as the .json beside the file says; calibrated probabilities and the class at the
    operating point come out. Classes and threshold are in the file too. What is not: whether an image is unlike the
    training images.
    """

    run: str | None = Field(None, description="run folder")
    model: str | None = Field(None, description="or best.pth, with best.json beside it")
    format: FormatName = Field("onnx", description="onnx (.onnx), torch (torch.export, .pt2) or openvino (.xml, .bin)")
    output: str | None = Field(None, description="file to write; null: in the folder export of the run")
    images: str | None = Field(None, description="folder of images to compare on; null: the run's validation and test")
    tolerance: Annotated[float, Field(gt=0, le=1)] = Field(
        1e-4, description="largest difference of a probability that is allowed"
    )
    trust_code: bool = Field(False, description="import and run a network of your own code")


def export(config: ExportConfig) -> None:
    """Write the file and say how far it is from the model.

    Raises:
        ConfigError, DataError: for what a user should mend.
    """
    path = find_model_file(config.run, config.model)
    facts = validate_model(path, config.trust_code)
    check_installed(config.format)
    folder = path.parent if config.run is None else Path(config.run)
    files = list_files(config.format, config.output, folder / "export", facts)
    if config.images is not None:
        list_images(config.images)
    with importing_libraries():
        from medclf.exporting import export  # torch: once what was typed is known to be right
        from medclf.inference.loading import load_model

    verified = export.export(load_model(path, config.trust_code), config.format, files, config.images, config.tolerance)
    export.report_export(files, verified, config.format)


def main() -> None:
    """Run the command line."""
    key_value.run_key_value_command(ExportConfig, export)


if __name__ == "__main__":
    main()
