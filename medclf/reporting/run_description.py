"""What is known of a run beside its predictions."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from medclf.comparison.compare import Comparison
from medclf.config.run_file_schemas import read_config, read_record
from medclf.config.schema import TestTime
from medclf.data.image_table import COLUMNS
from medclf.evaluation.metric_intervals import wilson_interval
from medclf.inference.ood import OODDetector
from medclf.utils.csv_tables import read_frame
from medclf.utils.run_folder import Run

CHOSEN = ("checkpoint", "epoch", "monitor", "monitor_value")


@dataclass(frozen=True)
class StageComparison:
    """A comparison of a cascade with one of its stages, what it is of, in words, and its folder's name."""

    title: str
    words: str
    comparison: Comparison
    folder: str


@dataclass(frozen=True)
class RunSummary:
    """What is known of a run.

    ``config`` is its whole configuration, ``record`` what ``run.json`` holds, ``chosen`` how its checkpoint was chosen,
    ``images`` its image table; all empty for a table of predictions that no run of ours left. ``notes`` are what a
    reader should know before the figures. ``tested_on`` names the dataset of an external validation, ``tta`` says how
    images were augmented when they were predicted, and ``novelty`` how those that do not belong are known. ``members``
    are the runs of an ensemble or a cascade, whose ``config`` holds what they have in common. ``beside`` compares a
    cascade with either of its stages alone.
    """

    title: str
    positive: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    images: pd.DataFrame | None = None
    notes: list[str] = field(default_factory=list)
    tested_on: str | None = None
    tta: TestTime = "none"
    novelty: str | None = None
    beside: list[StageComparison] = field(default_factory=list)

    @property
    def members(self) -> list[str]:
        """Return the run folders that an ensemble or cascade is made of; empty for a run."""
        return list(self.config.get("model", {}).get("members", []))

    @property
    def gate(self) -> str | None:
        """Return the class that the first stage of a cascade holds back; None for all others."""
        gate: str | None = self.config.get("model", {}).get("gate")
        return gate

    @property
    def command(self) -> str:
        """Return the line that repeats the run."""
        module = "medclf.cascade" if self.gate else "medclf.ensemble" if self.members else "medclf.train"
        return shlex.join(["python", "-m", module, *self.record.get("command", [])])

    def elsewhere(self, dataset: str, findings: list[str]) -> "RunSummary":
        """Return the summary of the same model on another dataset."""
        note = f"External validation: the images are those of {dataset}, the model is of {self.title}."
        title = f"{self.title}, tested on {dataset}"
        return replace(self, title=title, notes=[*self.notes, note, *findings], tested_on=dataset)

    def augmented(self) -> "RunSummary":
        """Return the summary of the same run with test-time augmentation."""
        note = "Test-time augmentation: each probability is the mean over an image and its mirror image (tta=flip)."
        if self.tested_on is None:
            note += " The test images had been looked at before without it."
        else:
            note += " Threshold and temperature were chosen on validation images without it."
        return replace(self, title=f"{self.title}, tta=flip", notes=[*self.notes, note], tta="flip")

    def counts(self) -> pd.DataFrame | None:
        """Return the number of images per class and split, with patients in the last row."""
        if self.images is None:
            return None
        parts = [part for part in ("train", "val", "test") if (self.images["split"] == part).any()]
        classes = pd.crosstab(self.images["class"], self.images["split"])[parts]
        patients = self.images.groupby("split")["group"].nunique()[parts]
        # set below the classes, of which one may be called patients
        table = pd.concat([classes, pd.DataFrame([classes.sum(), patients], index=["all", "patients"])])
        table["all"] = [*classes.sum(axis=1), len(self.images), self.images["group"].nunique()]
        return table.astype(int)


def summarize_run(run: Run, chosen: dict[str, Any]) -> RunSummary:
    """Read the summary of a run from its folder.

    Args:
        run: with its configuration, splits and record.
        chosen: how its checkpoint was chosen.

    Raises:
        DataError: for files that are not there or damaged.
    """
    config, record = read_config(run), read_record(run)
    ood = OODDetector.load(run.novelty) if run.novelty.is_file() else None
    about = build_run_summary(config, record, read_frame(run.splits, COLUMNS), chosen, ood)
    if record["status"] == "finished":
        return about
    note = f"This run did not finish ({record['status']}): its figures are of what it had done."
    return replace(about, notes=[note, *about.notes])


def build_run_summary(
    config: dict[str, Any],
    record: dict[str, Any],
    images: pd.DataFrame,
    chosen: dict[str, Any],
    ood: OODDetector | None = None,
    beside: Sequence[StageComparison] = (),
) -> RunSummary:
    """Summarize a run from what this process knows of it.

    Args:
        config: whole configuration of the run as plain data.
        record: what ``run.json`` holds, or will hold.
        images: image table of the run.
        chosen: how its checkpoint was chosen.
        ood: out-of-distribution score of its model; None: it has none.
        beside: comparisons of a cascade with its stages.
    """
    notes = []
    if members := config["model"].get("members"):
        notes.append(_composed(members, config["model"].get("gate")))
    return RunSummary(
        title=f"{config['dataset']['name']}, {config['model']['name']}",
        positive=config["dataset"].get("positive"),
        config=config,
        record=record,
        chosen={name: chosen[name] for name in CHOSEN if name in chosen},
        images=images,
        notes=notes,
        novelty=None if ood is None else format_false_alarms(ood),
        beside=list(beside),
    )


def _composed(members: list[str], gate: str | None) -> str:
    if gate is None:
        return f"An ensemble: the mean of the probabilities of {len(members)} runs, {', '.join(members)}."
    return (
        f"A cascade: stage 1, {members[0]}, tells {gate} from the rest; of what it lets through stage 2, {members[1]}, "
        "tells the diseases apart."
    )


def summarize_table(path: Path, positive: str | None) -> RunSummary:
    """Return the summary of a predictions table without a run."""
    return RunSummary(title=path.name, positive=positive)


def format_false_alarms(novelty: OODDetector) -> str:
    """Return the rule and its false alarms on validation and test with Wilson's intervals."""
    return (
        f"An image is called unlike the training images where its distance from them is above {novelty.threshold:.4g} "
        "(Mahalanobis distance of the network's features). Of the images of the same dataset that it was not fitted "
        f"to, these are called so by mistake: {_share(novelty.false_alarms, novelty.validation, 'validation')}, on "
        f"which this was chosen, and {_share(novelty.test_alarms, novelty.test, 'test')}."
    )


def _share(count: int, n: int, part: str) -> str:
    low, high = wilson_interval(count, n)
    return f"{count} of {n} {part} images ({count / n:.1%}, 95 % interval {low:.1%} to {high:.1%})"
