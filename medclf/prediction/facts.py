"""What must be known to use a trained model: best.json, which lies beside its weights. Imports no torch."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medclf import __version__
from medclf.config.schema import Form
from medclf.errors import ConfigError, DataError
from medclf.runs import Run, read_json

FORMAT = 1
"""Changes when an older medclf could not use the model rightly."""
OURS = re.compile(r"(medclf\.models\.(backbones|heads)|torch\.nn|torchvision\.models)\.\w+")
"""What a network may be made of without the user's word that its code is to be trusted."""


class Point(BaseModel):
    """How the class is decided; ``gate`` is the class that the threshold holds back, of two the negative one."""

    rule: str
    threshold: float | None
    words: str
    gate: str | None = None


class Part(BaseModel):
    """The parts of a network, by what Hydra builds them from."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    backbone: dict[str, Any]
    head: dict[str, Any]


class Preprocessing(Form):
    """The form of the images, and mean and standard deviation of each channel for pixels of 0 to 1."""

    mean: list[float]
    sd: list[float]


class Facts(BaseModel):
    """What ``best.json`` holds. One network, an ``ensemble`` of ``members`` or a ``cascade`` of two of them.

    ``members`` are paths of their best.json below this one. ``threshold`` and ``temperature`` are explained by
    ``medclf.training.saving``; ``positive`` is the class that sensitivity is about, of two.
    """

    model_config = ConfigDict(protected_namespaces=())

    format: int = 0
    kind: Literal["network", "ensemble", "cascade"] = "network"
    classes: list[str]
    positive: str | None
    operating_point: Point
    temperature: float
    dataset: str
    model: Part | None = None
    output: Literal["softmax", "sigmoid"] = "softmax"
    preprocessing: Preprocessing | None = None
    precision: Literal["float32", "mixed"] | None = None
    members: list[str] = []

    @property
    def gate(self) -> str | None:
        """The class that the threshold holds back."""
        if self.operating_point.gate is not None or self.positive is None:
            return self.operating_point.gate
        return next(name for name in self.classes if name != self.positive)


def model_file(run: str | None, model: str | None) -> Path:
    """The ``best.json`` that is meant by ``run=RUN`` or ``model=best.pth``.

    Raises:
        ConfigError: when neither or both are said, or it is not there: with what is.
    """
    if (run is None) == (model is None):
        raise ConfigError("say which model: run=RUN (a run folder) or model=FILE (its best.pth), one of them")
    if run is not None:
        return _of_run(Run(Path(run)))
    path = Path(str(model))
    if path.is_dir():
        raise ConfigError(f"model={model}: is a folder; a run folder is named by run={model}")
    if not path.is_file():
        raise ConfigError(f"model={model}: no such file")
    if path.suffix not in (".pth", ".json"):
        raise ConfigError(f"model={model}: is no best.pth; a checkpoint of training is used by run=RUN")
    facts = path.with_suffix(".json")
    if not facts.is_file():
        raise ConfigError(f"model={model}: {facts.name} must lie beside it: what one must know to use the weights")
    return facts


def _of_run(run: Run) -> Path:
    if not run.folder.is_dir():
        raise ConfigError(f"run={run.folder}: there is no such folder")
    facts = run.best_facts
    if facts.is_file():
        return facts
    if run.status is None:
        raise ConfigError(f"run={run.folder}: is no run folder (run.json is not there)")
    if run.status != "finished":
        raise ConfigError(
            f"run={run.folder}: has not finished ({run.status}) and has no model; go on with it: "
            f"python -m medclf.train resume={run.folder}"
        )
    raise ConfigError(f"run={run.folder}: has no model: checkpoints/{facts.name} is not there")


def read_facts(path: Path) -> Facts:
    """Read a ``best.json``.

    Raises:
        DataError: for one that is damaged, or of a newer medclf.
    """
    content = read_json(path)
    version = content.get("format", 0) if isinstance(content, dict) else 0
    if isinstance(version, int) and version > FORMAT:
        by = content.get("versions", {}).get("medclf", "a newer release")
        raise DataError(
            f"{path}: the model is of format {version}, written by medclf {by}; this is medclf {__version__}, which "
            f"reads formats up to {FORMAT}; install a newer one"
        )
    try:
        return Facts.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: does not describe a model: {key}: {first['msg']}") from error


def network_of(path: Path, facts: Facts, trust_code: bool) -> tuple[Part, Preprocessing]:
    """The parts of a model that is one network, and the form of its images.

    Args:
        path: of its ``best.json``.
        facts: read from it.
        trust_code: whether code of the user's own may be imported and run.

    Raises:
        DataError: where they are not told.
        ConfigError: for code that is not ours and not trusted.
    """
    if facts.model is None or facts.preprocessing is None:
        older = "; an older medclf wrote it, so train anew" if facts.format == 0 else ""
        raise DataError(f"{path}: does not say of what its network is built, and of what images{older}")
    for target in _targets([facts.model.backbone, facts.model.head]):
        if not trust_code and not OURS.fullmatch(target):
            raise ConfigError(
                f"{path}: the network is {target}, code that is not medclf's; if it is yours, add trust_code=true"
            )
    return facts.model, facts.preprocessing


def _targets(node: Any) -> Iterator[str]:
    """Every import path that Hydra would follow in a node."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    for inner in node if isinstance(node, list) else ():
        yield from _targets(inner)
