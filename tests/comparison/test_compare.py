from pathlib import Path

import pytest
from helpers.run_folders import FOUR, make_run, predictions

from medclf.comparison.compare import select_metrics, select_predictions
from medclf.comparison.sources import read_sources
from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.predictions import save_predictions, select_split
from medclf.metric_registry import comparison_names
from medclf.utils.errors import ConfigError, DataError, MedclfError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def chosen(*paths, positive=None, rule=None):
    return select_predictions(read_sources([Path(path) for path in paths], positive), positive, rule)


def test_each_run_has_the_threshold_that_it_chose():
    runs, origins = chosen(make_run("a", "cnn"), make_run("b", "resnet50", table=predictions(), threshold=0.9))
    for run, threshold in zip(runs.values(), (0.5, 0.9), strict=True):
        assert ((run.predicted == 1) == (run.probabilities[:, 1] >= threshold)).all()
    assert origins == {"cnn": "a; 0.5: as stored", "resnet50": "b; 0.9: as stored"}


def test_a_rule_for_runs_that_bring_none():
    _, origins = chosen(make_run("a"), make_run("old", "resnet50", 1, stored={}), rule="youden")
    assert origins["cnn"] == "a; 0.5: as stored"
    assert "the largest Youden index" in origins["resnet50"]
    assert "on validation (n = 40)" in origins["resnet50"]


def test_an_older_runs_positive_class_is_that_of_its_configuration():
    runs, _ = chosen(*[make_run(name, name, stored={}, positive="NORMAL") for name in ("cnn", "resnet50")])
    assert {run.positive for run in runs.values()} == {0}


def test_of_four_classes_none_is_positive():
    paths = [make_run(name, name, table=predictions(classes=FOUR)) for name in ("cnn", "resnet50")]
    runs, _ = chosen(*paths)
    assert {run.positive for run in runs.values()} == {None}
    with pytest.raises(ConfigError, match="positive=COVID: is for two classes; these runs have 4"):
        chosen(*paths, positive="COVID")


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["a", "normal"], {}, "the positive class differs: cnn: PNEUMONIA, resnet50: NORMAL"),
        (["a", "b"], {"positive": "NORMAL"}, "the positive class differs: cnn: PNEUMONIA"),
        (["csv.csv", "b/predictions.csv"], {"positive": "PNEUMONA"}, "did you mean 'PNEUMONIA'?"),
        (["a", "b"], {"rule": "youden"}, "operating_point=youden: every one of these runs brings its own"),
        (["a", "damaged"], {}, "damaged/metrics.json: operating_point.rule is missing"),
    ],
)
def test_what_is_refused(paths, options, message):
    make_run("a"), make_run("b", "resnet50", 1)
    make_run("normal", "resnet50", stored={"positive": "NORMAL"})
    make_run("damaged", "resnet50", stored={"operating_point": {"threshold": 0.5}})
    save_predictions(predictions(), Path("csv.csv"))
    with pytest.raises(MedclfError) as caught:
        chosen(*paths, **options)
    assert message in str(caught.value)


def test_other_images_are_refused():
    with pytest.raises(DataError, match=r"3 images .* of 80 only in cnn"):
        chosen(make_run("a"), make_run("b", "resnet50", table=predictions(n=77, validation=0)))


def test_the_metrics():
    two, four = (
        estimate_metrics(select_split(predictions(classes=names), "test"), 100) for names in (("a", "b"), FOUR)
    )
    assert select_metrics(None, two) == list(comparison_names(2))
    assert select_metrics(None, four) == list(comparison_names(4))
    assert select_metrics(["mcc", "brier", "mcc"], two) == ["mcc", "brier"]
    with pytest.raises(ConfigError, match=r"metrics=acuracy: there is no such metric; did you mean 'accuracy'\?"):
        select_metrics(["acuracy"], two)
    with pytest.raises(ConfigError, match="metrics=sensitivity: there is no such metric"):
        select_metrics(["sensitivity"], four)
