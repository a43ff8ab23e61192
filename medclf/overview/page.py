"""``report.html``: the overview as one file that holds its pictures and needs no others."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from medclf.overview.markdown import (
    FOLDS,
    best_lines,
    by_best,
    conclusions,
    difference_cells,
    fold_cells,
    heading,
    notes,
    summary,
    title,
)
from medclf.overview.overview import Overview
from medclf.overview.tables import cells_of, unfinished
from medclf.plots.style import Picture
from medclf.utils.text_escaping import in_html


def page(result: Overview, pictures: Sequence[Picture], files: Mapping[str, bytes]) -> str:
    """The page as HTML. What comes from data is escaped; a name that is not given is an error.

    Args:
        result: what is reported.
        pictures: to be shown.
        files: their PNG files by name.
    """
    environment = Environment(
        loader=PackageLoader("medclf.overview"),
        autoescape=select_autoescape(["html.j2"]),
        finalize=in_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=title(result),
        summary=summary(result),
        best=best_lines(result),
        table=cells_of(result.settings, result.metrics, result.columns) if result.settings else None,
        marked=[setting.best for setting in result.settings],
        comparisons=[(heading(pairs), difference_cells(pairs), conclusions(pairs)) for pairs in by_best(result)],
        folds=fold_cells(result) if result.joined else None,
        folds_words=FOLDS,
        unfinished=unfinished(result.entries),
        pictures=[(p.name, p.caption, base64.b64encode(files[p.name]).decode()) for p in pictures],
        notes=notes(result),
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    )
