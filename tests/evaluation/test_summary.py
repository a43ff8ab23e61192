"""Metrics as a person reads them, and as files hold them."""

import json
import math

import numpy as np
import pytest
from helpers.evaluations import evaluated
from helpers.prediction_samples import called, sample

from medclf.evaluation.metric_intervals import Estimate, Metrics, estimate_metrics
from medclf.evaluation.summary import (
    COLUMNS,
    metrics_frame,
    metrics_table,
    metrics_to_json,
    read_metrics_frame,
)
from medclf.metric_registry import CLASS_SUMMARY, headline_names, metric_names, monitor_names
from medclf.utils.atomic_write import write_csv
from medclf.utils.errors import DataError

ABSENT = "no image is of class b"
METRICS = Metrics(
    4, 3,
    {
        "accuracy": Estimate(0.5, 0.15, 0.85, 4, "Wilson"),
        "auroc_macro": Estimate(math.nan, n=4, reason=ABSENT),
        "mcc": Estimate(0.25, n=4, reason="the same in every resample"),
    },
    {"a": {"ppv": Estimate(0.5, 0.1, 0.9, 2, "Wilson")}, "b": {"ppv": Estimate(math.nan, n=0, reason="never")}},
)  # fmt: skip


def test_table_for_a_person():
    lines = metrics_table(METRICS, "test").splitlines()
    assert lines[0].split() == ["test", "metric", "value", "95", "%", "interval", "n"]
    assert lines[1].split() == ["accuracy", "0.5000", "[0.150,", "0.850]", "4"]
    assert lines[2].split() == ["auroc_macro", "NaN", "4"]
    assert lines[3].split() == ["mcc", "0.2500", "4"]
    assert [line.strip() for line in lines[4:]] == [
        f"auroc_macro: is not defined: {ABSENT}", "mcc: its interval is not defined: the same in every resample"
    ]  # fmt: skip
    assert len({len(line) for line in lines[1:4]}) == 1


@pytest.mark.parametrize("classes", [2, 3])
def test_table_shows_the_headline(classes):
    metrics = estimate_metrics(sample(classes, 50, 0, "skilled"), 100, prevalence=0.1 if classes == 2 else None)
    names = list(headline_names(classes))
    if classes == 2:
        names += ["ppv_at_prevalence", "npv_at_prevalence"]
    else:
        names += [f"{name} of {label}" for label in "abc" for name in CLASS_SUMMARY]
    lines = metrics_table(metrics, "val").splitlines()[1 : 1 + len(names)]
    assert [line.split("   ")[0].strip() for line in lines] == names


def test_frame_has_every_metric_of_every_split():
    metrics = estimate_metrics(sample(3, 40, 0, "skilled"), 100)
    frame = metrics_frame({"val": METRICS, "test": metrics})
    assert list(frame) == COLUMNS
    assert len(frame) == 3 + 2 + len(metrics.overall) + sum(map(len, metrics.per_class.values()))
    assert not frame.duplicated(["split", "metric", "class"]).any()
    found = frame.set_index(["split", "metric", "class"])
    row = found.loc[("val", "accuracy", "")]
    assert list(row) == [0.5, 0.15, 0.85, 4, "Wilson", ""]
    own = metrics.per_class["b"]["ppv"]
    assert list(found.loc[("test", "ppv", "b")]) == [own.value, own.low, own.high, own.n, own.method, ""]
    assert found.loc[("val", "auroc_macro", ""), "reason"] == ABSENT


def test_json():
    assert metrics_to_json(METRICS) == {
        "n": 4,
        "patients": 3,
        "accuracy": 0.5,
        "auroc_macro": None,
        "mcc": 0.25,
        "interval_95": {"accuracy": [0.15, 0.85]},
        "interval_method": {"accuracy": "Wilson"},
        "n_of": {"accuracy": 4, "auroc_macro": 4, "mcc": 4},
        "not_defined": {"auroc_macro": ABSENT, "mcc": "the same in every resample"},
        "per_class": {
            "a": {
                "ppv": 0.5, "interval_95": {"ppv": [0.1, 0.9]}, "interval_method": {"ppv": "Wilson"},
                "n_of": {"ppv": 2}, "not_defined": {},
            },
            "b": {
                "ppv": None, "interval_95": {}, "interval_method": {}, "n_of": {"ppv": 0},
                "not_defined": {"ppv": "never"},
            },
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    "made", [sample(2, 30, 0, "perfect"), sample(3, 20, 0, "absent"), called([0], [0]), called([0, 0, 1], [0, 0, 0])]
)
def test_json_needs_no_nan(made):
    content = metrics_to_json(estimate_metrics(made, 100))
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_no_images():
    empty = Metrics(0, 0, {}, {})
    assert metrics_to_json(empty)["n"] == 0
    assert len(metrics_frame({"test": empty})) == 0
    assert len(metrics_table(empty, "test").splitlines()) == 1


def test_names():
    assert metric_names(3) == metric_names(7) == metric_names(2)[: len(metric_names(3))]
    assert monitor_names(("accuracy",)) == ("val/loss", "val/accuracy")
    assert headline_names(np.int64(4)) == headline_names(3) != headline_names(2)


def test_a_metrics_file_is_read_to_the_last_bit_and_a_damaged_one_named(tmp_path):
    frame = metrics_frame(evaluated(["NA", "dog"], n=60, resamples=100).metrics)
    write_csv(tmp_path / "metrics.csv", frame)
    assert read_metrics_frame(tmp_path / "metrics.csv").equals(frame)
    write_csv(tmp_path / "metrics.csv", frame.assign(low="many"))
    with pytest.raises(DataError, match=r"metrics.csv: could not convert .*'many'"):
        read_metrics_frame(tmp_path / "metrics.csv")
