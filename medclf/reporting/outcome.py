"""Everything a person is given of an evaluation, in one folder."""

from pathlib import Path

import pandas as pd

from medclf.evaluation.evaluate import Evaluation
from medclf.plots.image_grids import Seen
from medclf.plots.run_plots import GradCam, pictures_of
from medclf.plots.style import save
from medclf.reporting.html_report import write_report
from medclf.reporting.run_summary import About
from medclf.reporting.write import save_results


def write_outcome(
    evaluation: Evaluation,
    about: About,
    folder: Path,
    seen: Seen | None = None,
    history: pd.DataFrame | None = None,
    grad_cam: GradCam | None = None,
) -> dict[str, bytes]:
    """Write the figures, and where ``evaluation.pictures`` says so the pictures, the report and the model card.

    Args:
        evaluation: of a predictions table.
        about: what is known of the run.
        folder: where to.
        seen: gives the images, for the pages of images.
        history: the metrics of each epoch.
        grad_cam: maps of some of the images.

    Returns:
        The pictures as PNG files by name.
    """
    save_results(evaluation, about, folder)
    if not evaluation.config.pictures:
        return {}
    pictures = pictures_of(evaluation, seen, history, about.chosen.get("epoch"), grad_cam)
    files = save(pictures, folder / "figures")
    write_report(evaluation, about, pictures, files, folder)
    return files
