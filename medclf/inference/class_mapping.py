"""Which of a model's classes a class of another dataset is. Imports no torch."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from medclf.config.schema import DatasetConfig
from medclf.inference.training_run_images import load_run_dataset
from medclf.utils.errors import ConfigError, format_list, suggest
from medclf.utils.run_folder import Run


def validate_not_own_images(run: Run, dataset: DatasetConfig) -> None:
    """Refuse the images that a run was trained on.

    Raises:
        ConfigError: saying how its test images are judged.
    """
    own = load_run_dataset(run).root
    if Path(own).resolve() == Path(dataset.root).resolve():
        raise ConfigError(
            f"dataset.root={dataset.root}: holds the images that {run.shown} was trained on; its test images are "
            f"judged by python -m medclf.evaluate run={run.shown}"
        )


def match_classes(found: list[str], known: list[str], class_map: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the model's name of each class found, or None where its images are left out.

    Raises:
        ConfigError: for a class that matches none, and entries of the map that name nothing.
    """
    for name, ours in class_map.items():
        if name not in found:
            raise ConfigError(
                f"class_map.{name}: the dataset has no such class; {suggest(name, found)}It has: {format_list(found)}"
            )
        if ours is not None and ours not in known:
            raise ConfigError(
                f"class_map.{name}={ours}: the model knows no such class; {suggest(ours, known)}"
                f"It knows: {format_list(known)}"
            )
    strange = [name for name in found if name not in class_map and name not in known]
    if strange:
        raise ConfigError(
            f"class {format_list(strange)} of the dataset is none of the model's ({format_list(known)}); say which "
            "it is, "
            f"{_typed(strange[0], _nearest(strange[0], known))}, or leave its images out, {_typed(strange[0], 'null')}"
        )
    class_of = {name: class_map.get(name, name) for name in found}
    if all(ours is None for ours in class_of.values()):
        raise ConfigError("class_map: leaves out every class; no image is left to test on")
    return class_of


def _nearest(name: str, known: list[str]) -> str:
    alike = [ours for ours in known if ours.lower() == name.lower()]
    return (alike or known)[0]


def _typed(theirs: str, ours: str) -> str:
    """An entry of the map as one types it; Hydra reads a name with spaces or brackets between braces only."""
    if re.fullmatch(r"[\w-]+", theirs, re.ASCII):
        return shlex.quote(f"class_map.{theirs}={ours}")
    if not re.fullmatch(r"[^'\"`]+", theirs) or not theirs.isascii():
        return f"by another name of its folder, since none with such a sign can be typed (class_map: {theirs}={ours})"
    escaped = re.sub(r"([\\()\[\]{}:=,])", r"\\\1", theirs)
    return shlex.quote(f"class_map={{{escaped}: {ours}}}")
