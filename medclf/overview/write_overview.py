"""An overview as files in a folder."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from medclf.comparison.conclusions import format_conclusion
from medclf.evaluation.predictions import save_predictions
from medclf.evaluation.summary import metrics_frame
from medclf.metric_registry import metric_label, metric_phrase
from medclf.overview.cross_validation import OutOfFold
from medclf.overview.markdown import (
    FOLDS,
    format_best_lines,
    format_conclusions,
    format_difference_cells,
    format_fold_cells,
    format_heading,
    format_summary,
    format_title,
    group_by_best,
    list_notes,
)
from medclf.overview.overview import Overview
from medclf.overview.plots import draw_overview_plots
from medclf.overview.tables import build_runs_frame, build_settings_frame, format_cells, select_unfinished
from medclf.plots.style import Plot
from medclf.plots.style import save_plots as save_pictures
from medclf.utils.atomic_write import write_csv, write_text
from medclf.utils.file_names import safe_file_name
from medclf.utils.safe_terminal import escape_control
from medclf.utils.text_escaping import escape_html


def save_overview(result: Overview, written: str, folder: Path) -> None:
    """Write ``report.md``, ``report.html``, ``settings.csv``, ``runs.csv`` and ``figures/``.

    Where there are such, ``comparisons.csv`` (a setting and metric a row), and of joined folds a predictions table
    ``out_of_fold_….csv`` each and ``out_of_fold_metrics.csv`` of all.

    Raises:
        OSError: where the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "report.md", escape_control(written))
    write_csv(folder / "runs.csv", build_runs_frame(result.entries, result.settings, result.metrics, result.columns))
    if result.settings:
        write_csv(folder / "settings.csv", build_settings_frame(result.settings, result.columns))
    if result.compared:
        write_csv(folder / "comparisons.csv", _comparisons(result))
    if result.joined:
        _save_folds(result.joined, folder)
    pictures = draw_overview_plots(result.settings, result.metrics)
    files = save_pictures(pictures, folder / "figures") if pictures else {}
    write_text(folder / "report.html", render_page(result, pictures, files))


def _comparisons(result: Overview) -> pd.DataFrame:
    rows = []
    for pair in result.compared:
        for row in pair.rows:
            facts = {"dataset": pair.best.dataset, "metric": row.metric, "best": pair.best.number}
            facts |= {"setting": pair.other.number, "best_value": row.first_value, "value": row.second_value}
            facts |= {"difference": row.difference, "low": row.low, "high": row.high, "p": row.p, "p_holm": row.p_holm}
            facts |= {"test": row.test, "pairs_of_runs": pair.pairs, "n": row.n, "settings_compared": pair.others}
            rows.append(facts | {"reason": row.reason, "conclusion": format_conclusion(row, pair.others)})
    return pd.DataFrame(rows)


def _save_folds(joined: Sequence[OutOfFold], folder: Path) -> None:
    for one in joined:
        parts = [one.setting.dataset, one.setting.model, str(one.setting.number), f"seed{one.seed}"]
        if one.split_seed:
            parts.append(f"split{one.split_seed}")
        name = safe_file_name("_".join(parts), words_only=True)
        save_predictions(one.predictions.table, folder / f"out_of_fold_{name}.csv")
    frames = [metrics_frame({"test": one.metrics}).drop(columns="split").assign(setting=one.label) for one in joined]
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "setting", table.pop("setting"))
    write_csv(folder / "out_of_fold_metrics.csv", table)


def render_page(result: Overview, pictures: Sequence[Plot], files: Mapping[str, bytes]) -> str:
    """Return the page as HTML. Data is escaped; an undefined name is an error.

    Args:
        result: what is reported.
        pictures: to be shown.
        files: their PNG files by name.
    """
    environment = Environment(
        loader=PackageLoader("medclf.overview"),
        autoescape=select_autoescape(["html.j2"]),
        finalize=escape_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=format_title(result),
        summary=format_summary(result),
        best=format_best_lines(result, metric_phrase),
        table=format_cells(result.settings, result.metrics, result.columns, metric_phrase) if result.settings else None,
        marked=[setting.best for setting in result.settings],
        comparisons=[
            (
                format_heading(pairs),
                format_difference_cells(pairs, metric_label),
                format_conclusions(pairs, metric_phrase),
            )
            for pairs in group_by_best(result)
        ],
        folds=format_fold_cells(result, metric_label) if result.joined else None,
        folds_words=FOLDS,
        unfinished=select_unfinished(result.entries),
        pictures=[(p.name, p.caption, base64.b64encode(files[p.name]).decode()) for p in pictures],
        notes=list_notes(result, metric_phrase),
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )
