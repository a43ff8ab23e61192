import math
from itertools import product

import numpy as np
import pytest
from helpers.run_folders import differences, table
from scipy.stats import norm

from medclf.comparison.paired_tests import BOOTSTRAP, DELONG, MCNEMAR, bootstrap_p_value, holm_correction, mcnemar_test
from medclf.metric_registry import comparison_names


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
    assert mcnemar_test(*counts) == pytest.approx(p)
    assert mcnemar_test(*reversed(counts)) == pytest.approx(p)


def test_mcnemar_of_published_counts():
    p = mcnemar_test(6, 16)
    assert p - math.comb(22, 6) / 2**22 == pytest.approx(0.035, abs=0.0005)


def test_holm_gives_what_pingouin_documents():
    # the example of pingouin's documentation of Holm's correction
    assert holm_correction([0.50, 0.003, 0.32, 0.054, 0.0003]) == pytest.approx([0.64, 0.012, 0.64, 0.162, 0.0015])


def test_holm_leaves_out_what_is_not_defined():
    assert holm_correction([0.02, math.nan, 0.03]) == pytest.approx([0.04, math.nan, 0.04], nan_ok=True)
    assert holm_correction([0.6, 0.9]) == [1.0, 1.0]
    assert holm_correction([0.2]) == [0.2]
    assert holm_correction([]) == []


def test_bootstrap_p_by_hand():
    assert bootstrap_p_value(np.array([-1.0, *[1.0] * 98])) == pytest.approx(2 * 2 / 100)
    assert bootstrap_p_value(np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p_value(-np.ones(99)) == pytest.approx(2 / 100)
    assert bootstrap_p_value(np.zeros(99)) == 1
    assert bootstrap_p_value(np.array([math.nan, *[1.0] * 99])) == pytest.approx(2 / 100)
    assert math.isnan(bootstrap_p_value(np.array([math.nan] * 10 + [1.0] * 90)))


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
    assert row.p == pytest.approx(mcnemar_test(b, c))
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
    assert row.p == pytest.approx(bootstrap_p_value(np.array(drawn)), abs=0.04)


def test_the_interval_of_accuracy_is_near_the_normal_one():
    (row,) = differences({"a": table(0.5, 1, 1000), "b": table(0.8, 2, 1000)})
    b, c = row.only_first_right / row.n, row.only_second_right / row.n
    half = 1.96 * math.sqrt((b + c - (c - b) ** 2) / row.n)
    assert (row.low, row.high) == pytest.approx((row.difference - half, row.difference + half), abs=0.006)


def test_each_metric_is_corrected_for_the_number_of_pairs():
    tables = {"a": table(0.3, 1, 200), "b": table(0.8, 2, 200), "c": table(1.0, 3, 200)}
    rows = differences(tables, ["accuracy", "brier"])
    assert [(row.metric, row.first, row.second) for row in rows] == [
        (metric, *pair) for metric, pair in product(("accuracy", "brier"), (("a", "b"), ("a", "c"), ("b", "c")))
    ]
    for own in (rows[:3], rows[3:]):
        assert [row.p_holm for row in own] == holm_correction([row.p for row in own])


def test_rows_in_another_order_change_nothing():
    first, second = table(0.5, 1), table(1.0, 2)
    mixed = second.sample(frac=1, random_state=0)[["prob_PNEUMONIA", *second.columns.drop("prob_PNEUMONIA")]]
    assert differences({"a": first, "b": mixed}, comparison_names(2)) == differences(
        {"a": first, "b": second}, comparison_names(2)
    )


def test_names_of_patients_do_not_matter():
    first, second = table(0.5, 1, images_each=2), table(1.0, 2, images_each=2)
    renamed = second.assign(group="x" + second["group"].str[::-1])
    assert differences({"a": first, "b": renamed}) == differences({"a": first, "b": second})
