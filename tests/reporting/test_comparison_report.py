from pathlib import Path

import pytest
from helpers.run_folders import FOUR, make_run, predictions

from medclf.comparison.compare import compare_sources
from medclf.reporting.comparison_report import format_comparison


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(*paths, metrics=None, resamples=200):
    return format_comparison(compare_sources([Path(path) for path in paths], metrics, None, None, resamples, 0))


def titles_and_values(lines):
    rows = [line.removeprefix("| ").split(" | ") for line in lines]
    return [row[0] for row in rows], [[cell[:6] for cell in row[1:]] for row in rows]


def test_the_form_of_the_published_table():
    said = written(make_run("cnn", "cnn"), make_run("resnet", "resnet50", table=predictions(2.5, 1)))
    lines = said.splitlines()
    assert lines[0] == "- **Classes:** `{'NORMAL': 0, 'PNEUMONIA': 1}`"
    assert lines[1] == "- **Test Data Size:** `80`"
    assert lines[3:5] == ["| Metric | cnn | resnet50 |", "| --- | --- | --- |"]
    titles, values = titles_and_values(lines[5:11])
    shown = ["Recall (PNEUMONIA)", "Precision (PNEUMONIA)", "F1 Score (PNEUMONIA)"]
    assert titles == ["Accuracy", *shown, "AUROC", "Balanced accuracy"]
    table = predictions().query("split == 'test'")
    assert values[0][0] == f"{(table['true_class'] == table['predicted_class']).mean():.4f}"
    assert "- cnn: cnn; 0.5: as stored" in lines
    assert "resnet50 is better: accuracy higher by" in said
    assert "another seed may turn the order" in said
    assert "80 test images of 80 patients" in said
    assert "Holm (1979); metrics are not corrected for each other: choose one before you look" in said


def test_of_four_classes_the_means_are_weighted():
    tables = [predictions(1, 0, FOUR), predictions(2, 1, FOUR)]
    runs = [make_run(name, name, table=table) for name, table in zip(("cnn", "resnet50"), tables, strict=True)]
    lines = written(*runs).splitlines()
    assert lines[0] == "- **Classes:** `{'COVID': 0, 'Lung_Opacity': 1, 'Normal': 2, 'Viral Pneumonia': 3}`"
    titles, values = titles_and_values(lines[5:11])
    weighted = ["Recall (weighted)", "Precision (weighted)", "F1 Score (weighted)"]
    assert titles == ["Accuracy", *weighted, "AUROC (macro)", "Balanced accuracy"]
    assert values[0] == values[1]  # recall weighted by the classes' images is accuracy


def test_several_seeds_of_each_are_not_warned_of():
    folders = [make_run(f"{model}{seed}", model, seed) for model in ("cnn", "resnet50") for seed in (0, 1)]
    said = written(*folders, metrics=["accuracy"])
    assert "another seed" not in said
    assert "p (Holm)" in said
    assert said.count("## ") == 6


def test_too_few_resamples_for_so_many_pairs_are_said():
    runs = [make_run(f"{seed}", "cnn", seed) for seed in range(3)]
    said = written(*runs, metrics=["brier"], resamples=100)
    assert "100 resamples are too few for 3 pairs" in said
