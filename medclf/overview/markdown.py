"""An overview in words: as Markdown, and what the page says too."""

import math
from collections.abc import Callable, Sequence

from medclf.comparison.conclusions import format_conclusion, format_p_value
from medclf.comparison.paired_tests import Difference
from medclf.evaluation.metric_intervals import Estimate
from medclf.overview.cross_validation import OutOfFold
from medclf.overview.overview import Overview
from medclf.overview.paired_group_differences import PairedComparison
from medclf.overview.runs import select_finished
from medclf.overview.tables import READING, format_cells, format_unfinished, list_reasons
from medclf.utils.text_escaping import escape_markdown, markdown_table

Label = Callable[[str], str]
"""Returns what a metric is called: its name in Markdown, its label on the page."""


def format_overview(result: Overview) -> str:
    """Return the overview in Markdown."""
    parts = [f"# {escape_markdown(format_title(result))}", escape_markdown(format_summary(result))]
    if result.settings:
        parts += [
            markdown_table(*format_cells(result.settings, result.metrics, result.columns)),
            *map(escape_markdown, format_best_lines(result)),
        ]
    for pairs in group_by_best(result):
        parts += [f"## {escape_markdown(format_heading(pairs))}", markdown_table(*format_difference_cells(pairs))]
        parts.append("\n".join(f"- {escape_markdown(line)}" for line in format_conclusions(pairs)))
    if result.joined:
        parts += ["## Out of fold", FOLDS, markdown_table(*format_fold_cells(result))]
    parts += format_unfinished(result.entries)
    return (
        "\n\n".join(
            [*parts, "## How to read it", "\n".join(f"- {escape_markdown(line)}" for line in list_notes(result))]
        )
        + "\n"
    )


FOLDS = (
    "The test parts of all folds together are every image once, predicted by the network that had not seen it, and are "
    "judged here as one table. Each fold keeps its own threshold. AUROC and the like mix the probabilities of several "
    "networks, which may cost a little; the mean over folds above does not."
)


def format_title(result: Overview) -> str:
    """Return the title."""
    return f"Runs below {', '.join(folder.as_posix() for folder in result.folders)}"


def format_summary(result: Overview) -> str:
    """Return the number of runs and settings, in a sentence or two."""
    done = len(select_finished(result.entries))
    where = f" Only runs with {', '.join(result.where)}." if result.where else ""
    settings = f"{len(result.settings)} setting{'s' if len(result.settings) != 1 else ''}"
    if not done:
        return f"None of {len(result.entries)} runs has finished.{where}"
    return f"{done} of {len(result.entries)} runs have finished, of {settings}.{where}"


def format_best_lines(result: Overview, label: Label = str) -> list[str]:
    """Return the best setting per dataset and monitor: chosen on validation, reported on test."""
    lines = []
    for best in (setting for setting in result.settings if setting.best):
        rivals = [s for s in result.settings if (s.dataset, s.monitor) == (best.dataset, best.monitor)]
        test = ", ".join(f"{label(name)} {best.test[name]}" for name in result.metrics)
        lines.append(
            f"The best of {best.dataset} by validation ({best.monitor} {best.validation}), of {len(rivals)} "
            f"setting{'s' if len(rivals) > 1 else ''}: {best.label}. Its test: {test}."
        )
    return lines


def group_by_best(result: Overview) -> list[list[PairedComparison]]:
    """Return the comparisons grouped by their best setting."""
    groups: dict[int, list[PairedComparison]] = {}
    for pair in result.compared:
        groups.setdefault(pair.best.number, []).append(pair)
    return list(groups.values())


def format_heading(pairs: Sequence[PairedComparison]) -> str:
    """Return the heading of the comparisons with one best setting."""
    return f"{pairs[0].best.dataset}: against the best, {pairs[0].best.label}"


def format_difference_cells(pairs: Sequence[PairedComparison], label: Label = str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of differences: the setting's mean less the best's."""
    head = ["setting", "metric", "best", "setting's", "difference", "p", "p (Holm)", "pairs of runs", "test images"]
    rows = []
    for pair in pairs:
        for row in pair.rows:
            reason = row.reason if math.isnan(row.difference) else ""
            cells = [pair.other.label, label(row.metric), _number(row.first_value), _number(row.second_value)]
            cells += [reason or _difference(row)]
            cells += ["", ""] if reason else [format_p_value(p).removeprefix("= ") for p in (row.p, row.p_holm)]
            rows.append([*cells, "" if reason else str(pair.pairs), "" if reason else str(row.n)])
    return head, rows


def _difference(row: Difference) -> str:
    return f"{row.difference:+.3f}" + ("" if math.isnan(row.low) else f" [{row.low:+.3f}, {row.high:+.3f}]")


def format_conclusions(pairs: Sequence[PairedComparison], label: Label = str) -> list[str]:
    """Return the conclusions for each setting's metrics; settings that cannot be compared are named once."""
    lines = []
    for pair in pairs:
        if all(math.isnan(row.p) for row in pair.rows):
            lines.append(f"{pair.other.label}: cannot be compared: {pair.rows[0].reason}")
        else:
            named = [(label(row.metric), row) for row in pair.rows]
            lines += [f"{pair.other.label}, {name}: {format_conclusion(row, pair.others, name)}" for name, row in named]
    return lines


def format_fold_cells(result: Overview, label: Label = str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table of joined folds."""
    head = ["dataset", "setting", "folds", "images (patients)", *map(label, result.metrics)]
    return head, [_fold_row(joined, result.metrics) for joined in result.joined]


def _fold_row(joined: OutOfFold, metrics: Sequence[str]) -> list[str]:
    size = f"{joined.metrics.images} ({joined.metrics.patients})"
    estimates = [joined.metrics.overall.get(name, Estimate(math.nan)) for name in metrics]
    return [joined.setting.dataset, joined.label, str(joined.folds), size, *map(str, estimates)]


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.3f}"


def list_notes(result: Overview, label: Label = str) -> list[str]:
    """Return sentences about the methods and what does not follow from the results."""
    lines = [
        READING,
        "The validation figure is the one that chose each checkpoint, so it flatters; the test took part in no choice. "
        "Each run is judged at its own operating point, chosen on its validation images.",
        f"Intervals are of 95 %, by {result.resamples} resamples of seed {result.seed}: patients are drawn within "
        "classes out of all that a setting was tested on. They tell what other patients would give with these "
        "networks; what other seeds would give shows the sd. (For one run whose patients have one image each, "
        "python -m medclf.evaluate gives some intervals by formulas of Wilson and DeLong, which differ a little.)",
    ]
    if result.compared:
        lines.append(
            "Settings are compared with the best where every run has a counterpart of the same seed and fold with the "
            "same test images: the same patients are drawn for both, p-values are by this bootstrap and corrected for "
            "the number of settings by Holm (1979), metrics are not corrected for each other. They compare the trained "
            "networks: with one or two seeds, others may turn the order."
        )
        smallest = 2 * max(pair.others for pair in result.compared) / (result.resamples + 1)
        if smallest >= 0.05:
            lines.append(
                f"{result.resamples} resamples are too few for so many settings: no corrected p-value can be below "
                "0.05; type a larger resamples=N."
            )
    return [*lines, *list_reasons(result.settings, label), *result.notes, "A research tool, no medical device."]
