"""A trained model from its files: ``best.json`` and the weights beside it. Neither data nor configs are needed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from medclf.config.schema import Form
from medclf.inference.metadata import Facts, is_known, network_of, read_facts
from medclf.inference.model_files import check_model
from medclf.inference.modules import Classifier, Joint, Mean, Part, TwoStages
from medclf.inference.ood import Novelty
from medclf.models.network import Network, build_network
from medclf.models.weights import fill, fill_meta
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
    facts: Facts
    classifier: Classifier
    forms: list[Form] = field(default_factory=list)
    novelty: Novelty | None = None

    @property
    def classes(self) -> list[str]:
        """In the order of the probabilities."""
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
    check_model(path, trust_code)
    forms: list[Form] = []
    facts, joint = _load(path, forms, trust_code)
    point = facts.operating_point
    gate = None if facts.gate is None else facts.classes.index(facts.gate)
    classifier = Classifier(joint, facts.temperature, point.threshold, gate).eval()
    return Model(path, facts, classifier, forms, _novelty(path, facts))


def _load(path: Path, forms: list[Form], trust_code: bool) -> tuple[Facts, Joint]:
    facts = read_facts(path)
    if facts.kind == "network":
        return facts, _part(path, facts, forms, trust_code)
    members = [_load(path.parent / member, forms, trust_code) for member in facts.members]
    joints = [joint for _, joint in members]
    if facts.kind == "ensemble":
        if not members or any(member.classes != facts.classes for member, _ in members):
            raise DataError(f"{path}: the members are not of its classes")
        return facts, Mean(joints)
    return facts, _two_stages(path, facts, [member for member, _ in members], joints)


def _two_stages(path: Path, facts: Facts, stages: list[Facts], joints: list[Joint]) -> TwoStages:
    gate, *diseases = facts.classes
    if len(stages) != 2 or gate not in stages[0].classes or not set(diseases) <= set(stages[1].classes):
        raise DataError(f"{path}: the stages are not of its classes")
    places = [stages[1].classes.index(name) for name in diseases]
    return TwoStages(joints[0], joints[1], stages[0].classes.index(gate), places)


def _part(path: Path, facts: Facts, forms: list[Form], trust_code: bool) -> Part:
    parts, seen = network_of(path, facts, trust_code)
    form = Form.model_validate(seen.model_dump(include=set(Form.model_fields)))
    if form not in forms:
        forms.append(form)
    config = {**parts.model_dump(), "output": facts.output, "frozen": False, "unfreeze_at": None}
    build = partial(build_network, config, seen.mean, seen.sd, seen.image_size, len(facts.classes), trust_code)
    try:
        network = _filled(build, is_known(parts), path.with_suffix(".pth"))
    except MedclfError as error:
        raise DataError(f"{path}: {str(error).replace('model.weights=', '', 1)}") from error
    return Part(network.eval(), forms.index(form))


def _filled(build: Callable[[], Network], known: bool, weights: Path) -> Network:
    """Build a network with the weights of a file.

    One of known parts is built without memory first, so that it takes no more than its weights do, whatever numbers
    describe it. Code of the user's own is built as it is.
    """
    if not known:
        network = build()
        fill(network, weights)
        return network
    with torch.device("meta"):
        network = build()
    return fill_meta(network, weights)


def _novelty(path: Path, facts: Facts) -> Novelty | None:
    return Novelty.load(path.with_name(NOVELTY)) if NOVELTY in facts.sha256 else None
