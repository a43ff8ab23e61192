"""The predictions table and what is taken out of it."""

import numpy as np
import pandas as pd
import pytest
from helpers.prediction_samples import sample, taken
from sklearn.metrics import accuracy_score, roc_auc_score

from medclf.evaluation.metrics import compute_metrics
from medclf.evaluation.predictions import decide_class, get_attributes, get_classes, predictions_table, select_split


@pytest.fixture
def images():
    return pd.DataFrame(
        {
            "path": [f"{index}.png" for index in range(40)],
            "class": ["NA", "ill"] * 20,
            "group": [f"patient {index // 2}" for index in range(40)],
            "split": ["val"] * 20 + ["test"] * 20,
            "sex": ["f", "m"] * 20,
        },
        index=range(100, 140),
    )


@pytest.fixture
def table(images):
    probability = np.random.default_rng(0).random(40) ** 3
    return predictions_table(images, np.stack([1 - probability, probability], 1), ["NA", "ill"])


def test_columns(table):
    assert list(table) == [
        "path", "group", "split", "fold", "true_class", "predicted_class", "prob_NA", "prob_ill", "sex"
    ]  # fmt: skip
    assert list(table["true_class"]) == ["NA", "ill"] * 20
    assert (table["predicted_class"] == np.where(table["prob_ill"] > table["prob_NA"], "ill", "NA")).all()
    assert (table["fold"] == "").all()
    assert get_classes(table) == ["NA", "ill"]
    assert get_attributes(table) == ["sex"]


def test_a_fold_is_text(images):
    table = predictions_table(images, np.full((40, 2), 0.5), ["NA", "ill"], fold=3)
    assert set(table["fold"]) == {"3"}


def test_a_split(table):
    rows = table[table["split"] == "test"]
    test = select_split(table, "test", "ill")
    assert (len(test), test.patients, test.one_image_each, test.positive) == (20, 10, False, 1)
    assert list(test.table["path"]) == list(rows["path"])
    assert list(test.target) == [0, 1] * 10
    assert (test.probabilities == rows[["prob_NA", "prob_ill"]].to_numpy()).all()
    assert pd.Series(test.groups).nunique() == 10
    assert all(rows["group"].to_numpy()[test.groups == at].tolist()[0] for at in range(10))
    values = compute_metrics(test, np.ones((1, 20))).overall
    assert values["accuracy"][0] == pytest.approx(accuracy_score(rows["true_class"], rows["predicted_class"]))
    assert values["auroc_macro"][0] == pytest.approx(roc_auc_score(rows["true_class"] == "ill", rows["prob_ill"]))


def test_images_of_a_patient_have_one_group(table):
    test = select_split(table, "test")
    assert [list(pair) for pair in test.groups.reshape(10, 2)] == [[at, at] for at in test.groups[::2]]


def test_the_positive_class(table):
    assert select_split(table, "test").positive == 1
    of_na, of_ill = (
        compute_metrics(select_split(table, "test", name), np.ones((1, 20))).overall for name in ("NA", "ill")
    )
    assert of_na["sensitivity"] == of_ill["specificity"]
    assert of_na["ppv"] == of_ill["npv"]


def test_three_classes_have_no_positive_one():
    images = pd.DataFrame({"path": ["x"], "class": ["b"], "group": ["x"], "split": ["test"]})
    made = select_split(predictions_table(images, np.array([[0.2, 0.5, 0.3]]), ["a", "b", "c"]), "test", threshold=0.9)
    assert made.positive is None
    assert list(made.predicted) == list(made.target) == [1]
    assert made.shown_classes == [0, 1, 2]


def test_a_split_without_images(table):
    assert len(select_split(table[table["split"] == "test"], "val")) == 0


@pytest.mark.parametrize("positive", [0, 1])
def test_from_the_threshold_on_an_image_is_positive(positive):
    probabilities = np.array([[0.3, 0.7], [0.7, 0.3], [0.5, 0.5], [0.0, 1.0]])
    for threshold in (0.0, 0.3, 0.5, 0.7, 1.0):
        called = decide_class(probabilities, positive, threshold) == positive
        assert (called == (probabilities[:, positive] >= threshold)).all()
    assert list(decide_class(probabilities, positive, None)) == [1, 0, 0, 1]


def test_the_threshold_decides_in_a_split(table):
    low = select_split(table, "test", "ill", threshold=0.1)
    assert list(low.predicted) == list((low.probabilities[:, 1] >= 0.1).astype(int))
    assert low.predicted.sum() > select_split(table, "test", "ill").predicted.sum()


def test_a_subset():
    made = sample(3, 30, 0, "skilled", groups=np.arange(30) // 2, sex=["f", "m"] * 15)
    rows = made.table["sex"].to_numpy() == "m"
    part, expected = made.subset(rows), taken(made, np.flatnonzero(rows))
    assert part.table.equals(expected.table)
    for name in ("groups", "target", "probabilities", "predicted"):
        assert (getattr(part, name) == getattr(expected, name)).all()
    assert (len(part), part.patients, part.one_image_each, made.one_image_each) == (15, 15, True, False)
