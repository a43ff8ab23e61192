"""The figures of an evaluation as files."""

from pathlib import Path
from typing import Any

import pandas as pd

from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.summary import format_number, metrics_frame, metrics_to_json
from medclf.plots.image_grids import ImageReader
from medclf.plots.run_plots import GradCam, draw_run_plots
from medclf.plots.style import save_plots
from medclf.reporting.html_report import write_report
from medclf.reporting.run_description import RunSummary
from medclf.utils.atomic_write import write_csv
from medclf.utils.json_yaml import write_json


def save_results(evaluation: Evaluation, about: RunSummary, folder: Path) -> None:
    """Write ``metrics.json``, ``metrics.csv``, and tables of operating points and subgroups where there are such."""
    write_json(folder / "metrics.json", build_results_json(evaluation, about))
    write_csv(folder / "metrics.csv", metrics_frame(evaluation.metrics))
    for name, frame in (("operating_points", evaluation.points), ("subgroups", evaluation.subgroups)):
        if not frame.empty:
            write_csv(folder / f"{name}.csv", frame)


def build_results_json(evaluation: Evaluation, about: RunSummary) -> dict[str, Any]:
    """Return the content of ``metrics.json``: chosen checkpoint, operating point, temperature and metrics."""
    test = evaluation.test
    calibration = {
        when: {
            name: {
                "value": format_number(found.value),
                "interval_95": [format_number(found.low), format_number(found.high)],
            }
            for name, found in metrics.items()
        }
        for when, metrics in evaluation.calibration.items()
    }
    return {
        **about.chosen,
        "positive": None if test.positive is None else test.classes[test.positive],
        "operating_point": vars(evaluation.point),
        "temperature": vars(evaluation.temperature),
        "calibration_test": calibration,
        "remarks": [*about.notes, *evaluation.remarks],
        **{part: metrics_to_json(metrics) for part, metrics in evaluation.metrics.items()},
    }


def write_outcome(
    evaluation: Evaluation,
    about: RunSummary,
    folder: Path,
    seen: ImageReader | None = None,
    history: pd.DataFrame | None = None,
    grad_cam: GradCam | None = None,
) -> dict[str, bytes]:
    """Write the figures, and where ``evaluation.plots`` says so the pictures, the report and the model card.

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
    if not evaluation.config.plots:
        return {}
    pictures = draw_run_plots(evaluation, seen, history, about.chosen.get("epoch"), grad_cam)
    files = save_plots(pictures, folder / "figures")
    write_report(evaluation, about, pictures, files, folder)
    return files
