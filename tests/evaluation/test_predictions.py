import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, roc_auc_score

from medclf.data.page import image_page
from medclf.evaluation.figures import confusion_matrix_figure
from medclf.evaluation.metrics import Metrics
from medclf.evaluation.predictions import (
    confusion_matrix,
    load_predictions,
    predictions_table,
    save_predictions,
    split_metrics,
)
from medclf.evaluation.summary import as_json, metrics_table


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    images = pd.DataFrame(
        {
            "path": [f'a "quoted", ü/{index}.png' for index in range(40)],
            "split": ["val"] * 20 + ["test"] * 20,
            "class": ["NA", "ill"] * 20,
            "group": [str(index) for index in range(40)],
        }
    )
    probability = rng.random(40) ** 20
    return predictions_table(images, np.stack([1 - probability, probability], 1), ["NA", "ill"])


def test_columns(table):
    assert list(table) == ["path", "group", "split", "true_class", "predicted_class", "prob_NA", "prob_ill"]
    assert (table["predicted_class"] == np.where(table["prob_ill"] > table["prob_NA"], "ill", "NA")).all()


def test_a_file_loses_nothing(table, tmp_path):
    save_predictions(table, tmp_path / "predictions.csv")
    again = load_predictions(tmp_path / "predictions.csv")
    assert list(again["path"]) == list(table["path"])
    assert list(again["true_class"]) == list(table["true_class"])
    for name in ("prob_NA", "prob_ill"):
        assert again[name].to_numpy().tobytes() == table[name].to_numpy().tobytes()


def test_metrics_are_of_one_split(table):
    rows = table[table["split"] == "test"]
    values = split_metrics(table, "test", "ill").values
    truth = rows["true_class"] == "ill"
    assert values["accuracy"] == pytest.approx(accuracy_score(rows["true_class"], rows["predicted_class"]))
    assert values["auroc_macro"] == pytest.approx(roc_auc_score(truth, rows["prob_ill"]))
    assert split_metrics(table, "test", "NA").values["sensitivity"] == pytest.approx(values["specificity"])


def test_confusion_matrix(table):
    counts, classes = confusion_matrix(table, "test")
    rows = table[table["split"] == "test"]
    for (true, predicted), count in np.ndenumerate(counts):
        assert count == ((rows["true_class"] == classes[true]) & (rows["predicted_class"] == classes[predicted])).sum()
    assert counts.sum() == 20


def test_confusion_matrix_figure_shows_counts_and_names():
    figure = confusion_matrix_figure(np.array([[7, 3], [0, 0]]), ["healthy", "ill"], "test, n = 10")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["7\n70%", "3\n30%", "0", "0"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["healthy", "ill"]
    assert axes.get_title() == "test, n = 10"


@pytest.mark.parametrize("channels", [1, 3])
def test_image_page(channels):
    images = np.zeros((5, channels, 8, 8), dtype=np.uint8)
    figure = image_page(images, list("abcde"))
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", "d", "e", "", "", ""]


def test_what_is_not_defined_is_said():
    metrics = Metrics(4)
    metrics.add("accuracy", lambda: torch.tensor(0.5))
    metrics.add("auroc_macro", lambda: torch.tensor(0.0), "no image is of class b", n=3)
    assert as_json(metrics) == {
        "n": 4,
        "accuracy": 0.5,
        "auroc_macro": None,
        "n_of": {"accuracy": 4, "auroc_macro": 3},
        "not_defined": {"auroc_macro": "no image is of class b"},
    }
    lines = metrics_table(metrics, "test").splitlines()
    assert lines[1].split() == ["accuracy", "0.5000", "4"]
    assert lines[2].split() == ["auroc_macro", "NaN", "3"]
    assert "auroc_macro is not defined: no image is of class b" in lines[3]
