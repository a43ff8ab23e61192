"""A comparison of classifiers as a person reads it: tables, words, files."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from medclf.comparison.compare import Comparison
from medclf.comparison.conclusions import format_conclusion, format_conclusions, format_p_value, list_cautions
from medclf.comparison.paired_tests import Difference
from medclf.evaluation.metric_intervals import Estimate
from medclf.evaluation.summary import metrics_frame
from medclf.metric_registry import published_rows
from medclf.plots.comparison import differences_plot
from medclf.utils.atomic_write import write_bytes, write_csv, write_text
from medclf.utils.safe_terminal import escape_control
from medclf.utils.text_escaping import escape_markdown, markdown_table


def format_comparison(result: Comparison) -> str:
    """Return the comparison in Markdown: metrics, pairwise differences, conclusions and cautions."""
    origins = [f"- {escape_markdown(label)}: {escape_markdown(origin)}" for label, origin in result.origins.items()]
    parts = [_overview(result), "\n".join(origins)]
    for pair in result.pairs:
        rows = [row for row in result.differences if (row.first, row.second) == pair]
        parts += [
            _pair_table(rows, len(result.pairs)),
            "\n".join(escape_markdown(line) for line in format_conclusions(rows, len(result.pairs))),
        ]
    return "\n\n".join([*parts, "\n".join(f"- {escape_markdown(line)}" for line in list_cautions(result))]) + "\n"


def _overview(result: Comparison) -> str:
    test = result.test
    numbers = {name: at for at, name in enumerate(test.classes)}
    rows = [
        (title, *(_estimate(metrics.overall[name]) for metrics in result.found.values()))
        for title, name in _overview_rows(result)
    ]
    head = f"- **Classes:** `{escape_markdown(str(numbers))}`\n- **Test Data Size:** `{len(test)}`\n\n"
    return head + markdown_table(("Metric", *result.found), rows) + _reasons(result)


def _overview_rows(result: Comparison) -> list[tuple[str, str]]:
    test = result.test
    return published_rows(None if test.positive is None else test.classes[test.positive])


def _reasons(result: Comparison) -> str:
    shown = [(title, label, metrics.overall[name].reason) for title, name in _overview_rows(result)
             for label, metrics in result.found.items()]  # fmt: skip
    return "".join(
        "\n\n" + escape_markdown(f"{title} of {label}: {reason}") for title, label, reason in shown if reason
    )


def _pair_table(rows: Sequence[Difference], pairs: int) -> str:
    first, second = rows[0].first, rows[0].second
    corrected = ["p (Holm)"] if pairs > 1 else []
    cells = []
    for row in rows:
        difference = _valued(row.difference, row.low, row.high, "+")
        p_values = [format_p_value(p).removeprefix("= ") for p in (row.p, row.p_holm)[: 1 + len(corrected)]]
        values = [_valued(value, math.nan, math.nan) for value in (row.first_value, row.second_value)]
        cells.append([row.metric, *values, difference, *p_values, row.test, str(row.n)])
    head = ["Metric", first, second, f"{second} minus {first}", "p", *corrected, "Test", "n"]
    return f"## {escape_markdown(second)} against {escape_markdown(first)}\n\n{markdown_table(head, cells)}"


def _estimate(found: Estimate) -> str:
    return _valued(found.value, found.low, found.high)


def _valued(value: float, low: float, high: float, sign: str = "") -> str:
    if math.isnan(value):
        return "NaN"
    interval = "" if math.isnan(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
    return f"{value:{sign}.4f}{interval}"


def save_comparison(result: Comparison, written: str, folder: Path) -> None:
    """Write ``comparison.md``, ``comparison.csv`` (a pair and metric a row), ``table.csv`` and ``differences.png``.

    Raises:
        OSError: where the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "comparison.md", escape_control(written))
    rows = pd.DataFrame([vars(row) for row in result.differences])
    counts = ["only_first_right", "only_second_right"]
    rows[counts] = rows[counts].astype("Int64")
    rows["conclusion"] = [format_conclusion(row, len(result.pairs)) for row in result.differences]
    write_csv(folder / "comparison.csv", rows)
    write_csv(folder / "table.csv", metrics_frame(result.found).rename(columns={"split": "run"}))
    write_bytes(folder / "differences.png", differences_plot(result.differences, len(result.test.classes)).png())
