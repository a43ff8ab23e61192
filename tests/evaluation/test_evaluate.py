"""All that follows from a predictions table."""

import numpy as np
import pandas as pd
import pytest
from helpers.prediction_samples import config
from scipy.special import expit, softmax

from medclf.evaluation.calibration import Temperature, apply_temperature, fit_temperature
from medclf.evaluation.evaluate import FrozenDecision, evaluate
from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.operating_point import OperatingPoint, choose_operating_point
from medclf.evaluation.predictions import select_split
from medclf.evaluation.summary import metrics_frame
from medclf.utils.errors import ConfigError

QUICK = config(resamples=100, subgroups=None)
YOUDEN = config(resamples=100, subgroups=None, operating_point="youden")


def table(classes=("healthy", "ill"), splits=("val", "test"), seed=0):
    """80 patients with two images each; the last class is rarer and given too small a probability."""
    rng = np.random.default_rng(seed)
    target = np.repeat(rng.choice(len(classes), 80, p=None if len(classes) > 2 else [0.7, 0.3]), 2)
    if len(classes) == 2:
        positive = expit(1.5 * target - 2 + rng.normal(size=160))
        probabilities = np.stack([1 - positive, positive], 1)
    else:
        probabilities = softmax(2 * np.eye(len(classes))[target] + rng.normal(size=(160, len(classes))), axis=1)
    content = {
        "path": [f"{at}.png" for at in range(160)], "group": [f"patient {at // 2}" for at in range(160)],
        "split": np.repeat(rng.choice(splits, 80), 2), "fold": "", "true_class": np.asarray(classes)[target],
        "predicted_class": np.asarray(classes)[probabilities.argmax(1)],
        **{f"prob_{name}": probabilities[:, at] for at, name in enumerate(classes)},
        "site": rng.choice(["north", "south"], 160),
    }  # fmt: skip
    return pd.DataFrame(content)


def everything(found):
    """The numbers of an evaluation as text, in which NaN equals NaN."""
    frames = [metrics_frame(found.metrics), found.points, found.subgroups]
    parts = [found.point, found.temperature, found.calibration, found.remarks, found.calibrated.probabilities.tolist()]
    return [frame.to_csv() for frame in frames] + [repr(part) for part in parts]


@pytest.mark.parametrize("classes", [("healthy", "ill"), ("a", "b", "c")])
def test_the_same_table_gives_the_same_results(classes):
    first, again = (everything(evaluate(table(classes), YOUDEN)) for _ in range(2))
    assert first == again
    assert first != everything(evaluate(table(classes), YOUDEN.model_copy(update={"seed": 1})))


def test_the_threshold_of_validation_is_applied_to_test():
    predictions = table()
    found = evaluate(predictions, YOUDEN)
    validation = select_split(predictions, "val")
    assert found.point == choose_operating_point(validation, YOUDEN)
    assert found.point.threshold < 0.4
    test = select_split(predictions, "test", threshold=found.point.threshold)
    assert (found.test.predicted == test.predicted).all()
    assert (test.predicted != select_split(predictions, "test").predicted).any()
    assert found.metrics["test"] == estimate_metrics(test, 100, YOUDEN.seed)
    assert found.metrics["val"].overall["sensitivity"].value > 0
    assert (found.predictions["val"].predicted == (validation.probabilities[:, 1] >= found.point.threshold)).all()


def test_test_images_decide_nothing():
    predictions = table()
    turned = predictions.copy()
    test = turned["split"] == "test"
    turned.loc[test, ["prob_healthy", "prob_ill"]] = turned.loc[test, ["prob_ill", "prob_healthy"]].to_numpy()
    one, other = evaluate(predictions, YOUDEN), evaluate(turned, YOUDEN)
    assert (one.point, one.temperature, one.metrics["val"]) == (other.point, other.temperature, other.metrics["val"])
    assert one.metrics["test"] != other.metrics["test"]


def test_a_model_brings_its_own():
    chosen = FrozenDecision(OperatingPoint("sensitivity", 0.07, "of the model"), Temperature(1.7, "of the model"))
    for splits in (("val", "test"), ("test",)):
        found = evaluate(table(splits=splits), YOUDEN, chosen=chosen)
        assert (found.point, found.temperature) == (chosen.point, chosen.temperature)
        assert (found.test.predicted == (found.test.probabilities[:, 1] >= 0.07)).all()
        assert found.calibrated.probabilities == pytest.approx(apply_temperature(found.test.probabilities, 1.7))
        assert found.points["threshold"].iloc[0] == 0.07


def test_without_validation():
    found = evaluate(table(splits=("test",)), YOUDEN)
    assert (found.point.rule, found.point.threshold, found.temperature.value) == ("half", 0.5, 1)
    assert "validation has no images" in found.point.words
    assert "validation has no images" in found.temperature.words
    assert list(found.metrics) == list(found.predictions) == ["test"]
    assert list(found.points["rule"]) == ["half"]
    before, after = found.calibration["before"], found.calibration["after"]
    assert [after[name].value for name in before] == pytest.approx([value.value for value in before.values()])
    assert any("There are no validation images" in remark for remark in found.remarks)


def test_calibration_before_and_after():
    predictions = table()
    found = evaluate(predictions, YOUDEN)
    assert found.temperature == fit_temperature(select_split(predictions, "val"))
    assert list(found.calibration) == ["before", "after"]
    assert found.calibration["before"]["brier"] == found.metrics["test"].overall["brier"]
    after = estimate_metrics(found.calibrated, 100, 0).overall
    assert found.calibration["after"] == {name: after[name] for name in ("log_loss", "brier", "calibration_error")}
    # the temperature moves no image over the threshold
    assert (found.calibrated.predicted == found.test.predicted).all()


def test_every_rule_is_shown_on_test_with_the_chosen_one_first():
    predictions = table()
    found = evaluate(predictions, YOUDEN)
    assert list(found.points["rule"]) == ["youden", "half", "sensitivity", "specificity", "cost"]
    for row in found.points.itertuples():
        assert row.threshold == choose_operating_point(select_split(predictions, "val"), YOUDEN, row.rule).threshold
        at_threshold = estimate_metrics(select_split(predictions, "test", threshold=row.threshold), 100, 0).overall
        assert (row.sensitivity, row.npv) == (str(at_threshold["sensitivity"]), str(at_threshold["npv"]))


def test_three_classes():
    found = evaluate(table(("a", "b", "c")), YOUDEN)
    assert found.point.threshold is None
    assert (found.test.predicted == found.test.probabilities.argmax(1)).all()
    assert len(found.points) == 0
    assert "sensitivity" not in found.metrics["test"].overall
    assert found.temperature.value != 1


def test_the_positive_class_turns_the_sides():
    one, other = (evaluate(table(), QUICK, positive=name).metrics["test"].overall for name in ("ill", "healthy"))
    assert one["sensitivity"].value == other["specificity"].value
    assert one == evaluate(table(), QUICK).metrics["test"].overall
    with pytest.raises(ConfigError, match=r"positive=il: is not one of the classes healthy, ill; did you mean 'ill'\?"):
        evaluate(table(), QUICK, positive="il")


def test_prevalence_is_asked_for_in_the_config():
    overall = evaluate(table(), QUICK.model_copy(update={"prevalence": 0.02})).metrics["test"].overall
    sensitivity, specificity = overall["sensitivity"].value, overall["specificity"].value
    found = 0.02 * sensitivity / (0.02 * sensitivity + 0.98 * (1 - specificity))
    assert overall["ppv_at_prevalence"].value == pytest.approx(found)
    assert "ppv_at_prevalence" not in evaluate(table(), QUICK).metrics["test"].overall


def test_subgroups_are_at_the_operating_point():
    found = evaluate(table(), YOUDEN)
    assert set(found.subgroups["column"]) == {"site"}
    north = found.test.subset(found.test.table["site"].to_numpy() == "north")
    row = found.subgroups.set_index(["value", "metric"]).loc[("north", "sensitivity")]
    assert row["estimate"] == pytest.approx((north.predicted[north.target == 1] == 1).mean())
    with pytest.raises(ConfigError, match=r"did you mean 'site'\?"):
        evaluate(table(), QUICK.model_copy(update={"subgroups": ["sit"]}))
