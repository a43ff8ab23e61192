"""Keeps what runs of recipes came to, and writes the table of README.md and the confusion matrices from what is kept.

python experiments/record.py RUN [RUN ...]   keeps the runs (finished, with experiment=NAME), then writes the table
python experiments/record.py                 writes the table
"""

import argparse
import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from omegaconf import OmegaConf

from medclf.config.conf_folder import conf_dir
from medclf.evaluation.curves import confusion_matrix
from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.predictions import Predictions, select_split
from medclf.evaluation.predictions_io import load_predictions
from medclf.plots.confusion import confusion_matrix_figure
from medclf.utils.errors import DataError, MedclfError

HERE = Path(__file__).parent
KEPT = ("metrics.json", "predictions.csv", "run.json")
BEGIN, END = "<!-- written by record.py: begin -->", "<!-- written by record.py: end -->"
COLUMNS = (
    "recipe", "published", "our accuracy [95 % interval]", "test images", "runs (sd)", "balanced accuracy",
    "AUROC (macro)", "training (median)",
)  # fmt: skip
UNIMPORTANT = ("dataset.root=", "dataset.store=", "hydra.", "trainer.enable_progress_bar=")
SEEDS = ("seed=", "dataset.splits.seed=")


@dataclass(frozen=True)
class Record:
    """A kept run: its folder, the recipe with what was typed after it, and its seeds."""

    folder: Path
    recipe: tuple[str, ...]
    seeds: tuple[str, ...]

    @property
    def experiment(self) -> str:
        """The recipe's name."""
        return self.recipe[0].removeprefix("experiment=")

    def load(self, name: str) -> dict[str, Any]:
        """One of the JSON files."""
        content: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return content

    def test(self) -> pd.DataFrame:
        """The predictions of the test split."""
        table = load_predictions(self.folder / "predictions.csv")
        return table[table["split"] == "test"]

    @property
    def threshold(self) -> float | None:
        """Of the positive class, where there are two classes and the run chose one."""
        threshold: float | None = self.load("metrics.json").get("operating_point", {}).get("threshold")
        return threshold


def keep(run: Path, records: Path) -> None:
    """Copy the small files of a finished run; where its images lay is left out.

    Raises:
        DataError: for a folder that is no finished run of a recipe.
    """
    overrides = run / ".hydra" / "overrides.yaml"
    if not overrides.is_file() or not (run / "metrics.json").is_file():
        raise DataError(f"{run}: is no run folder with metrics.json and .hydra/overrides.yaml")
    typed = [str(item) for item in OmegaConf.load(overrides) if not str(item).startswith(UNIMPORTANT)]
    names = [item.removeprefix("experiment=") for item in typed if item.startswith("experiment=")]
    if not names:
        raise DataError(f"{run}: was typed without experiment=NAME; only recipes are recorded")
    seeds = [item for item in typed if item.startswith(SEEDS)]
    rest = sorted(item for item in typed if item not in seeds and not item.startswith("experiment="))
    folder = records / "_".join([names[0], *map(_file_name, rest)]) / ("_".join(map(_file_name, seeds)) or "seed0")
    folder.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(run / name, folder / name)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["command"] = [f"experiment={names[0]}", *rest, *seeds]
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load(records: Path) -> list[Record]:
    """Every kept run, in order."""
    found = []
    for path in sorted(records.rglob("run.json")):
        command = json.loads(path.read_text(encoding="utf-8"))["command"]
        seeds = tuple(item for item in command if item.startswith(SEEDS))
        found.append(Record(path.parent, tuple(item for item in command if item not in seeds), seeds))
    return found


def write(folder: Path) -> None:
    """Write the table into README.md and the confusion matrices beside it."""
    rows: dict[tuple[str, ...], list[Record]] = {}
    for record in load(folder / "records"):
        rows.setdefault(record.recipe, []).append(record)
    (folder / "figures").mkdir(exist_ok=True)
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
        *(_row(recipe, runs, folder / "figures") for recipe, runs in rows.items()),
    ]
    # with another model it is not that recipe
    done = {runs[0].experiment for recipe, runs in rows.items() if not any(i.startswith("model=") for i in recipe)}
    missing = [path.stem for path in sorted((conf_dir() / "experiment").glob("*.yaml")) if path.stem not in done]
    lines += ["", "Not run as they stand, for want of their images or of their ImageNet weights:", ""]
    lines += [f"- {name} (published: {published(name)})" for name in missing]
    lines += ["", "The lines, each with its seeds:", ""]
    lines += [_line(recipe, runs) for recipe, runs in rows.items()]
    machines = sorted({_machine(run) for runs in rows.values() for run in runs})
    lines += ["", "Measured on: " + "; ".join(machines) + "."]
    readme = folder / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]), encoding="utf-8")


def published(experiment: str) -> str:
    """The published figure, as the recipe's header gives it."""
    header = (conf_dir() / "experiment" / f"{experiment}.yaml").read_text(encoding="utf-8")
    found = re.search(r"^# Published: (.+)$", header, re.MULTILINE)
    return found.group(1) if found else "none"


def _row(recipe: tuple[str, ...], runs: list[Record], figures: Path) -> str:
    pooled = _pooled(runs)
    interval = estimate_metrics(pooled).overall["accuracy"]
    tests = [run.load("metrics.json")["test"] for run in runs]
    accuracy = [float(test["accuracy"]) for test in tests]
    spread = f"{np.std(accuracy, ddof=1):.3f}" if len(runs) > 1 else "one run"
    counted = f"{len(runs)} runs, {len(pooled)} test predictions"
    words = [runs[0].experiment, *recipe[1:], counted]
    figure = confusion_matrix_figure(confusion_matrix(pooled).to_numpy(), pooled.classes, title="\n".join(words))
    name = runs[0].folder.parent.name
    figure.savefig(figures / f"{name}.png")
    seconds = np.median([run.load("run.json")["training_seconds"] for run in runs])
    cells = [
        f"[{' '.join(recipe).removeprefix('experiment=')}](figures/{name}.png)",
        published(runs[0].experiment),
        f"{np.mean(accuracy):.3f} [{interval.low:.3f}, {interval.high:.3f}]",
        " ".join(sorted({str(test["n"]) for test in tests})),
        f"{len(runs)} ({spread})",
        f"{_mean(tests, 'balanced_accuracy')}",
        f"{_mean(tests, 'auroc_macro')}",
        f"{seconds / 60:.1f} min",
    ]
    return "| " + " | ".join(cells) + " |"


def _pooled(runs: list[Record]) -> Predictions:
    """The test predictions of all runs, those for the images of one patient together."""
    tables = pd.concat([run.test() for run in runs], ignore_index=True)
    return select_split(tables, "test", threshold=runs[0].threshold)


def _mean(tests: list[dict[str, Any]], name: str) -> str:
    values = [test[name] for test in tests]
    return "not defined" if None in values else f"{np.mean(values):.3f}"


def _line(recipe: tuple[str, ...], runs: list[Record]) -> str:
    """One line where all seeds of a run are the same number S, else one a run."""
    command = f"python -m medclf.train {' '.join(recipe)}"
    values = [{item.partition("=")[2] for item in run.seeds} for run in runs]
    keys = {tuple(item.partition("=")[0] for item in run.seeds) for run in runs}
    if len(keys) == 1 and all(len(value) == 1 for value in values):
        seeds = " ".join(f"{key}=S" for key in keys.pop())
        return f"- `{command} {seeds}` for S = {', '.join(value.pop() for value in values)}"
    return "\n".join(f"- `{command} {' '.join(run.seeds)}`" for run in runs)


def _machine(run: Record) -> str:
    record = run.load("run.json")
    versions = record["versions"]
    return (
        f"{record['processor']}, {record['cores']} cores, {record['device']}, Python {record['python']}, "
        f"torch {versions['torch']}"
    )


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)


def main(arguments: list[str]) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, help="run folders")
    parser.add_argument("--folder", type=Path, default=HERE, help="where README.md and records/ are")
    options = parser.parse_args(arguments)
    try:
        for run in options.runs:
            keep(run, options.folder / "records")
        write(options.folder)
    except MedclfError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
