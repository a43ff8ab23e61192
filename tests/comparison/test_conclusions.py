import math

import pytest
from helpers.run_folders import differences, table

from medclf.comparison.conclusions import format_conclusion, format_p_value, is_concluded
from medclf.comparison.paired_tests import DELONG, MCNEMAR, Difference
from medclf.metric_registry import comparison_names


@pytest.mark.parametrize(
    ("classes", "metrics", "images_each"),
    [
        (("a", "b"), comparison_names(2), 1),
        (("a", "b"), comparison_names(2), 2),
        (("a", "b", "c", "d"), comparison_names(4), 1),
    ],
)
def test_the_same_predictions_do_not_differ(classes, metrics, images_each):
    same = table(classes=classes, images_each=images_each)
    for row in differences({"one": same, "two": same}, metrics):
        assert (row.difference, row.low, row.high, row.p, row.p_holm) == (0, 0, 0, 1, 1), row.metric
        assert format_conclusion(row) == "no difference can be concluded: they are equal in every resample"


@pytest.mark.parametrize(
    ("classes", "metrics"),
    [(("NORMAL", "PNEUMONIA"), comparison_names(2)), (("a", "b", "c", "d"), comparison_names(4))],
)
def test_the_better_one_is_concluded_better_in_either_order(classes, metrics):
    tables = {"poor": table(0.2, 1, 400, classes), "good": table(3.0, 2, 400, classes)}
    for order in (["poor", "good"], ["good", "poor"]):
        for row in differences({label: tables[label] for label in order}, metrics):
            said = format_conclusion(row)
            assert said.startswith(("good is better: ", "good has the higher ")), said
            assert ("lower by" in said) == (row.metric in ("brier", "log_loss"))
            assert f"{abs(row.difference):.3f} [" in said
            assert " [-" not in said


def test_what_is_not_defined_is_said():
    never = table(0.5, 1).assign(prob_NORMAL=0.9, prob_PNEUMONIA=0.1)
    row, other = differences({"never": never, "b": table(1.0, 2)}, ["ppv", "accuracy"])
    assert math.isnan(row.p) and math.isnan(row.p_holm) and math.isnan(row.low)
    assert format_conclusion(row) == "cannot be compared: never: class PNEUMONIA was never predicted"
    assert not math.isnan(other.p)


def test_of_one_class_the_auroc_is_not_compared():
    tables = {label: table(1, seed).query("true_class == 'NORMAL'") for label, seed in (("a", 1), ("b", 2))}
    for row in differences(tables, ["auroc_macro", "sensitivity"]):
        assert "no image is of class PNEUMONIA" in format_conclusion(row)
        assert "nan" not in format_conclusion(row)


def test_a_difference_without_spread_has_no_interval():
    right, wrong = (table(sign * 100, 1, 40) for sign in (1, -1))
    row, ppv = differences({"wrong": wrong, "right": right}, ["accuracy", "ppv"])
    assert (row.difference, row.only_second_right) == (1, 40)
    assert math.isnan(row.low) and "same in every resample" in row.reason
    assert format_conclusion(row) == "right is better: accuracy higher by 1.000, p < 0.0001"
    assert format_conclusion(ppv).startswith("right has the higher ppv: by 1.000, p = ")


def row(difference, low, high, p, p_holm, metric="accuracy", test=MCNEMAR):
    return Difference(metric, "cnn", "resnet50", 0.7, 0.7 + difference, difference, 100, low, high, p, p_holm, test)


@pytest.mark.parametrize(
    ("found", "pairs", "said"),
    [
        (
            row(0.079, 0.041, 0.117, 0.0002, 0.0002), 1,
            "resnet50 is better: accuracy higher by 0.079 [0.041, 0.117], p = 0.0002",
        ),
        (
            row(0.079, 0.041, 0.117, 0.0002, 0.0006, "brier"), 3,
            "cnn is better: brier lower by 0.079 [0.041, 0.117], p = 0.0006 after correction for 3 pairs",
        ),
        (
            row(-0.079, -0.117, -0.041, 0.00001, 0.00001, "sensitivity"), 1,
            "cnn has the higher sensitivity: by 0.079 [0.041, 0.117], p < 0.0001",
        ),
        (
            row(0.015, -0.02, 0.05, 0.3, 0.3), 1,
            "no difference can be concluded: the data agree with resnet50 being 0.020 worse to 0.050 better",
        ),
        (
            row(0.015, -0.02, 0.05, 0.3, 0.3, "log_loss"), 1,
            "no difference can be concluded: the data agree with resnet50 being 0.050 worse to 0.020 better",
        ),
        (
            row(0.015, -0.02, 0.05, 0.3, 0.3, "specificity"), 1,
            "no difference can be concluded: the data agree with resnet50 being 0.020 lower to 0.050 higher",
        ),
        (
            row(0.05, 0.001, 0.1, 0.04, 0.12), 3,
            "no difference can be concluded: p = 0.0400 for this pair alone, but p = 0.1200 after correction for 3 "
            "pairs",
        ),
        (
            row(0.05, -0.001, 0.1, 0.04, 0.04, "auroc_macro", DELONG), 1,
            "the methods disagree, so nothing is concluded: p = 0.0400 by DeLong, but the interval of the bootstrap, "
            "[-0.001, 0.100], contains 0",
        ),
        (
            row(-0.05, -0.1, -0.01, 0.06, 0.06), 1,
            "the methods disagree, so nothing is concluded: p = 0.0600 by exact McNemar, but the interval of the "
            "bootstrap, [-0.100, -0.010], leaves out 0",
        ),
    ],
)  # fmt: skip
def test_conclusions(found, pairs, said):
    assert format_conclusion(found, pairs) == said
    assert is_concluded(found) == (" by 0.079 " in said)


def test_p_values_have_their_sign():
    assert [format_p_value(p) for p in (0.04, 0.00001, math.nan)] == ["= 0.0400", "< 0.0001", "= NaN"]
