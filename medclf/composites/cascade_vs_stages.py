"""A cascade beside either of its stages alone, on the same test images. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medclf.comparison.compare import Comparison, compare_predictions
from medclf.composites.stages import Stage, Stages
from medclf.evaluation.evaluate import Evaluation
from medclf.evaluation.predictions import Predictions, select_split
from medclf.metric_registry import METRICS, comparison_names
from medclf.reporting.evaluate_input_validation import load_own_predictions
from medclf.reporting.run_description import StageComparison

OF_DECISIONS = tuple(name for name in comparison_names(2) if METRICS[name].basis == "decisions")
"""Metrics that a threshold changes."""
OF_THE_ILL = tuple(name for name in comparison_names(3) if not METRICS[name].needs)
"""Metrics that are defined where no image is healthy."""


def compare_stages(stages: Stages, cascade: Evaluation, second: Mapping[str, str]) -> list[StageComparison]:
    """Compare a cascade with its first stage as a detector, and with its second as a classifier.

    Each stage decides as it does alone, at its own operating point.

    Args:
        stages: of the cascade.
        cascade: its evaluation.
        second: by the path of an image, that of the same picture in stage 2.

    Raises:
        DataError: for predictions of a stage that cannot be read.
    """
    return [_beside_first(stages, cascade), _beside_second(stages, cascade, second)]


def _beside_first(stages: Stages, cascade: Evaluation) -> StageComparison:
    positive = str(stages.first.facts.positive)
    detector = replace(cascade.test.as_detector(), classes=[stages.gate, positive])
    own = {path: path for path in cascade.test.table["path"]}
    words = (
        f"Is it {positive} at all? All diseases of the cascade count as {positive}. Its probability of that is stage "
        "1's, so that only the thresholds differ."
    )
    comparison = _compared(stages.first, "stage 1", detector, own, cascade, OF_DECISIONS)
    return StageComparison("The cascade as a detector, against stage 1 alone", words, comparison, "against_stage1")


def _beside_second(stages: Stages, cascade: Evaluation, second: Mapping[str, str]) -> StageComparison:
    known = np.array([path in second for path in cascade.test.table["path"]])
    test, all_of_them = cascade.test.subset(known), len(cascade.test)
    if stages.gate in stages.second.facts.classes:
        metrics, words = None, f"All {len(test)} test images and all classes."
        if len(test) < all_of_them:
            words = f"Of {all_of_them} test images the {len(test)} that stage 2 knows, and all classes."
    else:
        metrics = OF_THE_ILL
        words = (
            f"Only the {len(test)} test images that are ill, since stage 2 alone does not know {stages.gate}. What it "
            f"costs to call some of them {stages.gate} shows here, and not what it brings on images that are healthy."
        )
    comparison = _compared(stages.second, "stage 2", test, second, cascade, metrics)
    return StageComparison("The cascade against stage 2 alone", words, comparison, "against_stage2")


def _compared(
    stage: Stage,
    label: str,
    cascade: Predictions,
    paths: Mapping[str, str],
    evaluation: Evaluation,
    metrics: Sequence[str] | None = None,
) -> Comparison:
    alone = _as_cascade(_test_of(stage, [paths[path] for path in cascade.table["path"]]), cascade)
    origins = {
        label: f"{stage.run.folder.as_posix()}; {stage.facts.operating_point.words}",
        "cascade": evaluation.point.words,
    }
    config = evaluation.config
    return compare_predictions({label: alone, "cascade": cascade}, origins, config.resamples, config.seed, metrics)


def _test_of(stage: Stage, paths: list[str]) -> Predictions:
    """What a stage alone predicts of some of its test images, in their order."""
    table = load_own_predictions(stage.run).set_index("path", drop=False)
    point = stage.facts.operating_point
    return select_split(table.loc[paths], "test", stage.facts.positive, point.threshold, point.gate)


def _as_cascade(alone: Predictions, cascade: Predictions) -> Predictions:
    """The same predictions under the classes, true classes and patients of a cascade; a class unknown gets 0."""
    place: NDArray[np.int64] = np.array([cascade.classes.index(name) for name in alone.classes])
    probabilities = np.zeros_like(cascade.probabilities)
    probabilities[:, place] = alone.probabilities
    return replace(cascade, probabilities=probabilities, predicted=place[alone.predicted])
