"""``python -m medclf.evaluate`` as one types it."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.signing import sign_run
from scipy.special import softmax

from medclf.evaluate import main

QUIET = """
import sys
from medclf.evaluate import main
sys.argv = ["evaluate", *sys.argv[1:]]
main()
print("IMPORTED", sorted({"torch", "lightning", "torchvision", "torchmetrics", "captum"} & set(sys.modules)))
"""


def process(*words, cwd):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", QUIET, *map(str, words)], cwd=cwd, text=True, **pipes)


def hashes(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def metrics(folder):
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture
def evaluate(command):
    """Type ``python -m medclf.evaluate`` in a fresh folder."""
    return partial(command, main)


@pytest.fixture(scope="module")
def again(finished, tmp_path_factory):
    """The run evaluated again where it was trained: the folder, what was printed, the run's files before and after."""
    folder = tmp_path_factory.mktemp("again") / "out"
    before = hashes(finished[0])
    working = process(f"run={finished[0]}", f"hydra.run.dir={folder}", cwd=finished[0].parents[3])
    out, err = working.communicate(timeout=200)
    assert working.returncode == 0, out + err
    return folder, out, before, hashes(finished[0])


@pytest.fixture
def copied(finished, tmp_path):
    """The run moved elsewhere, without its checkpoints and event files."""
    folder = tmp_path / "moved"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("checkpoints", "events*"))
    return folder


def test_every_figure_and_picture_of_a_run_comes_out_the_same(finished, again):
    first, second = hashes(finished[0]), hashes(again[0])
    own = [
        name
        for name in first
        if name in ("metrics.json", "metrics.csv", "operating_points.csv")
        or (name.startswith("figures/") and not name.endswith(".npz"))
    ]
    assert len(own) > 25
    assert {name: second.get(name) for name in own} == {name: first[name] for name in own}
    assert {name for name in second if name.startswith("figures/")} <= set(own)


def test_the_report_and_the_model_card_say_the_same_but_for_the_hour(finished, again):
    for name in ("report.html", "model_card.md"):
        first, second = ((folder / name).read_text(encoding="utf-8") for folder in (finished[0], again[0]))
        first, second = (re.sub(r"(Written|started) [^<.]*", "", text) for text in (first, second))
        assert first == second


def test_neither_torch_nor_lightning_is_imported(again):
    assert "IMPORTED []" in again[1]


def test_the_run_stays_as_it_was(again):
    assert again[2] == again[3]


def test_the_end_says_where_to_look(again):
    assert f"Folder:  {again[0]}" in again[1]
    assert f"Report:  {again[0]}/report.html" in again[1]


def test_what_is_typed_wins_and_all_else_is_as_the_run_had_it(evaluate, copied):
    config = copied / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("operating_point: half", "operating_point: youden")
    config.write_text(text.replace("resamples: 2000", "resamples: 150"), encoding="utf-8")
    words = ["evaluation.prevalence=0.1", "evaluation.plots=false"]
    assert evaluate(f"run={copied}", *words, "hydra.run.dir=a").code == 0
    assert metrics("a")["operating_point"]["rule"] == "youden"
    assert "ppv_at_prevalence" in metrics("a")["test"]
    assert not Path("a/report.html").exists()
    assert evaluate(f"run={copied}", "evaluation=quick", "hydra.run.dir=b").code == 0
    assert metrics("b")["operating_point"]["rule"] == "half"


def test_the_quick_evaluation_leaves_numbers_alone(evaluate, copied):
    assert evaluate(f"run={copied}", "evaluation=quick", "hydra.run.dir=out").code == 0
    assert {path.name for path in Path("out").iterdir()} == {
        ".hydra", ".lock", "evaluate.log", "metrics.json", "metrics.csv", "operating_points.csv"
    }  # fmt: skip
    assert metrics("out")["test"]["accuracy"] == metrics(copied)["test"]["accuracy"]


def test_a_moved_run_without_its_images_has_all_but_the_pages_of_images(evaluate, copied):
    answer = evaluate(f"run={copied}", "hydra.run.dir=out")
    assert answer.code == 0, answer.text
    assert "is not there, so the pages of images are left out" in answer.out
    names = {path.stem for path in Path("out/figures").glob("*.png")}
    pages = {"misclassified", "test_predictions", "grad_cam_right", "grad_cam_wrong"}
    assert names == {path.stem for path in (copied / "figures").glob("*.png")} - pages
    for name in names:
        assert Path(f"out/figures/{name}.png").read_bytes() == (copied / f"figures/{name}.png").read_bytes()
    assert "the images could not be had" in Path("out/report.html").read_text(encoding="utf-8")


def test_maps_are_shown_of_images_whose_predicted_class_is_still_the_same(evaluate, copied, finished, monkeypatch):
    table = pd.read_csv(copied / "predictions.csv")
    validation = table["split"] == "val"
    scores = table.loc[validation, "prob_organ_present"]
    table.loc[validation, "true_class"] = np.where(scores > scores.median(), "organ_present", "organ_absent")
    table.to_csv(copied / "predictions.csv", index=False)
    sign_run(copied)
    monkeypatch.chdir(finished[0].parents[3])
    words = ["evaluation.operating_point=youden", "evaluation.resamples=100", "evaluation.gallery=0"]
    out = copied.parent / "out"
    assert evaluate(f"run={copied}", *words, f"hydra.run.dir={out}").code == 0
    for name in ("right", "wrong"):
        file = out / f"figures/data/grad_cam_{name}.csv"
        if file.is_file():
            shown = pd.read_csv(file)
            assert ((shown["true_class"] == shown["predicted_class"]) == (name == "right")).all()


def test_a_run_that_broke_off_after_its_predictions_is_judged_with_a_note(evaluate, copied):
    record = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    for name in ("split_hash", "findings", "device", "training_seconds"):
        del record[name]
    (copied / "run.json").write_text(json.dumps({**record, "status": "failed"}), encoding="utf-8")
    answer = evaluate(f"run={copied}", "evaluation.resamples=100", "hydra.run.dir=out")
    assert answer.code == 0, answer.text
    assert "This run did not finish (failed)" in Path("out/report.html").read_text(encoding="utf-8")
    assert "This run did not finish (failed)" in metrics("out")["remarks"][0]


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_without_results_is_refused_with_the_way_to_go_on(evaluate, tmp_path, status):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"status": status}), encoding="utf-8")
    answer = evaluate("run=run")
    assert answer.code == 2
    assert answer.err.startswith(f"error: run=run: has not finished ({status}) and has no predictions.csv")
    assert "python -m medclf.train resume=run" in answer.err


def table(classes=("healthy", "ill"), n=60, parts=("test",), **columns):
    rng = np.random.default_rng(0)
    target = np.arange(n) % len(classes)
    probabilities = softmax(np.eye(len(classes))[target] + rng.normal(size=(n, len(classes))), axis=1)
    paths = [f"{at}.png" for at in range(n)]
    frame = pd.DataFrame({"path": paths, "true_class": np.asarray(classes)[target], **columns})
    for at, name in enumerate(classes):
        frame[f"prob_{name}"] = probabilities[:, at]
    return frame.assign(split=[parts[at // 2 % len(parts)] for at in range(n)])


@pytest.mark.parametrize("classes", [("healthy", "ill"), ("a", "b", "c")])
def test_anybodys_table(evaluate, classes):
    table(classes, 120, site=["north", "south"] * 60).to_csv("theirs.csv", index=False)
    answer = evaluate("predictions=theirs.csv", "evaluation.resamples=100", "hydra.run.dir=out")
    assert answer.code == 0, answer.text
    assert "There are no validation images" in answer.out
    found = metrics("out")
    assert found["positive"] == ("ill" if len(classes) == 2 else None)
    assert found["test"]["n"] == 120
    groups = pd.read_csv("out/subgroups.csv")
    assert set(groups["column"]) == {"site"}
    assert Path("out/figures/subgroups.png").is_file()
    report = Path("out/report.html").read_text(encoding="utf-8")
    assert "python -m medclf.evaluate predictions=theirs.csv" in report
    assert not Path("out/model_card.md").exists()
    assert Path("out/operating_points.csv").is_file() == (len(classes) == 2)


def test_the_other_class_as_the_positive_one(evaluate):
    table(parts=("val", "test")).to_csv("theirs.csv", index=False)
    words = ["predictions=theirs.csv", "evaluation=quick"]
    assert evaluate(*words, "hydra.run.dir=ill").code == 0
    assert evaluate(*words, "positive=healthy", "hydra.run.dir=healthy").code == 0
    ill, healthy = metrics("ill"), metrics("healthy")
    assert (ill["positive"], healthy["positive"]) == ("ill", "healthy")
    assert ill["test"]["sensitivity"] == healthy["test"]["specificity"]
    assert ill["test"]["auroc_macro"] == pytest.approx(healthy["test"]["auroc_macro"])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "say what to judge: run=RUN"),
        (["run=r", "predictions=theirs.csv"], "one of them"),
        (["run=nowhere"], "run=nowhere: there is no such folder"),
        (["run=."], "is no run folder (run.json is not there)"),
        (["predictions=nowhere.csv"], "predictions=nowhere.csv: no such file"),
        (["predictions=."], "predictions=.: no such file"),
        (["predictions=theirs.csv", "class_map.a=b"], "class_map: tells the classes of another dataset"),
        (["predictions=theirs.csv", "dataset=phantom"], "dataset=phantom: needs the model of a run"),
        (["predictions=theirs.csv", "positive=il"], "healthy, ill; did you mean 'ill'"),
        (["predictions=theirs.csv", "evaluation.subgroups=[sx]"], "evaluation.subgroups=sx: the images"),
        (["predictions=theirs.csv", "evaluation.operating_point=yuden"], "evaluation.operating_point=yuden"),
        (["predictions=theirs.csv", "evaluation=quik"], "did you mean 'quick'?"),
        (["prediction=theirs.csv"], "did you mean 'predictions'?"),
        (["predictions=theirs.csv", "evaluation.resamples=3"], "evaluation.resamples=3"),
        (["predictions=theirs.csv", "evaluation.target=1"], "evaluation.target=1"),
        (["predictions=theirs.csv", "evaluation.gallery=5000"], "evaluation.gallery=5000"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(evaluate, words, expected):
    table(sex=["f", "m"] * 30).to_csv("theirs.csv", index=False)
    answer = evaluate(*words)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1
    assert [path.name for path in Path().iterdir()] == ["theirs.csv"]


def damaged(frame, what):
    text = frame.astype(object)
    if what == "true_clas":
        return text.rename(columns={"true_class": "true_clas"})
    column, value = {
        "nan": ("prob_ill", np.nan), "inf": ("prob_ill", "inf"), "word": ("prob_ill", "high"),
        "sum": ("prob_ill", 0.99), "negative": ("prob_ill", -0.1), "class": ("true_class", "il"),
        "twice": ("path", "1.png"), "split": ("split", "dev"),
    }[what]  # fmt: skip
    text.loc[0, column] = value
    return text


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("nan", "no number where a probability"),
        ("inf", "no number where a probability"),
        ("word", "no number where a probability"),
        ("sum", "probabilities that do not sum to 1"),
        ("negative", "a probability below 0"),
        ("class", "did you mean 'ill'?"),
        ("true_clas", "did you mean 'true_clas'?"),
        ("twice", "an image that occurs twice"),
        ("split", "is none of train, val, test"),
    ],
)
def test_a_damaged_table_is_refused_before_a_folder_is_made(evaluate, what, expected):
    frame = table()
    frame.loc[0, ["prob_healthy", "prob_ill"]] = (0.3, 0.7)
    damaged(frame, what).to_csv("theirs.csv", index=False)
    answer = evaluate("predictions=theirs.csv")
    assert answer.code == 2
    assert answer.err.startswith("error: theirs.csv: ")
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"path,true_class,prob_a,prob_b\n", b"\x00" * 50])
def test_a_file_that_is_no_table_is_refused(evaluate, content):
    Path("theirs.csv").write_bytes(content)
    answer = evaluate("predictions=theirs.csv")
    assert answer.code == 2
    assert "Traceback" not in answer.text
    assert not Path("runs").exists()


def test_a_sweep_over_runs(evaluate, copied, tmp_path):
    shutil.copytree(copied, tmp_path / "second")
    words = ["run=moved,second", "evaluation=quick", "hydra.sweep.dir=out"]
    answer = evaluate("-m", *words)
    assert answer.code == 0, answer.text
    first, second = Path("out/job0/metrics.json"), Path("out/job1/metrics.json")
    assert first.read_bytes() == second.read_bytes()


def test_one_wrong_run_of_a_sweep_stops_it_before_the_first(evaluate, copied):
    answer = evaluate("-m", "run=moved,nowhere", "evaluation=quick")
    assert answer.code == 2
    assert "run=nowhere: there is no such folder" in answer.err
    assert not Path("runs").exists()


def test_two_at_once_go_to_two_folders(copied, tmp_path):
    working = [process("run=moved", "evaluation=quick", cwd=tmp_path) for _ in range(2)]
    for one in working:
        out, err = one.communicate(timeout=200)
        assert one.returncode == 0, out + err
    assert len(list((tmp_path / "runs" / "evaluate").iterdir())) == 2
