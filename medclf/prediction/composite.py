"""A model that is made of others, whose files lie below its own. Imports no torch."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from medclf.errors import DataError
from medclf.files import written_whole
from medclf.prediction.facts import FORMAT, Facts, network_of, read_facts
from medclf.runs import PACKAGES, versions, write_json

if TYPE_CHECKING:
    from medclf.evaluation.evaluate import Evaluation  # pandas, for which a mistake on the command line need not wait

NOVELTY = "novelty.npz"
PIECE = 2**22
"""Bytes of a file that are in memory at once."""


def check_model(source: Path, trust_code: bool = True) -> Facts:
    """Read what a model says of itself, and see that all its files are there.

    Args:
        source: its ``best.json``.
        trust_code: whether its networks may be of the user's own code.

    Raises:
        DataError: for one that is missing or damaged.
        ConfigError: for code that is not trusted.
    """
    facts = read_facts(source)
    if facts.kind == "network":
        network_of(source, facts, trust_code)
        weights = source.with_suffix(".pth")
        if not weights.is_file():
            raise DataError(f"{weights}: is not there; it belongs beside {source.name}")
    for member in _members(source, facts):
        check_model(source.parent / member, trust_code)
    return facts


def weights_digest(source: Path) -> str:
    """A hash of the weights of a model, of all its networks.

    Args:
        source: its ``best.json``, which ``check_model`` found whole.
    """
    facts, digest = read_facts(source), hashlib.sha256()
    if facts.kind == "network":
        with source.with_suffix(".pth").open("rb") as file:
            while piece := file.read(PIECE):
                digest.update(piece)
    for member in _members(source, facts):
        digest.update(weights_digest(source.parent / member).encode())
    return digest.hexdigest()


def copy_model(source: Path, target_folder: Path) -> None:
    """Copy all files of a model; its ``best.json`` comes last, so that half a copy is none.

    Args:
        source: its ``best.json``.
        target_folder: is made, and gets them as ``best.json``, ``best.pth``, ``novelty.npz`` and ``members``.

    Raises:
        DataError: for a model that is damaged.
    """
    facts = check_model(source, trust_code=True)  # to copy a file is not to run it
    target_folder.mkdir(parents=True, exist_ok=True)
    for member in _members(source, facts):
        copy_model(source.parent / member, (target_folder / member).parent)
    if facts.kind == "network":
        _copy(source.with_suffix(".pth"), target_folder / "best.pth")
    if source.with_name(NOVELTY).is_file():
        _copy(source.with_name(NOVELTY), target_folder / NOVELTY)
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
        facts: what ``facts_of`` gives, and what else is to stand in it.

    Raises:
        DataError: for members that are damaged.
    """
    read = [check_model(member, trust_code=True) for member in members]
    names = [f"members/{at}/best.json" for at in range(len(members))]
    for member, name in zip(members, names, strict=True):
        copy_model(member, (path.parent / name).parent)
    if members[0].with_name(NOVELTY).is_file():
        _copy(members[0].with_name(NOVELTY), path.with_name(NOVELTY))
    precision = "mixed" if all(member.precision == "mixed" for member in read) else "float32"
    write_json(path, {**facts, "kind": kind, "precision": precision, "members": names})


def facts_of(evaluation: "Evaluation", dataset: str, split_hash: str | None) -> dict[str, Any]:
    """What every model says of itself: its classes, and what was chosen on validation.

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
        "versions": versions(PACKAGES),
    }


def _members(source: Path, facts: Facts) -> list[str]:
    outside = [name for name in facts.members if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if outside:
        raise DataError(f"{source}: a member lies outside the model's own folder: {outside[0]}")
    return facts.members


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as given, written_whole(target) as file:
        shutil.copyfileobj(given, file)
