"""A model that is made of others, whose files lie below its own. Imports no torch."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from medclf.inference.model_metadata import FORMAT, ModelMetadata, get_network_config, read_metadata
from medclf.utils.atomic_write import atomic_file
from medclf.utils.errors import DataError
from medclf.utils.file_digests import NOVELTY, model_digests, model_files, verify_digests
from medclf.utils.json_yaml import write_json
from medclf.utils.run_folder import PACKAGES, package_versions

if TYPE_CHECKING:
    from medclf.evaluation.evaluate import Evaluation  # pandas, for which a mistake on the command line need not wait

MAX_DEPTH = 4
MAX_NETWORKS = 128
"""Models in one, its members' members included."""


def validate_model(source: Path, trust_code: bool = True) -> ModelMetadata:
    """Read and check what a model says of itself, and see that all its files are the ones it was written with.

    Args:
        source: its ``best.json``.
        trust_code: whether its networks may be of the user's own code.

    Raises:
        DataError: for one that is damaged, tampered with, not whole, or made of too many others.
        ConfigError: for code that is not trusted.
    """
    checked: list[ModelMetadata] = []
    _check(source, trust_code, (), checked)
    return checked[0]


def _check(source: Path, trust_code: bool, above: tuple[Path, ...], checked: list[ModelMetadata]) -> None:
    """Check a model and its members; ``above`` are the models that it is a member of."""
    if source.resolve() in above:
        raise DataError(f"{source}: is a member of itself, and a model cannot be")
    if len(above) > MAX_DEPTH or len(checked) >= MAX_NETWORKS:
        raise DataError(
            f"{source}: more than {MAX_NETWORKS} models in one, or more than {MAX_DEPTH} levels of them, are not read"
        )
    facts = read_metadata(source)
    checked.append(facts)
    if facts.kind == "network":
        get_network_config(source, facts, trust_code)
    members = _members(source, facts)
    for member in members:
        _check(source.parent / member, trust_code, (*above, source.resolve()), checked)
    verify_digests(source, members, facts.sha256)


def copy_model(source: Path, target_folder: Path) -> None:
    """Copy all files of a model; its ``best.json`` comes last, so that half a copy is none.

    Args:
        source: its ``best.json``.
        target_folder: is made, and gets them as ``best.json``, ``best.pth``, ``novelty.npz`` and ``members``.

    Raises:
        DataError: for a model that is damaged.
    """
    facts = validate_model(source, trust_code=True)  # to copy a file is not to run it
    target_folder.mkdir(parents=True, exist_ok=True)
    for member in _members(source, facts):
        copy_model(source.parent / member, (target_folder / member).parent)
    for name, file in model_files(source).items():
        if name in facts.sha256:
            _copy(file, target_folder / name)
    _copy(source, target_folder / "best.json")


def write_composite(
    path: Path, kind: Literal["ensemble", "cascade"], members: Sequence[Path], facts: dict[str, Any]
) -> None:
    """Write a model that is made of others, and copies of them in ``members/0``, ``members/1`` … beside it.

    What is unlike the training images it tells as its first member does, whose features it gives.

    Args:
        path: of its ``best.json``.
        kind: how they are joined.
        members: the ``best.json`` of each.
        facts: what ``build_metadata`` gives, and what else is to stand in it.

    Raises:
        DataError: for members that are damaged.
    """
    read = [validate_model(member, trust_code=True) for member in members]
    names = [f"members/{at}/best.json" for at in range(len(members))]
    for member, name in zip(members, names, strict=True):
        copy_model(member, (path.parent / name).parent)
    if members[0].with_name(NOVELTY).is_file():
        _copy(members[0].with_name(NOVELTY), path.with_name(NOVELTY))
    precision = "mixed" if all(member.precision == "mixed" for member in read) else "float32"
    digests = model_digests(path, names)
    write_json(path, {**facts, "kind": kind, "precision": precision, "members": names, "sha256": digests})


def build_metadata(evaluation: "Evaluation", dataset: str, split_hash: str | None) -> dict[str, Any]:
    """Return the metadata of every kind of model: its classes, and the choices made on validation.

    ``threshold`` is that of the positive class's probability as the network gives it; with more classes the most
    probable one is taken, and it is None. Logits divided by ``temperature`` give calibrated probabilities.
    """
    test, point = evaluation.test, evaluation.point
    return {
        "format": FORMAT,
        "classes": test.classes,
        "positive": None if test.positive is None else test.classes[test.positive],
        "threshold": point.threshold,
        "operating_point": vars(point),
        "temperature": evaluation.temperature.value,
        "dataset": dataset,
        "split_hash": split_hash,
        "versions": package_versions(PACKAGES),
    }


def _members(source: Path, facts: ModelMetadata) -> list[str]:
    """The members' paths, all of which stay below the model's own folder, links followed."""
    for name in facts.members:
        parts = PurePosixPath(name).parts
        inside = (source.parent / name).resolve().is_relative_to(source.parent.resolve())
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or not inside:
            raise DataError(f"{source}: a member lies outside the model's own folder: {name}")
    return facts.members


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as given, atomic_file(target) as file:
        shutil.copyfileobj(given, file)
