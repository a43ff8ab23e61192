"""The images that a cascade is judged on: those of its first stage, none of which the second may have learned from."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.composites.stages import Stage, Stages
from medclf.data.training_overlap import find_training_overlap, get_fingerprints, read_fingerprints
from medclf.utils.csv_tables import read_frame
from medclf.utils.errors import DataError, format_list

WORDS = {"val": "validation", "test": "test"}
LEARNED = {"val": ["train"], "test": ["train", "val"]}
"""What must not look like an image that is to be judged in a split."""


@dataclass(frozen=True)
class CascadeCohort:
    """The images that a cascade is judged on.

    ``images`` are rows of stage 1's splits.csv, validation and test, with the classes of the cascade. ``second`` is by
    path the path of the same picture in stage 2, where that knows it. ``notes`` say what was left out.
    """

    images: pd.DataFrame
    second: dict[str, str]
    notes: list[str]


def select_cohort(stages: Stages) -> CascadeCohort:
    """Find the images, their true classes, and whether either stage has learned from them.

    The same picture is known by its file's hash; by its path where a run has no fingerprints, which a note says.

    Raises:
        DataError: for stages that have no picture in common, do not agree about one, or have one in different splits;
            and where no image that is ill is left.
    """
    first, second = _seen(stages.first), _seen(stages.second)
    notes = []
    if first is None or second is None:
        first, second = _by_path(stages.first), _by_path(stages.second)
        notes.append("A stage has no fingerprints.csv: the same picture is known by its path, its copies are not.")
    told = _told(stages.second, second)
    images = _table(stages.first).merge(first[["path", "content"]].drop_duplicates("path"), "left", "path")
    images = images[images["split"].isin(list(WORDS))]
    if not images["content"].isin(second["content"]).any():
        raise DataError(
            f"{stages.first} and {stages.second}: have no picture in common; a cascade is judged on images of stage 1 "
            "whose disease stage 2's splits.csv tells: train both on the same images"
        )
    for stage, seen in ((stages.first, first), (stages.second, second)):
        _refuse_learned(stage, images, seen, stages.first)
    if not notes:
        alike = _alike(stages, images)
        if alike.any():
            why = "since they look like images that stage 2 learned from or was chosen by"
            notes.append(f"Left out, {why}: {_counted(list(images['path'][alike]))}.")
        images = images[~alike]
    return _labelled(stages, images, told, notes)


def _labelled(stages: Stages, images: pd.DataFrame, told: pd.DataFrame, notes: list[str]) -> CascadeCohort:
    disease = images["content"].map(told["class"])
    healthy = images["class"] == stages.gate
    contrary = disease.notna() & (healthy != (disease == stages.gate))
    _refuse_contradictions(stages, images.assign(there=disease)[contrary])
    unknown = list(images.loc[~healthy & disease.isna(), "path"])
    if unknown:
        notes.append(f"Left out, since stage 2 does not know their disease: {_counted(unknown)}.")
    kept = healthy | disease.notna()
    for part, name in WORDS.items():
        if not (kept & ~healthy & (images["split"] == part)).any():
            raise DataError(f"{stages.second}: knows the disease of no {name} image of {stages.first} that is ill")
    images = images.assign(**{"class": disease.where(~healthy, stages.gate)})[kept]
    second = images["content"].map(told["path"]).dropna()
    paths = dict(zip(images["path"].loc[second.index], second, strict=True))
    return CascadeCohort(images.drop(columns="content").reset_index(drop=True), paths, notes)


def _table(stage: Stage) -> pd.DataFrame:
    return read_frame(stage.run.splits, ["path", "class", "split"])


def _seen(stage: Stage) -> pd.DataFrame | None:
    """Path, split and content of every image that a run has seen; None where it has no fingerprints."""
    if not stage.run.fingerprints.is_file():
        return None
    prints = read_fingerprints(stage.run.fingerprints)
    return prints[["path", "split"]].assign(content=prints["sha256"])


def _by_path(stage: Stage) -> pd.DataFrame:
    table = _table(stage)
    return table[["path", "split"]].assign(content=table["path"])


def _told(stage: Stage, seen: pd.DataFrame) -> pd.DataFrame:
    """Path and class in a run of each content that it has, which is the index."""
    known = _table(stage)[["path", "class"]].merge(seen[["path", "content"]].drop_duplicates("path"), on="path")
    return known.drop_duplicates("content").set_index("content")


def _refuse_learned(stage: Stage, images: pd.DataFrame, seen: pd.DataFrame, first: Stage) -> None:
    """Refuse pictures that are in another split of a stage: it has learned from them, or been chosen by them."""
    there = images[["path", "split", "content"]].merge(
        seen[["split", "content"]], on="content", suffixes=("", "_there")
    )
    wrong = there[there["split"] != there["split_there"]].drop_duplicates("path")
    if wrong.empty:
        return
    shown = format_list((f"{row.path}: {row.split} here, {row.split_there} there" for row in wrong.itertuples()), 3)
    remedy = f"train it on the split of stage 1: dataset.splits.file={first.run.shown}/splits.csv"
    if stage is first:
        remedy = "train it with a split that keeps copies together: dataset.splits.folds=5"
    raise DataError(
        f"{stage}: {len(wrong)} of the {len(images)} images to be judged are in another split there, so that it has "
        f"learned from them or was chosen by them ({shown}); {remedy}"
    )


def _alike(stages: Stages, images: pd.DataFrame) -> NDArray[np.bool_]:
    """Which images look like one that stage 2 learned from or was chosen by, and that stage 1 has not.

    Of those that it has, stage 1 keeps what look alike in one split, or names them in its findings.
    """
    own, others = (read_fingerprints(stage.run.fingerprints) for stage in (stages.first, stages.second))
    near = stages.first.config["dataset"]["duplicates"]["near"]
    others = others[~others["sha256"].isin(own["sha256"])]
    prints = get_fingerprints(own.drop_duplicates("path").set_index("path").loc[images["path"]])
    found = np.zeros(len(images), bool)
    for part, splits in LEARNED.items():
        rows = np.flatnonzero(images["split"] == part)
        found[rows] = find_training_overlap([prints[row] for row in rows], others[others["split"].isin(splits)], near)
    return found


def _counted(paths: list[str]) -> str:
    return f"{len(paths)} ({format_list(paths, 5)})"


def _refuse_contradictions(stages: Stages, wrong: pd.DataFrame) -> None:
    if wrong.empty:
        return
    rows = wrong[["path", "class", "there"]].to_numpy()
    shown = format_list((f"{path}: {here} and {there}" for path, here, there in rows), 3)
    raise DataError(
        f"{stages.first} and {stages.second}: do not agree about {len(wrong)} images ({shown}); {stages.gate} counts "
        "as healthy, being the class of stage 1 that is not positive. If it is ill, train stage 1 with "
        f"dataset.positive={stages.gate}; if it has another name in stage 2, give it the same there"
    )
