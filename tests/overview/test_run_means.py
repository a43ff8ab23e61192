"""Means and intervals against calculations that share nothing with them but the draws."""

import numpy as np
import pytest
from helpers.overviews import cut, make, make_folds
from helpers.run_folders import table
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from medclf.comparison.paired_tests import compute_differences, holm_correction
from medclf.evaluation.bootstrap import bootstrap_metrics, draw_resamples
from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.metric_registry import BOOTSTRAP
from medclf.overview.paired_group_differences import compare_with_best
from medclf.overview.run_groups import group_runs
from medclf.overview.run_means import Population, Resampler, compute_interval
from medclf.overview.run_means import test_means as means_of
from medclf.overview.runs import read_runs
from medclf.overview.tables import leaderboard
from medclf.utils.errors import DataError
from medclf.utils.run_folder import Run

NAMES = ("balanced_accuracy", "auroc_macro", "calibration_error")


def read(*folders):
    return read_runs([Run(folder) for folder in folders])


def test_one_run_has_the_interval_that_its_evaluation_has(tmp_path):
    rows = table(1.0, 3, 80, images_each=2, validation=40)
    (entry,) = read(make(tmp_path / "a", rows=rows))
    found = means_of([entry], Resampler(NAMES, 500, 7))
    expected = estimate_metrics(entry.test, 500, 7).overall
    for name in NAMES:
        assert (found[name].value, found[name].low, found[name].high) == pytest.approx(
            (expected[name].value, expected[name].low, expected[name].high), rel=1e-12
        )
        assert np.isnan(found[name].sd)


def test_two_equal_runs_have_the_interval_of_one(tmp_path):
    one, two = (make(tmp_path / name, seed=seed, rows=table(1.0, 3, 80)) for name, seed in (("a", 0), ("b", 1)))
    alone = means_of(read(one), Resampler(NAMES, 300, 0))
    both = means_of(read(one, two), Resampler(NAMES, 300, 0))
    for name in NAMES:
        assert (both[name].low, both[name].high) == pytest.approx((alone[name].low, alone[name].high), rel=1e-12)
        assert both[name].sd == 0 and both[name].runs == 2


@pytest.mark.parametrize("folds", [False, True])
def test_the_interval_of_the_mean_by_hand(tmp_path, folds):
    folders = (
        make_folds(tmp_path)
        if folds
        else [make(tmp_path / f"{seed}", seed=seed, rows=table(1.0, seed, 80, images_each=2)) for seed in range(3)]
    )
    runs = read(*folders)
    found = means_of(runs, Resampler(NAMES[:2], 100, 1))
    population = Population([run.test for run in runs])
    assert (len(population), population.patients) == ((128, 64) if folds else (80, 40))
    values = {name: [] for name in NAMES[:2]}
    for weights in draw_resamples(population.drawable(), 100, 1):
        for drawn in weights:
            count = dict(zip(population.images["path"], drawn, strict=True))
            own = {name: [] for name in values}
            for run in runs:
                test = run.test.table
                weight = test["path"].map(count).to_numpy()
                called = np.asarray(run.test.classes)[run.test.predicted]
                own["balanced_accuracy"].append(
                    balanced_accuracy_score(test["true_class"], called, sample_weight=weight)
                )
                truth = test["true_class"] == "PNEUMONIA"
                own["auroc_macro"].append(roc_auc_score(truth, test["prob_PNEUMONIA"], sample_weight=weight))
            for name in values:
                values[name].append(np.mean(own[name]))
    for name, drawn in values.items():
        assert (found[name].low, found[name].high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), rel=1e-9)


def test_seeds_that_agree_do_not_narrow_the_interval_and_new_patients_do(tmp_path):
    few = [make(tmp_path / f"few{seed}", seed=seed, rows=table(1.0, 5, 60)) for seed in range(4)]
    many = make(tmp_path / "many", rows=table(1.0, 5, 960))
    widths = []
    for folders in ([few[0]], few, [many]):
        mean = means_of(read(*folders), Resampler(["balanced_accuracy"], 800, 0))["balanced_accuracy"]
        widths.append(mean.high - mean.low)
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] < 0.4 * widths[0]  # about a quarter


def test_other_patients_under_the_same_names_are_refused(tmp_path):

    rows = table(1.0, 0, 80)
    other = rows.assign(group=[f"q{at // 4}" for at in range(len(rows))])
    runs = read(make(tmp_path / "a", rows=rows), make(tmp_path / "b", seed=1, rows=other))
    with pytest.raises(DataError, match="disagree about class or patient of 80 images"):
        Population([run.test for run in runs])
    found = means_of(runs, Resampler(["accuracy"], 200, 0))["accuracy"]
    assert np.isnan(found.low) and not np.isnan(found.value)
    assert "disagree" in found.reason


def test_what_has_no_interval_says_why():
    assert (
        compute_interval(BOOTSTRAP, 1.0, np.ones(100))[2]
        == "the same in every resample, from which no interval can be told"
    )
    drawn = np.where(np.arange(100) < 10, np.nan, 0.5)
    assert compute_interval(BOOTSTRAP, 1.0, drawn)[2] == "not defined in 10% of the resamples"


def test_single_runs_are_compared_as_medclf_compare_does(tmp_path):
    folders = [
        make(tmp_path / name, name, strength=strength, value=value, rows=table(strength, seed, 80, images_each=2))
        for seed, (name, strength, value) in enumerate([("a", 0.5, 0.7), ("b", 2.0, 0.9), ("c", 1.0, 0.8)])
    ]
    runs = read(*folders)
    resampler = Resampler(NAMES[:2], 400, 2)
    settings = group_runs(runs, resampler)
    assert [setting.model for setting in settings] == ["b", "c", "a"]
    found = compare_with_best(settings, NAMES[:2], resampler)
    tests = {run.model: run.test for run in runs}
    estimates = {label: estimate_metrics(test, 400, 2) for label, test in tests.items()}
    for pair in found:
        label = pair.other.model
        two = {"b": tests["b"], label: tests[label]}
        expected = compute_differences(two, estimates, NAMES[:2], 400, 2)
        for row, wanted in zip(pair.rows, expected, strict=True):
            assert (row.difference, row.low, row.high, row.p) == pytest.approx(
                (wanted.difference, wanted.low, wanted.high, wanted.p), abs=1e-12
            )
            assert (row.n, pair.pairs) == (80, 1)
    for place in range(2):
        raw = [pair.rows[place].p for pair in found]
        assert [pair.rows[place].p_holm for pair in found] == holm_correction(raw)


def test_means_of_seeds_are_compared_with_the_same_patients(tmp_path):
    runs = read(
        *(make(tmp_path / f"a{seed}", "a", seed, 2.0, 0.9) for seed in range(4)),
        *(make(tmp_path / f"b{seed}", "b", seed, 1.0, 0.8) for seed in range(3)),
    )
    resampler = Resampler(NAMES[:2], 400, 0)
    settings = group_runs(runs, resampler)
    (pair,) = compare_with_best(settings, NAMES[:2], resampler)
    assert pair.pairs == 3
    drawn = {
        (run.model, run.config["seed"]): bootstrap_metrics(run.test, 400, 0).overall["auroc_macro"] for run in runs
    }
    differences = np.mean([drawn["b", seed] - drawn["a", seed] for seed in range(3)], axis=0)
    row = pair.rows[1]
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))
    alike = [run for run in runs if run.config["seed"] < 3]
    values = {
        model: np.mean([run.metrics["test"]["auroc_macro"] for run in alike if run.model == model]) for model in "ab"
    }
    assert row.difference == pytest.approx(values["b"] - values["a"])
    assert row.p < 0.05 and row.difference < 0


def test_runs_without_a_counterpart_and_other_images_are_not_compared(tmp_path):
    runs = read(
        make(tmp_path / "a", "a", 0, value=0.9),
        make(tmp_path / "b", "b", 1, value=0.8),
        make(tmp_path / "c", "c", 0, value=0.7, rows=table(1.0, 0, 77)),
        make(tmp_path / "d", "d", 0, value=0.6),
    )
    resampler = Resampler(["accuracy"], 200, 0)
    pairs = compare_with_best(group_runs(runs, resampler), ["accuracy"], resampler)
    reasons = {pair.other.model: pair.rows[0].reason for pair in pairs}
    assert reasons["b"] == "the best has no run of seed 1 to pair with"
    assert reasons["c"].startswith("not the same test images: the best and this one: 3 images (77.png")
    assert reasons["d"] == ""
    p_values = {pair.other.model: pair.rows[0] for pair in pairs}
    assert np.isnan(p_values["b"].p_holm) and p_values["d"].p_holm == p_values["d"].p


@pytest.mark.parametrize("value", [0.95, 0.5])
def test_an_ensemble_stands_beside_every_run(tmp_path, value):
    """As the best, and as one of the others."""
    runs = read(
        make(tmp_path / "all", "ensemble", None, 2.0, value, rows=table(2.0, 9, 80, validation=40)),
        *(make(tmp_path / f"a{seed}", "a", seed, 1.0, 0.8) for seed in range(2)),
    )
    resampler = Resampler(["accuracy"], 400, 0)
    (pair,) = compare_with_best(group_runs(runs, resampler), ["accuracy"], resampler)
    accuracy = [run.metrics["test"]["accuracy"] for run in runs]
    sign = 1 if value < 0.8 else -1
    row = pair.rows[0]
    assert row.difference == pytest.approx(sign * (accuracy[0] - np.mean(accuracy[1:])))
    drawn = [bootstrap_metrics(run.test, 400, 0).overall["accuracy"] for run in runs]
    differences = sign * (drawn[0] - (drawn[1] + drawn[2]) / 2)
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])))


def test_folds_are_paired_fold_by_fold(tmp_path):
    runs = read(
        *make_folds(tmp_path / "a"),
        *(make(tmp_path / f"b{fold}", "b", rows=cut(fold, strength=0.2), value=0.5,
               dataset__splits={"seed": 0, "folds": 4, "fold": fold}) for fold in range(3)),
    )  # fmt: skip
    resampler = Resampler(["accuracy"], 300, 0)
    (pair,) = compare_with_best(group_runs(runs, resampler), ["accuracy"], resampler)
    row = pair.rows[0]
    assert (pair.pairs, row.n) == (3, 96)
    own = [run.metrics["test"]["accuracy"] for run in runs]
    assert row.first_value == pytest.approx(np.mean(own[:3]))
    assert row.difference == pytest.approx(np.mean(own[4:]) - np.mean(own[:3]))
    assert row.low < row.difference < row.high


def test_the_leaderboard_of_a_sweep(tmp_path):
    runs = read(make(tmp_path / "a", value=0.7), make(tmp_path / "b", value=0.9, optimizer__lr=0.1))
    text = leaderboard(runs)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 4
    assert "cnn (best) | optimizer.lr=0.1 | 1 |" in lines[2]
    assert leaderboard([]).startswith("No run has finished.")


def test_the_leaderboard_has_what_has_not_finished_last(tmp_path):
    broken = make(tmp_path / "a", value=0.9, optimizer__lr=9.0)
    (broken / "run.json").write_text('{"status": "failed", "error": "it diverged"}', encoding="utf-8")
    text = leaderboard(read(broken, make(tmp_path / "b", value=0.5)))
    rows = [line for line in text.splitlines() if line.startswith("| livers")]
    assert "cnn (best) | optimizer.lr=0.001 | 1 |" in rows[0]
    assert "cnn | optimizer.lr=9 | 0 of 1 | 0 (0) | val/auroc_macro NaN | NaN |" in rows[1]
    assert f"- {broken.as_posix()}: failed: it diverged" in text
