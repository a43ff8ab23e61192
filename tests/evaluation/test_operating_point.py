"""The rules of the threshold against all thresholds that there are."""

from dataclasses import replace

import numpy as np
import pytest
from helpers.prediction_samples import binary, config, predictions, sample

from medclf.evaluation.operating_point import RULES, choose_operating_point, list_rules
from medclf.evaluation.predictions import decide_class


def rates(made, threshold):
    predicted = decide_class(made.probabilities, made.positive, threshold)
    truth = made.target == made.positive
    call = predicted == made.positive
    return call[truth].mean(), (~call[~truth]).mean()


def every_threshold(made):
    """All that differ: between any two scores, above all of them where there is room, and nothing."""
    scores = np.unique(made.probabilities[:, made.positive])
    found = [0.0, *scores, *(scores[:-1] + np.diff(scores) / 2), (1 + scores[-1]) / 2]
    return [rates(made, threshold) for threshold in found]


def value_of(rule, sensitivity, specificity, made, settings):
    """What a rule makes as large as it can."""
    if rule == "youden":
        return sensitivity + specificity
    if rule == "cost":
        share = settings.prevalence or (made.target == made.positive).mean()
        return -(settings.cost * share * (1 - sensitivity) + (1 - share) * (1 - specificity))
    held, other = (sensitivity, specificity) if rule == "sensitivity" else (specificity, sensitivity)
    return other if held >= settings.target - 1e-12 else -1


def drawn(seed, kind):
    rng = np.random.default_rng(seed)
    truth = np.append([0, 1], rng.integers(2, size=23))
    scores = np.clip(0.25 * truth + 0.75 * rng.random(25), 0, 1)
    if kind == "tied":
        scores = np.round(scores, 1)
    if kind == "zero and one":
        scores[2:6], scores[6:10] = 0, 1
    return binary(scores, truth, positive=seed % 2)


@pytest.mark.parametrize("rule", ["youden", "sensitivity", "specificity", "cost"])
@pytest.mark.parametrize("kind", ["distinct", "tied", "zero and one"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("settings", [{}, {"target": 0.6, "cost": 0.3, "prevalence": 0.02}])
def test_no_threshold_is_better(rule, kind, seed, settings):
    made, settings = drawn(seed, kind), config(operating_point=rule, **settings)
    point = choose_operating_point(made, settings)
    assert point.rule == rule
    best = max(value_of(rule, *found, made, settings) for found in every_threshold(made))
    sensitivity, specificity = rates(made, point.threshold)
    if best == -1:
        assert f"the largest {rule} that validation allows, below {settings.target:g}" in point.words
        held = {"sensitivity": 0, "specificity": 1}[rule]
        assert rates(made, point.threshold)[held] == max(found[held] for found in every_threshold(made))
    else:
        assert value_of(rule, sensitivity, specificity, made, settings) == pytest.approx(best, abs=1e-12)
    assert f"sensitivity {sensitivity:.3f}, specificity {specificity:.3f} on validation (n = 25)" in point.words
    assert point.words.startswith(f"{point.threshold:.4f}: ")
    assert 0 <= point.threshold <= 1


@pytest.mark.parametrize("rule", ["youden", "sensitivity", "specificity", "cost"])
def test_neighbouring_floats_are_told_apart(rule):
    # halfway between 1 - 2^-53 and 1 - 2^-52 there is no float
    scores = 1 - np.array([0, 1, 2, 3, 4, 5]) * 2.0**-53
    for truth in ([1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]):
        point = choose_operating_point(binary(scores, truth), config(operating_point=rule))
        assert rates(binary(scores, truth), point.threshold) == (1, 1)


def test_halfway_between_two_scores():
    point = choose_operating_point(binary([0.1, 0.2, 0.6, 0.9], [0, 0, 1, 1]), config(operating_point="youden"))
    assert point.threshold == pytest.approx(0.4)


def test_the_middle_one_of_equally_good_thresholds():
    # positive and negative in turn: after each positive one the Youden index is 1/3
    made = binary([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 0, 1, 0, 1, 0])
    assert choose_operating_point(made, config(operating_point="youden")).threshold == pytest.approx(0.65)


def test_specificity_out_of_reach():
    # both negatives have a probability of 1, as the positives have
    point = choose_operating_point(binary([1.0, 1.0, 1.0, 0.5], [0, 0, 1, 1]), config(operating_point="specificity"))
    assert "the largest specificity that validation allows, below 0.95" in point.words
    assert "specificity 0.000 on validation" in point.words


def test_half():
    point = choose_operating_point(sample(2, 20, 0, "skilled"), config(operating_point="half"))
    assert (point.rule, point.threshold) == ("half", 0.5)
    assert point.words == "0.5: b is predicted where it is the more probable class"


@pytest.mark.parametrize("rule", ["youden", "sensitivity", "specificity", "cost"])
@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1], []])
def test_validation_of_one_class(rule, truth):
    point = choose_operating_point(predictions(np.full((len(truth), 2), 0.5), truth), config(operating_point=rule))
    assert (point.rule, point.threshold) == ("half", 0.5)
    assert point.words == f"0.5, since validation has no images of both classes to choose {rule} by"


def test_more_than_two_classes_have_no_threshold():
    for rule in RULES:
        point = choose_operating_point(sample(3, 20, 0, "skilled"), config(operating_point=rule))
        assert (point.rule, point.threshold) == ("most probable", None)
        assert point.words == "the most probable class is predicted"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(4))
def test_one_of_more_classes_is_held_back(rule, seed):
    settings = config(operating_point=rule)
    made = replace(sample(4, 60, seed, "skilled"), held=seed)
    one = made.probabilities[:, seed]
    point, two = (
        choose_operating_point(made, settings),
        choose_operating_point(binary(1 - one, made.target != seed), settings),
    )
    assert (point.rule, point.threshold, point.gate) == (two.rule, two.threshold, "abcd"[seed])
    assert f"{'abcd'[seed]} is predicted where the other classes together are less probable" in point.words
    predicted = decide_class(made.probabilities, None, point.threshold, seed)
    for row, label in zip(made.probabilities, predicted, strict=True):
        others = {at: value for at, value in enumerate(row) if at != seed}
        assert label == (seed if 1 - row[seed] < point.threshold else max(others, key=others.get))


def test_a_detector_of_the_class_that_is_held_back():
    made = replace(sample(3, 40, 1, "skilled"), held=2)
    two = made.as_detector()
    assert (two.classes, two.positive, two.gate) == (["c", "not c"], 1, 0)
    assert (two.target == (made.target != 2)).all()
    assert (two.predicted == (made.predicted != 2)).all()
    np.testing.assert_allclose(two.probabilities[:, 1], made.probabilities[:, :2].sum(1), atol=1e-12)
    alone = sample(2, 40, 1, "skilled")
    assert alone.as_detector() is alone
    assert alone.gate == 1 - alone.positive


def test_the_chosen_rule_is_shown_first():
    assert list_rules(config(operating_point="cost")) == ["cost", "half", "youden", "sensitivity", "specificity"]
    assert sorted(list_rules(config(operating_point="half"))) == sorted(RULES)
