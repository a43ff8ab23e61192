"""``python -m medclf.compare RUN RUN [RUN ...]``: which is better on the same test images. Imports no torch."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, NoReturn

from medclf.errors import ConfigError, DataError, MedclfError, did_you_mean, listed

if TYPE_CHECKING:  # pandas, which --help does not pay
    import pandas as pd

    from medclf.evaluation.estimates import Metrics
    from medclf.evaluation.operating_point import OperatingPoint
    from medclf.evaluation.predictions import Predictions

RULES = ("half", "youden", "sensitivity", "specificity", "cost")
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Source:
    """A classifier as its run folder or CSV file tells of it.

    ``names`` become longer, and the last one is no other's; ``stored`` is what metrics.json holds.
    """

    path: Path
    table: "pd.DataFrame"
    names: tuple[str, ...]
    model: str
    seed: int | None
    positive: str | None
    stored: dict[str, Any]


class Parser(argparse.ArgumentParser):
    """Its errors look as those of the other commands do."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2."""
        self.exit(2, f"error: {message}\n")


def main() -> None:
    """Run the command line."""
    try:
        compare(_parser().parse_args())
    except MedclfError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(INTERRUPTED)


def _parser() -> Parser:
    parser = Parser("python -m medclf.compare", description="Compare classifiers on the same test images.")
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="a finished run folder, or a predictions table (CSV)")
    add("--metrics", metavar="NAME,NAME", help="what to compare; by default a choice for the number of classes")
    add("--positive", metavar="CLASS", help="of two classes, for runs that do not say it; by default the last one")
    add("--operating-point", choices=RULES, help="chosen on validation, for runs that bring none; by default half")
    add("--resamples", type=_at_least(100), default=2000, metavar="N", help="of the bootstrap (default 2000)")
    add("--seed", type=_at_least(0), default=0, metavar="N", help="of the bootstrap (default 0)")
    add("--output", type=Path, metavar="FOLDER", help="new or empty; by default one below runs/compare")
    return parser


def _at_least(least: int) -> Any:
    def whole(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
        return int(text)

    return whole


def compare(arguments: argparse.Namespace) -> None:
    """Compare, print, and leave a folder. Raises ConfigError or DataError before that is made."""
    folder = arguments.output or Path("runs", "compare", f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}")
    _refuse_used(folder)
    _refuse_repeated(arguments.runs)

    from medclf.evaluation import comparison, comparison_report
    from medclf.evaluation.estimates import estimate

    read_runs = [read(path, arguments.positive) for path in arguments.runs]
    sources = dict(zip(labels([source.names for source in read_runs]), read_runs, strict=True))
    runs, origins = _decided(sources, arguments.positive, arguments.operating_point)
    bootstrap = (arguments.resamples, arguments.seed)
    found = {label: estimate(predictions, *bootstrap) for label, predictions in runs.items()}
    metrics = _metrics(arguments.metrics, next(iter(found.values())))
    differences = comparison.compare(runs, found, metrics, *bootstrap)
    result = comparison_report.Comparison(runs, found, differences, origins, _several_seeds(read_runs), *bootstrap)
    text = comparison_report.text(result)
    try:
        comparison_report.save(result, text, folder)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be written: {error}") from error
    sys.stdout.write(
        f"{text}\nWritten to {folder.as_posix()}: {listed(sorted(file.name for file in folder.iterdir()))}\n"
    )


def _refuse_used(folder: Path) -> None:
    from medclf.runs import is_used

    if is_used(folder):
        raise ConfigError(f"--output {folder}: already holds something, and nothing is overwritten; name a new folder")


def _refuse_repeated(paths: Sequence[Path]) -> None:
    from medclf.runs import Run

    if len(paths) < 2:
        raise DataError(f"{paths[0]}: is one run, and a comparison needs two or more")
    seen: dict[Path, Path] = {}
    for path in paths:
        file = (Run(path).predictions if path.is_dir() else path).resolve()
        if file in seen:
            raise DataError(f"{seen[file]} and {path}: are the same run, given twice")
        seen[file] = path


def read(path: Path, positive: str | None = None) -> Source:
    """Read a run folder or a predictions table.

    Args:
        path: of it.
        positive: the positive class where the run has stored none.

    Raises:
        DataError: where it is not there, not finished or damaged.
    """
    from medclf.evaluation.reading import load_predictions

    if not path.exists():
        raise DataError(f"{path}: there is no such run folder, and no such file")
    if path.is_dir():
        return _read_run(path, positive)
    return Source(path, load_predictions(path), _tails(path.with_suffix("")), path.stem, None, positive, {})


def _read_run(path: Path, positive: str | None) -> Source:
    from medclf.evaluation.reading import load_predictions
    from medclf.runs import Run, read_json

    run = Run(path)
    if run.status is None:
        raise DataError(f"{path}: is no run folder (run.json is not there); a predictions table is named by its file")
    if run.status != "finished":
        raise DataError(f"{path}: this run has not finished, its status is '{run.status}'")
    if not run.predictions.is_file():
        raise DataError(f"{path}: this run has no predictions.csv")
    config = _config(run.config)
    stored = read_json(run.metrics) if run.metrics.is_file() else {}
    tails = _tails(path)
    model, seed = config.get("model.name"), config.get("seed")
    names = (model, f"{model} seed {seed}", f"{model} seed {seed} {tails[0]}", *tails) if model else tails
    stated = stored.get("positive") or positive or config.get("dataset.positive")
    return Source(path, load_predictions(run.predictions), names, names[0], seed, stated, stored)


def _tails(path: Path) -> tuple[str, ...]:
    """The path's last part, its last two, and so on to the whole."""
    parts = path.resolve().parts
    return tuple(Path(*parts[-count:]).as_posix() for count in range(1, len(parts) + 1))


def _config(path: Path) -> dict[str, Any]:
    """What the comparison needs of config.yaml; nothing where that is not there."""
    from omegaconf import OmegaConf

    if not path.is_file():
        return {}
    try:
        node: Any = OmegaConf.load(path)
        return {key: OmegaConf.select(node, key) for key in ("model.name", "seed", "dataset.positive")}
    except Exception as error:  # those of YAML's parser and of OmegaConf have no parent in common
        raise DataError(f"{path}: cannot be read: {error}") from error


def labels(names: Sequence[tuple[str, ...]]) -> list[str]:
    """For each the shortest of its names that no other has; the last ones must differ."""
    length = [0] * len(names)
    while True:
        chosen = [own[at] for own, at in zip(names, length, strict=True)]
        alike = [at for at, name in enumerate(chosen) if chosen.count(name) > 1 and length[at] + 1 < len(names[at])]
        if not alike:
            return chosen
        for at in alike:
            length[at] += 1


def _decided(
    sources: Mapping[str, Source], positive: str | None, rule: str | None
) -> tuple[dict[str, "Predictions"], dict[str, str]]:
    """The predictions of the same test images at each one's operating point, and in words where they come from."""
    from medclf.evaluation.comparison import aligned
    from medclf.evaluation.predictions import classes_of, split_of

    if rule and all("operating_point" in source.stored for source in sources.values()):
        raise ConfigError(f"--operating-point {rule}: every one of these runs brings its own")
    tables = aligned({label: source.table for label, source in sources.items()})
    positive = _positive(sources, classes_of(next(iter(tables.values()))), positive)
    points = {label: _point(source, positive, rule or "half") for label, source in sources.items()}
    runs = {label: split_of(table, "test", positive, points[label].threshold) for label, table in tables.items()}
    return runs, {label: f"{source.path.as_posix()}; {points[label].words}" for label, source in sources.items()}


def _positive(sources: Mapping[str, Source], classes: list[str], typed: str | None) -> str | None:
    if len(classes) > 2:
        if typed:
            raise ConfigError(f"--positive {typed}: is for two classes; these runs have {len(classes)}")
        return None
    stated = {label: source.positive for label, source in sources.items() if source.positive}
    stated |= {"--positive": typed} if typed else {}
    if len(set(stated.values())) > 1:
        raise DataError(f"the positive class differs: {listed(f'{label}: {name}' for label, name in stated.items())}")
    for label, name in stated.items():
        if name not in classes:
            raise DataError(
                f"{label}: {name}: is none of {listed(classes)}; {did_you_mean(name, classes)}".rstrip("; ")
            )
    return next(iter(stated.values()), classes[-1])


def _point(source: Source, positive: str | None, rule: str) -> "OperatingPoint":
    """The one that the run has chosen, or chosen here on its validation images."""
    from omegaconf import DictConfig, OmegaConf

    from medclf.config.paths import conf_dir
    from medclf.config.schema import Evaluation, validated
    from medclf.evaluation.operating_point import OperatingPoint, choose
    from medclf.evaluation.predictions import split_of

    if "operating_point" in source.stored:
        try:
            return OperatingPoint(**source.stored["operating_point"])
        except TypeError as error:
            raise DataError(f"{source.path}: operating_point in metrics.json cannot be read: {error}") from error
    config = OmegaConf.load(conf_dir() / "evaluation" / "default.yaml")
    assert isinstance(config, DictConfig)
    return choose(split_of(source.table, "val", positive), validated(config, Evaluation), rule)


def _metrics(typed: str | None, found: "Metrics") -> list[str]:
    from medclf.evaluation.comparison_report import BINARY, MULTICLASS

    if typed is None:
        return list(BINARY if len(found.per_class) == 2 else MULTICLASS)
    names = list(dict.fromkeys(name.strip() for name in typed.split(",")))
    for name in names:
        if name not in found.overall:
            hint = did_you_mean(name, found.overall)
            raise ConfigError(f"--metrics {name}: there is no such metric; {hint}Known: {listed(found.overall, 50)}")
    return names


def _several_seeds(sources: Sequence[Source]) -> bool:
    """Whether every model is there with two seeds or more."""
    seeds: dict[str, set[int]] = {}
    for source in sources:
        seeds.setdefault(source.model, set()).update([] if source.seed is None else [source.seed])
    return all(len(own) > 1 for own in seeds.values())


if __name__ == "__main__":
    main()
