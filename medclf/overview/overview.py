"""An overview from the folders of runs to their settings, comparisons and joined folds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medclf.evaluation.bootstrap import validate_resamples
from medclf.metric_registry import LEADERBOARD, LEADERBOARD_TESTED, METRICS, suggest_metric
from medclf.overview.cross_validation import OutOfFold, join_folds
from medclf.overview.paired_group_differences import PairedComparison, compare_with_best
from medclf.overview.run_groups import RunGroup, group_runs
from medclf.overview.run_means import Resampler
from medclf.overview.runs import RunEntry, find_runs, read_runs, select_finished
from medclf.utils.errors import ConfigError, format_list, suggest


@dataclass(frozen=True)
class Overview:
    """All that is known of the runs below some folders.

    ``metrics`` are shown, ``columns`` are keys of the configuration shown beside them, ``where`` what the runs were
    filtered by. ``notes`` are what a reader should know of the figures.
    """

    folders: Sequence[Path]
    entries: Sequence[RunEntry]
    settings: Sequence[RunGroup]
    compared: Sequence[PairedComparison]
    joined: Sequence[OutOfFold]
    metrics: Sequence[str]
    columns: Sequence[str]
    where: Sequence[str]
    resamples: int
    seed: int
    notes: Sequence[str]


def build_overview(
    folders: Sequence[Path],
    metrics: Sequence[str] | None,
    columns: Sequence[str],
    where: Sequence[str],
    resamples: int,
    seed: int,
) -> Overview:
    """Read runs and put them together.

    Args:
        folders: with runs in or below them.
        metrics: names as the test part of metrics.json has them; by default three.
        columns: keys of the configuration.
        where: ``key=value`` that runs must have.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: for a name that no run has, and a filter that leaves none.
        DataError: where there are no runs.
    """
    found = read_runs(find_runs(folders))
    known = {key for entry in found for key in entry.config}
    shown = list(dict.fromkeys(columns))
    for key in shown:
        _check_key("columns", key, known)
    kept = _filtered(found, where, known)
    names = _metrics(metrics, kept)
    validate_resamples(resamples, len(names) * len(select_finished(kept)))
    resampler = Resampler(names, resamples, seed)
    settings = group_runs(kept, resampler)
    tested = names if metrics else [name for name in LEADERBOARD_TESTED if name in names]
    pairs = compare_with_best(settings, tested, resampler)
    joined, notes = join_folds(settings, resamples, seed)
    notes = [*_remarks(settings, kept), *notes]
    return Overview(folders, kept, settings, pairs, joined, names, shown, where, resamples, seed, notes)


def _check_key(option: str, key: str, known: Iterable[str]) -> None:
    if key not in known:
        hint = suggest(key, sorted(known))
        raise ConfigError(
            f"{option}={key}: no run has such a key in its config.yaml; {hint}Keys are written as optimizer.lr"
        )


def _filtered(found: list[RunEntry], where: Sequence[str], known: Iterable[str]) -> list[RunEntry]:
    kept = found
    for text in where:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"where={text}: is not KEY=VALUE, as in where=model.name=cnn")
        _check_key("where", key, known)
        before = kept
        # nobody knows of a run without a configuration; it stays in the list of those that are not finished
        kept = [entry for entry in before if not entry.config or _has(entry.config, key, value)]
        if not any(entry.config for entry in kept):
            values = dict.fromkeys(_text(entry.config[key]) for entry in before if key in entry.config)
            raise ConfigError(f"where={text}: leaves no run; values of {key} are {format_list(values) or 'not there'}")
    return kept


def _has(config: dict[str, Any], key: str, text: str) -> bool:
    if key not in config:
        return False
    value = config[key]
    if text == _text(value):
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(text) == value
    except ValueError:
        return False


def _text(value: Any) -> str:
    """As one types it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _metrics(typed: Sequence[str] | None, found: Sequence[RunEntry]) -> list[str]:
    known: dict[str, None] = {}
    for entry in select_finished(found):
        test = (entry.metrics or {})["test"]
        known |= {name: None for name in test if name in METRICS}
    if typed is None or not known:
        return list(LEADERBOARD)
    names = list(dict.fromkeys(typed))
    for name in names:
        if name not in known:
            hint = suggest_metric(name, known)
            raise ConfigError(f"metrics={name}: no run has such a metric; {hint}Known: {format_list(known, 50)}")
    return names


def _remarks(settings: Sequence[RunGroup], found: Sequence[RunEntry]) -> list[str]:
    lines = []
    for dataset in dict.fromkeys(setting.dataset for setting in settings):
        own = [setting for setting in settings if setting.dataset == dataset]
        monitors = list(dict.fromkeys(setting.monitor for setting in own))
        if len(monitors) > 1:
            lines.append(
                f"The settings of {dataset} were chosen by different metrics ({format_list(monitors)}), which cannot "
                "be "
                "ranked together: each has a best of its own."
            )
        counts = [len(setting.done) for setting in own]
        if min(counts) < max(counts):
            lines.append(
                f"The settings of {dataset} have {min(counts)} to {max(counts)} finished runs: the mean of few is "
                "moved by luck, and so may the order be."
            )
        classes = {tuple(sorted(e.test.classes)) for setting in own for e in setting.done if e.test is not None}
        images = {_images(setting) for setting in own}
        if len(classes) > 1:
            sets = "; ".join(format_list(names) for names in sorted(classes))
            lines.append(f"Runs of {dataset} have different classes ({sets}): their figures do not compare.")
        elif len(images) > 1:
            lines.append(
                f"The settings of {dataset} were not all tested on the same images: their columns do not compare "
                "directly; the comparisons with the best do where they give a number."
            )
    lines += [line for setting in settings for line in _repeated(setting)]
    if any(entry.config.get("tune.lr") or entry.config.get("tune.batch_size") for entry in found):
        lines.append("Runs with tune.lr or tune.batch_size found these by themselves: they are no part of the setting.")
    return lines


def _images(setting: RunGroup) -> frozenset[str]:
    return frozenset(path for entry in setting.done if entry.test is not None for path in entry.test.table["path"])


def _repeated(setting: RunGroup) -> list[str]:
    seen: dict[Any, list[RunEntry]] = {}
    for entry in setting.done:
        seen.setdefault(entry.repetition, []).append(entry)
    return [
        f"{setting.label} of {setting.dataset} has several runs of the same seed, which are no independent ones: "
        f"{format_list(entry.run.shown for entry in same)}."
        for same in seen.values()
        if len(same) > 1
    ]
