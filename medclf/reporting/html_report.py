"""``report.html``: one file that holds all of a run's results, its pictures too."""

import base64
import math
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from medclf.comparison.conclusions import format_conclusion, format_p_value
from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.metric_intervals import Estimate
from medclf.metric_registry import METRICS, THRESHOLD_RATES, card_names, headline_names, metric_label, metric_phrase
from medclf.plots.style import Plot
from medclf.reporting.limitations import list_limitations
from medclf.reporting.run_description import RunSummary
from medclf.utils.atomic_write import write_text
from medclf.utils.errors import format_list
from medclf.utils.safe_terminal import escape_control
from medclf.utils.text_escaping import escape_html, escape_markdown

FAILURES = ("misclassified", "grad_cam_wrong")
MAX_NAMES = 30
"""Class names in a sentence; the tables have them all."""
MAX_SUBGROUPS = 300
"""Rows of the table of subgroups; subgroups.csv has them all."""
WORDS = {
    "half": "0.5", "youden": "Youden", "sensitivity": "target sensitivity", "specificity": "target specificity",
    "cost": "cost",
}  # fmt: skip


def write_report(
    evaluation: Evaluation, about: RunSummary, pictures: Iterable[Plot], files: dict[str, bytes], folder: Path
) -> None:
    """Write ``report.html`` and, of a run, ``model_card.md``.

    Args:
        evaluation: what is reported.
        about: what is known of the run.
        pictures: to be shown.
        files: their PNG files by name.
        folder: where to.
    """
    names = ["report.html", "model_card.md"] if about.config and not about.members else ["report.html"]
    facts = build_context(evaluation, about)
    facts["pictures"] = [
        {"name": p.name, "caption": p.caption, "png": base64.b64encode(files[p.name]).decode()} for p in pictures
    ]
    for name in names:
        write_text(folder / name, _template(name).render(facts))


def _template(name: str) -> Template:
    """A template of this room. What comes from data is escaped; a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("medclf.reporting"),
        autoescape=select_autoescape(["html.j2"]),
        finalize=_in_markdown if name.endswith(".md") else escape_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.j2")


def _in_markdown(value: Any) -> Any:
    """Return text that is no Markdown and ends no cell of a table; what the template marks as safe stays."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return escape_markdown(value).replace("|", "\\|")


def build_context(evaluation: Evaluation, about: RunSummary) -> dict[str, Any]:
    """Return the variables of the templates."""
    test = evaluation.metrics["test"]
    classes = evaluation.test.classes
    shown = [name for name in headline_names(len(classes)) if name in test.overall]
    counts = about.counts()
    return {
        "about": about,
        "config": about.config,
        "record": about.record,
        "evaluation": evaluation,
        "test": evaluation.test,
        "classes": classes,
        "class_names": format_list(classes, MAX_NAMES),
        "headline": {name: test.overall[name] for name in shown},
        "cards": {name: test.overall[name] for name in card_names(len(classes)) if name in test.overall},
        "overall": test.overall,
        "per_class": test.per_class,
        "class_metrics": list(next(iter(test.per_class.values()))),
        "counts": None if counts is None else _rows(counts),
        "rates": THRESHOLD_RATES,
        "points": [{**row, "rule": WORDS.get(row["rule"], row["rule"])} for row in _records(evaluation.points)],
        "calibration": evaluation.calibration,
        "subgroups": _records(evaluation.subgroups[:MAX_SUBGROUPS]),
        "more_subgroups": max(0, len(evaluation.subgroups) - MAX_SUBGROUPS),
        "limits": list_limitations(evaluation, about),
        "failures": FAILURES,
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "fence": "`" * max(3, 1 + max(map(len, re.findall("`+", about.command)), default=0)),
        "command": escape_control(about.command),
        "shown": _shown,
        "isnan": math.isnan,
        "number": _number,
        "p_value": lambda p: format_p_value(p).removeprefix("= "),
        "conclusion": lambda row: format_conclusion(row, name=metric_phrase(row.metric)),
        "label": lambda name: metric_label(name, len(classes)),
        "description": lambda name: METRICS[name].description,
    }


def _shown(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "not defined"
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.3f}, {estimate.high:.3f}]"
    return f"{estimate.value:.3f}{interval}"


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.3f}"


def _rows(frame: pd.DataFrame) -> list[list[str]]:
    header = ["", *map(str, frame.columns)]
    return [header, *([str(name), *map(str, row)] for name, row in zip(frame.index, frame.to_numpy(), strict=True))]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
