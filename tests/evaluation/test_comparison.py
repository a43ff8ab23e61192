import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from medclf.errors import DataError
from medclf.evaluation.comparison import (
    BOOTSTRAP,
    DELONG,
    MCNEMAR,
    Difference,
    aligned,
    bootstrap_p,
    compare,
    holm,
    mcnemar,
)
from medclf.evaluation.comparison_report import BINARY, MULTICLASS, conclusion, differences_figure
from medclf.evaluation.estimates import estimate
from medclf.evaluation.predictions import predictions_table, split_of

RESAMPLES = 400


def table(strength=1.0, seed=0, n=120, classes=("NORMAL", "PNEUMONIA"), images_each=1):
    """Predictions of the same images for every seed; the larger the strength the better."""
    shared = np.random.default_rng(7)
    target = np.arange(n) % len(classes)
    scores = shared.normal(size=(n, len(classes))) + np.random.default_rng(seed).normal(size=(n, len(classes)))
    odds = np.exp(scores + strength * np.eye(len(classes))[target])
    images = pd.DataFrame(
        {
            "path": [f"{index}.png" for index in range(n)],
            "group": [f"p{index // (images_each * len(classes))}-{index % len(classes)}" for index in range(n)]
            if images_each > 1
            else [f"p{index}" for index in range(n)],
            "split": "test",
            "class": np.array(classes)[target],
        }
    )
    return predictions_table(images, odds / odds.sum(1, keepdims=True), list(classes))


def differences(tables, metrics=("accuracy",), resamples=RESAMPLES):
    runs = {label: split_of(rows, "test") for label, rows in aligned(tables).items()}
    found = {label: estimate(run, resamples) for label, run in runs.items()}
    return compare(runs, found, metrics, resamples, 0)


@pytest.mark.parametrize(
    ("counts", "p"),
    [
        # Fagerland, Lydersen and Laake (BMC Medical Research Methodology 2013): mid-p 0.035, by the same counts
        ((6, 16), 2 * sum(math.comb(22, k) for k in range(7)) / 2**22),
        ((0, 5), 2 / 2**5),
        ((5, 5), 1.0),
        ((0, 0), 1.0),
    ],
)
def test_mcnemar(counts, p):
    assert mcnemar(*counts) == pytest.approx(p)
    assert mcnemar(*reversed(counts)) == pytest.approx(p)


def test_mcnemar_of_published_counts():
    p = mcnemar(6, 16)
    assert p - math.comb(22, 6) / 2**22 == pytest.approx(0.035, abs=0.0005)


def test_holm_gives_what_pingouin_documents():
    # the example of pingouin's documentation of Holm's correction
    assert holm([0.50, 0.003, 0.32, 0.054, 0.0003]) == pytest.approx([0.64, 0.012, 0.64, 0.162, 0.0015])


def test_holm_leaves_out_what_is_not_defined():
    assert holm([0.02, math.nan, 0.03]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_bootstrap_p_by_hand():
    assert bootstrap_p(np.array([-1.0, *[1.0] * 98])) == pytest.approx(2 * 2 / 100)
    assert bootstrap_p(np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(-np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p(np.zeros(99)) == 1
    assert bootstrap_p(np.array([math.nan, *[1.0] * 99])) == pytest.approx(2 / 100)
    assert math.isnan(bootstrap_p(np.array([math.nan] * 10 + [1.0] * 90)))


def test_auroc_is_tested_by_delong():
    """Against the definition: every positive image is held against every negative one."""
    tables = {"a": table(0.5, 1), "b": table(1.0, 2)}
    (row,) = differences(tables, ["auroc_macro"])
    truth = (tables["a"]["true_class"] == "PNEUMONIA").to_numpy()
    placements, areas = [], []
    for rows in tables.values():
        scores = rows["prob_PNEUMONIA"].to_numpy()
        wins = np.array([[(p > n) + (p == n) / 2 for n in scores[~truth]] for p in scores[truth]])
        placements.append((wins.mean(1), wins.mean(0)))
        areas.append(wins.mean())
    above, below = (placements[1][kind] - placements[0][kind] for kind in (0, 1))
    variance = above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below)
    assert row.test == DELONG
    assert row.difference == pytest.approx(areas[1] - areas[0])
    assert row.p == pytest.approx(2 * norm.sf(abs(row.difference) / math.sqrt(variance)))


@pytest.mark.parametrize(
    ("metric", "label"), [("accuracy", None), ("sensitivity", "PNEUMONIA"), ("specificity", "NORMAL")]
)
def test_proportions_are_tested_by_mcnemar_among_their_images(metric, label):
    tables = {"a": table(0.5, 1), "b": table(1.0, 2)}
    (row,) = differences(tables, [metric])
    rights = [rows["true_class"] == rows["predicted_class"] for rows in tables.values()]
    about = tables["a"]["true_class"].isin([label] if label else ["NORMAL", "PNEUMONIA"])
    b, c = int((rights[0] & ~rights[1] & about).sum()), int((~rights[0] & rights[1] & about).sum())
    assert (row.only_first_right, row.only_second_right, row.n, row.test) == (b, c, about.sum(), MCNEMAR)
    assert row.p == pytest.approx(mcnemar(b, c))
    assert row.difference == pytest.approx((c - b) / about.sum())


def test_the_bootstrap_draws_the_same_patients_for_both():
    """Against a plain loop that draws patients within each class; the seeds differ, so only nearly."""
    tables = {"a": table(0.5, 1, images_each=3), "b": table(1.2, 2, images_each=3)}
    (row,) = differences(tables, ["accuracy"], 4000)
    better = [(rows["true_class"] == rows["predicted_class"]).to_numpy(float) for rows in tables.values()]
    gain, patients = better[1] - better[0], tables["a"].groupby("group").indices
    strata = [[rows for name, rows in patients.items() if name.endswith(f"-{kind}")] for kind in (0, 1)]
    random = np.random.default_rng(5)
    drawn = []
    for _ in range(4000):
        picked = [own[at] for own in strata for at in random.integers(len(own), size=len(own))]
        drawn.append(gain[np.concatenate(picked)].mean())
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert row.test == BOOTSTRAP
    assert (row.low, row.high) == pytest.approx((low, high), abs=0.01)
    assert row.p == pytest.approx(bootstrap_p(np.array(drawn)), abs=0.04)


def test_the_interval_of_accuracy_is_near_the_normal_one():
    (row,) = differences({"a": table(0.5, 1, 1000), "b": table(0.8, 2, 1000)})
    b, c = row.only_first_right / row.n, row.only_second_right / row.n
    half = 1.96 * math.sqrt((b + c - (c - b) ** 2) / row.n)
    assert (row.low, row.high) == pytest.approx((row.difference - half, row.difference + half), abs=0.006)


@pytest.mark.parametrize(
    ("classes", "metrics", "images_each"),
    [(("a", "b"), BINARY, 1), (("a", "b"), BINARY, 2), (("a", "b", "c", "d"), MULTICLASS, 1)],
)
def test_the_same_predictions_do_not_differ(classes, metrics, images_each):
    same = table(classes=classes, images_each=images_each)
    for row in differences({"one": same, "two": same}, metrics):
        assert (row.difference, row.low, row.high, row.p, row.p_holm) == (0, 0, 0, 1, 1), row.metric
        assert conclusion(row) == "no difference can be concluded: they are equal in every resample"


@pytest.mark.parametrize(
    ("classes", "metrics"), [(("NORMAL", "PNEUMONIA"), BINARY), (("a", "b", "c", "d"), MULTICLASS)]
)
def test_the_better_one_is_concluded_better_in_either_order(classes, metrics):
    tables = {"poor": table(0.2, 1, 400, classes), "good": table(3.0, 2, 400, classes)}
    for order in (["poor", "good"], ["good", "poor"]):
        for row in differences({label: tables[label] for label in order}, metrics):
            said = conclusion(row)
            assert said.startswith(("good is better: ", "good has the higher ")), said
            assert ("lower by" in said) == (row.metric in ("brier", "log_loss"))
            assert f"{abs(row.difference):.3f} [" in said
            assert " [-" not in said


def test_each_metric_is_corrected_for_the_number_of_pairs():
    tables = {"a": table(0.3, 1, 200), "b": table(0.8, 2, 200), "c": table(1.0, 3, 200)}
    rows = differences(tables, ["accuracy", "brier"])
    assert [(row.metric, row.first, row.second) for row in rows] == [
        (metric, *pair) for metric, pair in product(("accuracy", "brier"), (("a", "b"), ("a", "c"), ("b", "c")))
    ]
    for own in (rows[:3], rows[3:]):
        assert [row.p_holm for row in own] == holm([row.p for row in own])


def test_rows_in_another_order_change_nothing():
    first, second = table(0.5, 1), table(1.0, 2)
    mixed = second.sample(frac=1, random_state=0)[["prob_PNEUMONIA", *second.columns.drop("prob_PNEUMONIA")]]
    assert differences({"a": first, "b": mixed}, BINARY) == differences({"a": first, "b": second}, BINARY)


def test_names_of_patients_do_not_matter():
    first, second = table(0.5, 1, images_each=2), table(1.0, 2, images_each=2)
    renamed = second.assign(group="x" + second["group"].str[::-1])
    assert differences({"a": first, "b": renamed}) == differences({"a": first, "b": second})


def test_what_is_not_defined_is_said():
    never = table(0.5, 1).assign(prob_NORMAL=0.9, prob_PNEUMONIA=0.1)
    row, other = differences({"never": never, "b": table(1.0, 2)}, ["ppv", "accuracy"])
    assert math.isnan(row.p) and math.isnan(row.p_holm) and math.isnan(row.low)
    assert conclusion(row) == "cannot be compared: never: class PNEUMONIA was never predicted"
    assert not math.isnan(other.p)


def test_of_one_class_the_auroc_is_not_compared():
    tables = {label: table(1, seed).query("true_class == 'NORMAL'") for label, seed in (("a", 1), ("b", 2))}
    for row in differences(tables, ["auroc_macro", "sensitivity"]):
        assert "no image is of class PNEUMONIA" in conclusion(row)
        assert "nan" not in conclusion(row)


def test_a_difference_without_spread_has_no_interval():
    right, wrong = (table(sign * 100, 1, 40) for sign in (1, -1))
    row, ppv = differences({"wrong": wrong, "right": right}, ["accuracy", "ppv"])
    assert (row.difference, row.only_second_right) == (1, 40)
    assert math.isnan(row.low) and "same in every resample" in row.reason
    assert conclusion(row) == "right is better: accuracy higher by 1.000, p < 0.0001"
    assert conclusion(ppv).startswith("right has the higher ppv: by 1.000, p = ")


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
    assert conclusion(found, pairs) == said


def refused(first, second):
    with pytest.raises(DataError) as caught:
        aligned({"cnn": first, "resnet50": second})
    return str(caught.value)


def test_other_images_are_refused():
    said = refused(table(n=20), table(n=24).iloc[2:])
    assert "cnn and resnet50: 2 images (0.png, 1.png) of 20 only in cnn" in said
    assert "4 images (20.png, 21.png, 22.png and 1 more) of 22 only in resnet50" in said


def test_other_true_classes_are_refused():
    other = table(n=20)
    other.loc[3, "true_class"] = "NORMAL"
    assert "different true classes of 1 image (3.png)" in refused(table(n=20), other)


def test_other_classes_are_refused():
    other = table(n=20).rename(columns={"prob_PNEUMONIA": "prob_VIRUS"}).replace({"true_class": {"PNEUMONIA": "VIRUS"}})
    assert "different classes: NORMAL, PNEUMONIA; NORMAL, VIRUS" in refused(table(n=20), other)


def test_other_patients_are_refused():
    other = table(n=20)
    other.loc[[4, 6], "group"] = "one"
    assert "different patients (column group): 2 images (4.png, 6.png)" in refused(table(n=20), other)
    assert "different patients (column group): 2 images (4.png, 6.png)" in refused(other, table(n=20))


def test_images_that_occur_twice_are_refused():
    twice = table(n=20)
    twice.loc[5, "path"] = "0.png"
    assert "resnet50: 1 image (0.png) occur more than once" in refused(table(n=20), twice)


def test_only_test_images_must_agree():
    validation = table(n=10).assign(split="val", path=[f"v{index}" for index in range(10)])
    both = pd.concat([table(n=20), validation], ignore_index=True)
    assert {len(rows) for rows in aligned({"a": table(n=20), "b": both}).values()} == {20}


def test_the_picture_has_a_panel_a_metric_and_a_row_a_pair():
    tables = {"a": table(0.3, 1), "b$x$": table(0.8, 2), "c": table(1.0, 3)}
    figure = differences_figure(differences(tables, ["accuracy", "brier", "mcc", "ppv"]))
    figure.canvas.draw()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["accuracy", "brier (less is better)", "mcc", "ppv", "", ""]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        r"b\$x\$" "\n- a",
        "c\n- a",
        "c\n- b" r"\$x\$",
    ]
