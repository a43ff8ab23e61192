"""The options of every command but train: names, types, ranges and what ``--help`` says of them."""

from typing import Annotated, Literal

from pydantic import Field

from medclf.config.field_types import Fraction, OutputFolder, PathText, Seed, Text
from medclf.config.limits import MAX_BATCH_SIZE, MAX_RESAMPLES, MAX_SHEET
from medclf.config.schema import DatasetConfig, EvaluationConfig, StrictModel, TestTime, TypedModel
from medclf.config.trainer_schema import Accelerator, Precision
from medclf.utils.file_limits import DEFAULT_MAX_MEGAPIXELS, HIGHEST_MAX_MEGAPIXELS

FormatName = Literal["onnx", "torch", "openvino"]
RuleName = Literal["half", "youden", "sensitivity", "specificity", "cost"]
"""Those of ``medclf.evaluation.operating_point``."""
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Resamples = Annotated[int, Field(ge=100, le=MAX_RESAMPLES)]


class AuditConfig(TypedModel):
    """The whole configuration of ``python -m medclf.audit``."""

    dataset: DatasetConfig


class PrepareConfig(TypedModel):
    """The whole configuration of ``python -m medclf.prepare``; ``export`` is a folder for the prepared images."""

    dataset: DatasetConfig
    download: bool
    export: PathText | None


class EvaluateConfig(TypedModel):
    """The whole configuration of ``python -m medclf.evaluate``: a ``run`` or a table of ``predictions``.

    With ``dataset`` the run's model is tested on its images; ``class_map`` gives the model's name of a class there, or
    None to leave its images out. With ``tta`` and no ``dataset`` it predicts its own images again. ``trust_code`` lets
    the model be of the user's own code.
    """

    run: PathText | None
    predictions: PathText | None
    positive: Text | None
    dataset: DatasetConfig | None = None
    class_map: dict[Text, Text | None]
    tta: TestTime
    accelerator: Accelerator
    precision: Precision | None
    trust_code: bool
    evaluation: EvaluationConfig


class PredictConfig(StrictModel):
    """Predict the class of images with a trained model.

        python -m medclf.predict run=RUN input=FOLDER
        python -m medclf.predict run=RUN 'input=FOLDER/*.png' output=FOLDER sheet=60 grad_cam=true
        python -m medclf.predict model=best.pth input=TABLE.csv

    The output folder gets predictions.csv, a row an image: calibrated probabilities, the class at the threshold of the
    model, and a flag with its reason where an image cannot be read or is unlike those of the training. To
    resume an interrupted prediction, type the same line again with its output=FOLDER.
    """

    run: str | None = Field(None, description="a run folder")
    model: str | None = Field(None, description="a best.pth, with its best.json beside it, instead of a run")
    input: str = Field(description="image, folder, glob between quotes, .zip, or .csv with a column path")
    output: OutputFolder | None = Field(None, description="new or empty folder; null: one below runs/predict")
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


class ExportConfig(StrictModel):
    """Write a trained model as one file that needs no medclf, and compare it with the model on real images.

    python -m medclf.export run=RUN
    python -m medclf.export run=RUN format=openvino images=FOLDER
    python -m medclf.export model=best.pth format=torch output=FOLDER

    Images of 0 to 255 go in, resized as the .json beside the file says; calibrated probabilities and the class at the
    operating point come out. Classes and threshold are in the file too. What is not: whether an image is unlike the
    training images.
    """

    run: str | None = Field(None, description="run folder")
    model: str | None = Field(None, description="or best.pth, with best.json beside it")
    format: FormatName = Field("onnx", description="onnx (.onnx), torch (torch.export, .pt2) or openvino (.xml, .bin)")
    output: OutputFolder | None = Field(None, description="folder to write the file into; null: export in the run")
    images: str | None = Field(None, description="folder of images to compare on; null: the run's validation and test")
    tolerance: Annotated[float, Field(gt=0, le=1)] = Field(
        1e-4, description="largest difference of a probability that is allowed"
    )
    trust_code: bool = Field(False, description="import and run a network of your own code")


class CascadeConfig(StrictModel):
    """Join two runs into a two-stage system: the first tells healthy from ill, the second the diseases apart.

    python -m medclf.cascade stage1=RUN stage2=RUN
    python -m medclf.cascade stage1=RUN stage2=RUN target=0.98 output=FOLDER

    The threshold of stage 1 is chosen on its validation images, for the target sensitivity. What comes of it is judged
    on stage 1's test images like a run, and beside either stage alone; the folder has the two as one model. No picture
    that is judged may be in another split of stage 2: train that one with dataset.splits.file=STAGE1/splits.csv.
    """

    stage1: str = Field(description="a finished run of two classes, one of them healthy (the one that is not positive)")
    stage2: str = Field(description="a finished run of two or more diseases, with or without the healthy class")
    target: Fraction = Field(0.95, description="the sensitivity that stage 1 is to have on validation")
    output: OutputFolder | None = Field(None, description="new or empty folder; null: one below runs/cascade")
    accelerator: Accelerator = Field("auto", description="auto, cpu, gpu, mps")
    trust_code: bool = Field(False, description="true: the stages may be networks of your own code, which is run")


class CompareConfig(StrictModel):
    """Compare classifiers on the same test images: differences with intervals, paired tests, conclusions.

    python -m medclf.compare RUN RUN
    python -m medclf.compare RUN RUN 'metrics=[auroc_macro,sensitivity]' output=FOLDER

    The output folder gets comparison.md, comparison.csv, table.csv and differences.png.
    """

    runs: Names = Field(description="finished run folders or predictions tables (CSV), two or more")
    metrics: Names | None = Field(None, description="[NAME,NAME]; null: a choice for the number of classes")
    positive: str | None = Field(
        None, description="positive class of two, for runs that do not state one; null: the last of the two"
    )
    operating_point: RuleName | None = Field(
        None,
        description="half, youden, sensitivity, specificity or cost: chosen on validation, for runs that bring none; "
        "null: half",
    )
    resamples: Resamples = Field(2000, description="resamples of the bootstrap")
    seed: Seed = Field(0, description="seed of the bootstrap")
    output: OutputFolder | None = Field(None, description="new or empty folder; null: one below runs/compare")


class ReportConfig(StrictModel):
    """Show all runs in or below folders in one table and one page.

    python -m medclf.report runs
    python -m medclf.report runs where=model.name=cnn 'columns=[optimizer.lr,seed]' output=FOLDER
    """

    folders: Names = Field(description="folders with runs in or below them")
    metrics: Names | None = Field(None, description="[NAME,NAME] as in the test part of metrics.json; null: three")
    columns: tuple[str, ...] = Field((), description="[KEY,KEY] of the configuration to show, such as optimizer.lr")
    where: tuple[str, ...] = Field((), description="[KEY=VALUE,KEY=VALUE]: only runs that have all of these")
    resamples: Resamples = Field(2000, description="resamples of the bootstrap")
    seed: Seed = Field(0, description="seed of the bootstrap")
    output: OutputFolder | None = Field(None, description="new or empty folder; null: one below runs/report")


class EnsembleConfig(StrictModel):
    """Average the predictions of runs on the same images; the result is a run and a model like any other.

    python -m medclf.ensemble RUN RUN RUN output=FOLDER
    """

    runs: Names = Field(description="finished run folders, two or more")
    output: OutputFolder | None = Field(None, description="new or empty folder; null: one below runs/ensemble")


class DemoConfig(StrictModel):
    """A page in the browser on which one drops an image and sees what a trained model says of it.

        python -m medclf.demo run=RUN
        python -m medclf.demo model=best.pth port=8000

    It is open to this machine alone, keeps no image and needs no internet. For research: it is no medical device.
    """

    run: str | None = Field(None, description="a run folder")
    model: str | None = Field(None, description="a best.pth, with its best.json beside it, instead of a run")
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = Field("auto", description="auto, cpu, gpu, mps")
    trust_code: bool = Field(False, description="run a network of your own code")
    port: int = Field(7860, ge=0, le=65535, description="where the page is, http://127.0.0.1:PORT; 0: any that is free")
    max_mb: float = Field(20, gt=0, le=1024, description="a larger file is refused")
    max_megapixels: float = Field(
        DEFAULT_MAX_MEGAPIXELS,
        gt=0,
        le=HIGHEST_MAX_MEGAPIXELS,
        description="an image of more millions of pixels is not decoded",
    )
