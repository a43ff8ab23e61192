"""One registry of metrics: it agrees with what is computed, and no other module lists metrics of its own."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.prediction_samples import sample

from medclf import metric_registry as registry
from medclf.evaluation.metric_intervals import estimate_metrics
from medclf.evaluation.metrics import compute_metrics
from medclf.metric_registry import METRICS

PACKAGE = Path(registry.__file__).parent
COMPUTED_IN = {"evaluation/metrics.py", "training/epoch_metrics.py", "metric_registry.py"}
"""Modules that may name several metrics in a row: two compute them, one registers them."""
MOST = 2
SHOWN = [
    registry.metric_names, registry.headline_names, registry.card_names, registry.demo_names,
    registry.comparison_names, registry.subgroup_names,
]  # fmt: skip


def names_in(node):
    """Names of metrics that a literal lists: as items, as keys, as values or in a text with commas."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [word for word in node.value.split(",") if word in METRICS] if "," in node.value else []
    items = []
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        items = node.elts
    if isinstance(node, ast.Dict):
        items = [*node.keys, *node.values]
    constants = [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return [name for name in dict.fromkeys(constants) if name in METRICS]


def listed(source):
    return [(node.lineno, found) for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.expr) and len(found := names_in(node)) > MOST]  # fmt: skip


def test_no_other_module_lists_metrics():
    found = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        lists = listed(path.read_text(encoding="utf-8"))
        if name in COMPUTED_IN:
            assert lists, f"{name} needs no exception"
        elif lists:
            found[name] = lists
    assert not found


def test_no_other_module_has_labels():
    labels = {label for metric in METRICS.values() for label in (metric.label, metric.phrase) if " " in label}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "metric_registry.py":
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
            assert not texts & labels, path


def test_the_guide_explains_metrics_by_their_labels():
    guide = (PACKAGE / "guide" / "reading_the_report.md").read_text(encoding="utf-8")
    for name in ("accuracy", "balanced_accuracy", "sensitivity", "auroc", "average_precision", "brier"):
        assert f"| {METRICS[name].label}" in guide
    for name in ("specificity", "npv", "log_loss", "calibration_error"):
        assert f", {METRICS[name].phrase}" in guide


def test_no_template_lists_metrics():
    for path in PACKAGE.rglob("*.j2"):
        text = path.read_text(encoding="utf-8")
        quoted = [name for name in METRICS if f'"{name}"' in text or f"'{name}'" in text]
        assert len(quoted) <= MOST, (path.name, quoted)


@pytest.mark.parametrize(
    "source",
    [
        'X = ("accuracy", "brier", "mcc")', 'f(["accuracy", "ppv", "npv"])', 'X = {"accuracy", "brier", "mcc"}',
        'X = {"accuracy": "Accuracy", "brier": "Brier", "mcc": "MCC"}', 'X = {"a": "ppv", "b": "npv", "c": "mcc"}',
        'X = "accuracy,brier,mcc"',
    ],
)  # fmt: skip
def test_a_list_of_metrics_is_found(source):
    assert listed(source)
    assert not listed(source.replace("mcc", "other").replace("npv", "other"))


def test_importing_it_is_quick():
    code = "import sys, medclf.metric_registry; print({'torch', 'numpy', 'pydantic', 'omegaconf'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("classes", [2, 3])
def test_evaluation_computes_what_is_registered_in_the_same_order(classes):
    found = compute_metrics(sample(classes, 40, 0, "skilled"), np.ones((1, 40)), 0.1 if classes == 2 else None)
    assert tuple(found.overall) == registry.overall_names(classes, prevalence=classes == 2)
    assert tuple(found.per_class) == registry.CLASS_METRICS
    overall = {name for name, metric in METRICS.items() if metric.overall}
    assert set(registry.overall_names(2, prevalence=True)) == overall
    assert set(METRICS) == overall | set(registry.CLASS_METRICS) | {"loss"}


def test_metrics_of_a_positive_class_need_two_classes():
    two, three = registry.overall_names(2), registry.overall_names(3)
    assert {name for name in two if name not in three} == {
        metric.name for metric in METRICS.values() if metric.average == "positive class" and not metric.prevalence
    }
    assert set(three) < set(two)


@pytest.mark.parametrize("classes", [2, 4])
def test_intervals_are_by_the_registered_method(classes):
    metrics = estimate_metrics(sample(classes, 200, 0, "skilled"), 200, prevalence=0.1 if classes == 2 else None)
    for name, estimate in metrics.overall.items():
        expected = METRICS[name].interval
        if classes > 2 and expected == registry.DELONG:
            expected = registry.BOOTSTRAP
        assert estimate.method == expected, name
    for own in metrics.per_class.values():
        assert {name: e.method for name, e in own.items()} == {name: METRICS[name].interval for name in own}


@pytest.mark.parametrize("classes", [2, 3])
def test_directions_tell_a_good_classifier_from_a_bad_one(classes):
    good, bad = (
        compute_metrics(sample(classes, 300, 0, kind), np.ones((1, 300)), 0.1 if classes == 2 else None)
        for kind in ("perfect", "random")
    )
    for name, better in good.overall.items():
        higher = float(better[0]) > float(bad.overall[name][0])
        assert higher == (METRICS[name].direction == "higher"), name


def test_a_mean_is_of_the_registered_metric():
    found = compute_metrics(sample(3, 60, 0, "skilled"), np.ones((1, 60)))
    share = np.bincount(sample(3, 60, 0, "skilled").target) / 60
    for metric in METRICS.values():
        if metric.average in ("macro", "weighted"):
            weights = np.full(3, 1 / 3) if metric.average == "macro" else share
            assert found.overall[metric.name][0] == pytest.approx(found.per_class[metric.of][0] @ weights)


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("classes", [2, 3, 30])
def test_what_is_shown_exists(shown, classes):
    names = shown(classes)
    assert len(set(names)) == len(names)
    assert set(names) <= set(registry.overall_names(classes))
    assert shown(max(classes, 3)) == shown(7)


def test_other_selections_exist():
    assert set(registry.CLASS_SUMMARY) <= set(registry.CLASS_METRICS)
    assert set(registry.THRESHOLD_RATES) <= set(registry.overall_names(2))
    assert set(registry.LEADERBOARD_TESTED) <= set(registry.LEADERBOARD) <= set(registry.overall_names(3))
    assert set(registry.LEARNING_CURVES) <= {"loss", *registry.metric_names(2)}
    for positive, classes in (("ill", 2), (None, 3)):
        assert {name for _, name in registry.published_rows(positive)} <= set(registry.overall_names(classes))


def test_labels_are_for_people():
    assert len({metric.label for metric in METRICS.values()}) == len(METRICS)
    for metric in METRICS.values():
        assert "_" not in metric.label and metric.label[0].isupper() and metric.description
    assert registry.metric_label("balanced_accuracy") == "Balanced accuracy"
    assert registry.metric_label("auroc_macro") == registry.metric_label("auroc_macro", 3) == "AUROC (macro)"
    assert registry.metric_label("auroc_macro", 2) == "AUROC"
    assert registry.metric_title("brier") == "Brier score (lower is better)"
    assert registry.metric_title("mcc") == "MCC"
    phrases = [registry.metric_phrase(name) for name in ("balanced_accuracy", "brier", "auroc_macro", "cohen_kappa")]
    assert phrases == ["balanced accuracy", "Brier score", "AUROC (macro)", "Cohen's kappa"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("balanced_acuracy", "balanced_accuracy"), ("Balanced accuracy", "balanced_accuracy"), ("f1", "f1_macro"),
        ("Brier score", "brier"), ("AUROC", "auroc_macro"), ("kappa", "cohen_kappa"),
    ],
)  # fmt: skip
def test_a_mistyped_metric_suggests_the_nearest(typed, meant):
    assert registry.suggest_metric(typed, registry.overall_names(3)) == f"did you mean '{meant}'? "


def test_a_mistyped_monitor_suggests_the_nearest():
    valid = registry.monitor_names(registry.metric_names(2))
    for typed, meant in (
        ("auroc_macro", "val/auroc_macro"),
        ("val/los", "val/loss"),
        ("val/recall", "val/recall_macro"),
    ):
        assert registry.suggest_metric(typed, valid) == f"did you mean '{meant}'? "
    assert registry.suggest_metric("qqq", valid) == registry.suggest_metric("", valid) == ""


def test_monitors():
    valid = registry.monitor_names(registry.metric_names(2))
    assert valid[0] == "val/loss"
    assert {monitor for monitor in valid if registry.monitor_mode(monitor) == "min"} == {"val/loss"}
    assert registry.monitor_mode("unknown") == "max"
    assert registry.monitored_metric("val/loss") == "log_loss"
    assert registry.monitored_metric("val/f1_macro") == "f1_macro"
    assert registry.monitor_label("val/loss") == "Loss"
    assert registry.monitor_phrase("val/balanced_accuracy") == "validation balanced accuracy"
    assert registry.monitor_label("val/mine") == registry.monitor_phrase("val/mine") == "val/mine"
