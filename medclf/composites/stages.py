"""The two stages of a cascade: finished runs, and whether they fit together. Imports no torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medclf.config.run_file_schemas import read_config
from medclf.inference.composite_model_files import validate_model
from medclf.inference.model_metadata import ModelMetadata, find_model_file
from medclf.utils.errors import ConfigError, format_list
from medclf.utils.run_folder import Run


@dataclass(frozen=True)
class Stage:
    """A stage: how it was typed, the run, the ``best.json`` of its model and what that says."""

    key: str
    run: Run
    model: Path
    facts: ModelMetadata

    @cached_property
    def config(self) -> dict[str, Any]:
        """Return the configuration of the run."""
        return read_config(self.run)

    def __str__(self) -> str:
        return f"{self.key}={self.run.shown}"


@dataclass(frozen=True)
class Stages:
    """Stages that fit together.

    ``first`` tells the class ``gate``, which is healthy, from the rest; ``second`` tells ``diseases`` apart.
    """

    first: Stage
    second: Stage
    gate: str
    diseases: list[str]

    @property
    def classes(self) -> list[str]:
        """Return the classes of the cascade, in the order of its probabilities."""
        return [self.gate, *self.diseases]


def read_stages(stage1: str, stage2: str, trust_code: bool = False) -> Stages:
    """Read two runs that are to be stages.

    Args:
        stage1: the folder of a run of two classes.
        stage2: the folder of a run of two or more diseases.
        trust_code: whether the stages may be networks of the user's own code.

    Raises:
        ConfigError, DataError: for what is no finished run with a model, and stages that do not fit together.
    """
    if Path(stage1).resolve() == Path(stage2).resolve():
        raise ConfigError(f"stage1={stage1} stage2={stage2}: are the same run, given twice")
    first, second = _stage("stage1", stage1, trust_code), _stage("stage2", stage2, trust_code)
    classes = first.facts.classes
    if len(classes) != 2 or first.facts.gate is None:
        raise ConfigError(
            f"{first}: has {len(classes)} classes ({format_list(classes)}), and the first stage tells one healthy "
            "class "
            "from one that is ill; several are joined so: 'dataset.classes=[HEALTHY,ILL]' "
            "'+dataset.class_folders={HEALTHY: FOLDER, ILL: [FOLDER, FOLDER]}'"
        )
    gate = first.facts.gate
    diseases = [name for name in second.facts.classes if name != gate]
    if len(diseases) < 2:
        raise ConfigError(
            f"{second}: its classes are {format_list(second.facts.classes)}, and the second stage tells apart two "
            f"diseases or more beside {gate}, the healthy class of {first}"
        )
    return Stages(first, second, gate, diseases)


def _stage(key: str, folder: str, trust_code: bool) -> Stage:
    run = Run(Path(folder))
    try:
        model = find_model_file(folder, None)
    except ConfigError as error:
        raise ConfigError(str(error).replace("run=", f"{key}=", 1)) from error
    if run.status != "finished":
        raise ConfigError(f"{key}={folder}: is no run that has finished (its status: {run.status or 'no run.json'})")
    missing = [path.name for path in (run.config, run.splits, run.predictions) if not path.is_file()]
    if missing:
        raise ConfigError(f"{key}={folder}: {format_list(missing)} is not there; was it moved or deleted?")
    return Stage(key, run, model, validate_model(model, trust_code))
