"""All that follows from a predictions table, in numbers. The same table, config and model give the same figures."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from medclf.config.consistency_validation import validate_positive
from medclf.config.schema import EvaluationConfig
from medclf.evaluation.calibration import Temperature, calibrate, fit_temperature
from medclf.evaluation.metric_intervals import Estimate, Metrics, estimate_metrics
from medclf.evaluation.operating_point import OperatingPoint, choose_operating_point, list_rules
from medclf.evaluation.predictions import Predictions, decide_class, get_classes, select_split
from medclf.evaluation.predictions_io import list_remarks
from medclf.evaluation.subgroups import compute_subgroups
from medclf.metric_registry import PROBABILITY_METRICS, THRESHOLD_RATES

PARTS = ("val", "test")


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a predictions table.

    ``predictions`` and ``metrics`` by split (val where there is one, and test), at ``point``. ``calibrated`` holds the
    test predictions with the temperature applied; ``calibration`` their log loss, Brier score and calibration error by
    ``before`` and ``after``. ``points`` shows what each rule of the operating point would have given on test.
    """

    config: EvaluationConfig
    predictions: dict[str, Predictions]
    metrics: dict[str, Metrics]
    point: OperatingPoint
    temperature: Temperature
    calibrated: Predictions
    calibration: dict[str, dict[str, Estimate]]
    points: pd.DataFrame
    subgroups: pd.DataFrame
    remarks: list[str]

    @property
    def test(self) -> Predictions:
        """Return the predictions of the test split."""
        return self.predictions["test"]

    def decided(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the evaluated table with the classes predicted at the operating point."""
        table = table.copy()
        for part, judged in self.predictions.items():
            table.loc[table["split"] == part, "predicted_class"] = np.asarray(judged.classes)[judged.predicted]
        return table


@dataclass(frozen=True)
class FrozenDecision:
    """What a trained model brings with it to other images: its operating point and its temperature."""

    point: OperatingPoint
    temperature: Temperature


def evaluate(
    table: pd.DataFrame,
    config: EvaluationConfig,
    positive: str | None = None,
    chosen: FrozenDecision | None = None,
    gate: str | None = None,
) -> Evaluation:
    """Evaluate a predictions table.

    Args:
        table: as ``load_predictions`` gives it.
        config: of group ``evaluation``.
        positive: the class that sensitivity is about, for two classes; None: the last one.
        chosen: operating point and temperature of a model that is tested on other images; None: they are chosen on the
            validation images of the table.
        gate: the class that a threshold holds back, for more than two classes; None: they have no threshold.

    Raises:
        ConfigError: for a positive class or a column of subgroups that is not there.
    """
    validate_positive("positive", positive, get_classes(table))
    parts = {part: select_split(table, part, positive, gate=gate) for part in PARTS if (table["split"] == part).any()}
    validation = parts.get("val", select_split(table, "val", positive, gate=gate))
    point = chosen.point if chosen else choose_operating_point(validation, config)
    temperature = chosen.temperature if chosen else fit_temperature(validation)
    decided = {part: _decided(predictions, point) for part, predictions in parts.items()}
    metrics = {part: _estimated(predictions, config) for part, predictions in decided.items()}
    after = calibrate(decided["test"], temperature.value)
    calibration = {"before": metrics["test"], "after": _estimated(after, config, ranks=False)}
    return Evaluation(
        config=config,
        predictions=decided,
        metrics=metrics,
        point=point,
        temperature=temperature,
        calibrated=after,
        calibration={
            name: {metric: found.overall[metric] for metric in PROBABILITY_METRICS}
            for name, found in calibration.items()
        },
        points=_points(validation, decided["test"], point, config),
        subgroups=compute_subgroups(decided["test"], config.subgroups, config.resamples, config.seed),
        remarks=list_remarks(table, chosen is not None),
    )


def _decided(predictions: Predictions, point: OperatingPoint) -> Predictions:
    predicted = decide_class(predictions.probabilities, predictions.positive, point.threshold, predictions.held)
    return replace(predictions, predicted=predicted)


def _estimated(predictions: Predictions, config: EvaluationConfig, ranks: bool = True) -> Metrics:
    return estimate_metrics(predictions, config.resamples, config.seed, config.prevalence, ranks)


def _points(
    validation: Predictions, test: Predictions, chosen: OperatingPoint, config: EvaluationConfig
) -> pd.DataFrame:
    """Sensitivity, specificity, PPV and NPV on test at the threshold of each rule; the chosen one first."""
    if test.gate is None:
        return pd.DataFrame(columns=["rule", "threshold", *THRESHOLD_RATES])
    others = (
        [choose_operating_point(validation, config, rule) for rule in list_rules(config)] if len(validation) else []
    )
    points = [chosen, *(point for point in others if point.rule != chosen.rule)]
    rows = []
    for point in {point.rule: point for point in points}.values():
        found = _estimated(_decided(test, point).as_detector(), config, ranks=False).overall
        rates = {name: str(found[name]) for name in THRESHOLD_RATES}
        rows.append({"rule": point.rule, "threshold": point.threshold, **rates})
    return pd.DataFrame(rows, columns=["rule", "threshold", *THRESHOLD_RATES])
