"""Metrics within the values of a column."""

import math

import numpy as np
import pandas as pd
import pytest
from helpers.prediction_samples import sample

from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.subgroups import COLUMNS, compute_subgroups, validate_subgroups
from medclf.metric_registry import subgroup_names
from medclf.utils.errors import ConfigError

N = 120


def made(classes=2, groups=None, **columns):
    columns = {name: list(values) for name, values in columns.items()}
    return sample(classes, N, 0, "skilled", groups=groups, **columns)


@pytest.fixture
def sexes():
    return np.random.default_rng(1).choice(["female", "male"], N)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_same_as_the_estimates_of_a_part(classes, sexes):
    everything = made(classes, sex=sexes)
    found = compute_subgroups(everything, ["sex"], 200, seed=3)
    assert list(found) == COLUMNS
    assert list(found["metric"]) == 2 * list(subgroup_names(classes))
    for value in ("female", "male"):
        part = everything.subset(sexes == value)
        expected = estimate_metrics(part, 200, 3).overall
        for row in found[found["value"] == value].itertuples():
            own = expected[row.metric]
            assert (row.estimate, row.low, row.high) == pytest.approx((own.value, own.low, own.high))
            assert (row.n, row.patients, row.note) == (len(part), len(part), "")


def test_accuracy_by_hand(sexes):
    everything = made(sex=sexes)
    found = compute_subgroups(everything, ["sex"], 100, 0).set_index(["value", "metric"])
    right = everything.predicted == everything.target
    for value in ("female", "male"):
        assert found.loc[(value, "accuracy"), "estimate"] == pytest.approx(right[sexes == value].mean())


def test_patients_are_counted(sexes):
    # three images a patient
    groups = np.repeat(np.arange(N // 3), 3)
    sexes = np.repeat(sexes[: N // 3], 3)
    found = compute_subgroups(made(groups=groups, sex=sexes), ["sex"], 100, 0)
    assert found.groupby("value")["patients"].first().sum() == N // 3
    assert found.groupby("value")["n"].first().sum() == N


def test_too_few_patients_of_a_class_to_judge():
    everything = made(site=["north"] * 20 + ["south"] * (N - 20))
    positives = int(everything.target[:20].sum())
    assert positives >= 10 > 20 - positives
    found = compute_subgroups(everything, ["site"], 100, 0)
    north = found[found["value"] == "north"]
    assert set(north["note"]) == {f"too few to judge: patients of {20 - positives} a"}
    assert north[["estimate", "low", "high"]].isna().all(axis=None)
    assert set(north["n"]) == {20}
    assert found[found["value"] == "south"]["estimate"].notna().all()


def test_many_images_of_few_patients_are_too_few():
    everything = made(groups=np.arange(N) % 8, site=["north"] * N)
    found = compute_subgroups(everything, ["site"], 100, 0)
    assert set(found["note"]) == {"too few to judge: patients of 8 a, 8 b"}


@pytest.mark.parametrize("kind", [str, float])
def test_numbers_of_many_values_are_cut_at_their_quartiles(kind):
    ages = np.random.default_rng(0).permutation(N) + 20
    everything = made(age=[kind(age) for age in ages])
    found = compute_subgroups(everything, ["age"], 100, 0)
    assert list(found["value"].unique()) == ["19.999 to 49.75", "49.75 to 79.5", "79.5 to 109.25", "109.25 to 139"]
    assert list(found.groupby("value", sort=False)["n"].first()) == [30, 30, 30, 30]


def test_few_numbers_are_in_their_order():
    found = compute_subgroups(made(grade=[str(at % 12) for at in range(N)]), ["grade"], 100, 0)
    assert list(found["value"].unique()) == [str(at) for at in range(12)]


@pytest.mark.parametrize("absent", ["", "  ", "nan", "NaN", None, math.nan])
@pytest.mark.parametrize("kind", ["text", "few numbers", "many numbers"])
def test_missing_values_are_a_group_of_their_own(absent, kind):
    values = {"text": ["x", "y"] * 60, "few numbers": [1, 2] * 60, "many numbers": list(range(N))}[kind]
    values[5] = values[17] = absent
    found = compute_subgroups(made(column=values), None, 100, 0)
    assert found.groupby("value")["n"].first()["missing"] == 2
    assert found["value"].nunique() == {"text": 3, "few numbers": 3, "many numbers": 5}[kind]


def test_the_same_from_a_file_as_from_memory(tmp_path):
    values = [*np.random.default_rng(0).normal(50, 20, N - 1), math.nan]
    pd.DataFrame({"age": values}).to_csv(tmp_path / "age.csv", index=False)
    again = pd.read_csv(tmp_path / "age.csv", dtype=str, keep_default_na=False, skip_blank_lines=False)["age"]
    found, read = (compute_subgroups(made(age=column), ["age"], 100, 0) for column in (values, again))
    assert found.equals(read)


def test_every_column_that_tells_of_patients_unless_said(sexes):
    columns = {"sex": sexes, "site": ["x"] * N, "split": ["test"] * N, "true_class": ["a"] * N}
    everything = made(**columns, prob_a=[0.5] * N, logit_a=[0.5] * N)
    assert list(compute_subgroups(everything, None, 100, 0)["column"].unique()) == ["sex", "site"]
    assert list(compute_subgroups(everything, ["site"], 100, 0)["column"].unique()) == ["site"]
    assert len(compute_subgroups(everything, [], 100, 0)) == 0
    assert list(compute_subgroups(made(), None, 100, 0)) == COLUMNS


def test_a_column_that_is_not_there():
    with pytest.raises(ConfigError) as error:
        validate_subgroups(["sex", "scaner"], ["sex", "scanner"])
    assert str(error.value) == (
        "evaluation.subgroups=scaner: the images have no such column; did you mean 'scanner'? They have: sex, scanner"
    )
    with pytest.raises(ConfigError, match="none beside path, class and patient; dataset=table brings them"):
        compute_subgroups(made(), ["sex"], 100, 0)


def test_a_column_of_names_is_taken_only_when_it_is_asked_for(sexes):
    everything = made(sex=sexes, patient=[f"p{at}" for at in range(N)])
    assert list(compute_subgroups(everything, None, 100, 0)["column"].unique()) == ["sex"]
    assert list(compute_subgroups(everything, ["patient"], 100, 0)["column"].unique()) == ["patient"]
