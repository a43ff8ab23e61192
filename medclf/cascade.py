"""``python -m medclf.cascade stage1=RUN stage2=RUN``: healthy or ill, and then which disease. Imports no torch."""

from pathlib import Path

from pydantic import Field

from medclf.cli import key_value
from medclf.cli.common import choose_output_folder
from medclf.config.schema import Accelerator, Fraction, StrictModel


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
    output: str | None = Field(None, description="a new or empty folder; by default one below runs/cascade")
    accelerator: Accelerator = Field("auto", description="auto, cpu, gpu, mps")
    trust_code: bool = Field(False, description="true: the stages may be networks of your own code, which is run")


def main() -> None:
    """Run the command line."""
    key_value.run_key_value_command(CascadeConfig, cascade)


def cascade(config: CascadeConfig) -> None:
    """Join, judge, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = choose_output_folder(None if config.output is None else Path(config.output), "cascade", "output=")

    from medclf.composites.stages import read_stages  # pandas, which --help does not pay

    stages = read_stages(config.stage1, config.stage2, config.trust_code)

    from medclf.composites.cascade import build_cascade  # torch and Matplotlib likewise

    build_cascade(stages, folder, config.target, config.accelerator, config.trust_code)


if __name__ == "__main__":
    main()
