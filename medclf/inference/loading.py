"""A trained model from its files: ``best.json`` and the weights beside it. Neither data nor configs are needed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from medclf.config.schema import ImageSpecConfig
from medclf.inference.composite_model_files import validate_model
from medclf.inference.model_metadata import ModelMetadata, get_network_config, is_builtin, read_metadata
from medclf.inference.ood import OODDetector
from medclf.inference.probability_models import (
    CalibratedNetwork,
    CascadeModel,
    Classifier,
    EnsembleModel,
    ProbabilityModel,
)
from medclf.models.network import Network, build_network
from medclf.models.weights import fill_meta, fill_weights
from medclf.utils.errors import DataError, MedclfError
from medclf.utils.file_digests import NOVELTY

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A model that can be used.

    ``forms`` are those in which it takes images, each once. ``novelty`` tells what is unlike the training images; None
    where the model brings none.
    """

    path: Path
    facts: ModelMetadata
    classifier: Classifier
    forms: list[ImageSpecConfig] = field(default_factory=list)
    novelty: OODDetector | None = None

    @property
    def classes(self) -> list[str]:
        """Return the classes in the order of the probabilities."""
        return self.facts.classes


def load_model(path: Path, trust_code: bool = False) -> Model:
    """Load a model.

    Args:
        path: of its ``best.json``.
        trust_code: whether a network of the user's own code may be imported and run.

    Raises:
        DataError: for files that are missing, damaged or do not fit each other.
        ConfigError: for code that is not ours and not trusted.
    """
    validate_model(path, trust_code)
    forms: list[ImageSpecConfig] = []
    facts, joint = _load(path, forms, trust_code)
    point = facts.operating_point
    gate = None if facts.gate is None else facts.classes.index(facts.gate)
    classifier = Classifier(joint, facts.temperature, point.threshold, gate).eval()
    return Model(path, facts, classifier, forms, _novelty(path, facts))


def _load(path: Path, forms: list[ImageSpecConfig], trust_code: bool) -> tuple[ModelMetadata, ProbabilityModel]:
    facts = read_metadata(path)
    if facts.kind == "network":
        return facts, _part(path, facts, forms, trust_code)
    members = [_load(path.parent / member, forms, trust_code) for member in facts.members]
    joints = [joint for _, joint in members]
    if facts.kind == "ensemble":
        if not members or any(member.classes != facts.classes for member, _ in members):
            raise DataError(f"{path}: the members are not of its classes")
        return facts, EnsembleModel(joints)
    return facts, _two_stages(path, facts, [member for member, _ in members], joints)


def _two_stages(
    path: Path, facts: ModelMetadata, stages: list[ModelMetadata], joints: list[ProbabilityModel]
) -> CascadeModel:
    gate, *diseases = facts.classes
    if len(stages) != 2 or gate not in stages[0].classes or not set(diseases) <= set(stages[1].classes):
        raise DataError(f"{path}: the stages are not of its classes")
    places = [stages[1].classes.index(name) for name in diseases]
    return CascadeModel(joints[0], joints[1], stages[0].classes.index(gate), places)


def _part(path: Path, facts: ModelMetadata, forms: list[ImageSpecConfig], trust_code: bool) -> CalibratedNetwork:
    parts, seen = get_network_config(path, facts, trust_code)
    form = ImageSpecConfig.model_validate(seen.model_dump(include=set(ImageSpecConfig.model_fields)))
    if form not in forms:
        forms.append(form)
    config = {**parts.model_dump(), "activation": facts.activation, "frozen": False, "unfreeze_at": None}
    build = partial(build_network, config, seen.mean, seen.sd, seen.image_size, len(facts.classes), trust_code)
    try:
        network = _filled(build, is_builtin(parts), path.with_suffix(".pth"))
    except MedclfError as error:
        raise DataError(f"{path}: {str(error).replace('model.weights=', '', 1)}") from error
    return CalibratedNetwork(network.eval(), forms.index(form))


def _filled(build: Callable[[], Network], known: bool, weights: Path) -> Network:
    """Build a network with the weights of a file.

    One of known parts is built without memory first, so that it takes no more than its weights do, whatever numbers
    describe it. Code of the user's own is built as it is.
    """
    if not known:
        network = build()
        fill_weights(network, weights)
        return network
    with torch.device("meta"):
        network = build()
    return fill_meta(network, weights)


def _novelty(path: Path, facts: ModelMetadata) -> OODDetector | None:
    return OODDetector.load(path.with_name(NOVELTY)) if NOVELTY in facts.sha256 else None
