"""A cascade of two runs: its numbers by hand, what it refuses, and that it is used like a run."""

import json
import re
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.commands import TINY
from helpers.images import write_classes, write_image
from omegaconf import OmegaConf
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, recall_score

from medclf import cascade, compare, evaluate, report, train
from medclf.config.conf_folder import conf_dir
from medclf.data.image_io import decode_image
from medclf.inference.loading import load_model
from medclf.inference.predictor import Predictor
from medclf.plots.run_plots import GradCam

WORDS = [*TINY, "dataset=folder", "dataset.root=images", "dataset.duplicates.near=null", "evaluation.resamples=100"]
LESION = ["dataset.classes=[normal,lesion]", "dataset.class_folders={normal: normal, lesion: [benign, malignant]}"]
ON_ONE_SPLIT = "dataset.splits.file=first/splits.csv"
CLASSES = ["normal", "benign", "malignant"]
COLUMNS = [f"prob_{name}" for name in CLASSES]


def trained(cwd, name, *words):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["medclf", *WORDS, *words, f"hydra.run.dir={name}"])
        train.main()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A first stage, a second one that knows the healthy class, and one that does not."""
    cwd = tmp_path_factory.mktemp("stages")
    brightness = np.random.default_rng(0)
    for name, value in (("normal", 60), ("benign", 85), ("malignant", 110)):
        for index in range(48):
            write_image(cwd / "images" / name / f"{name} {index}.png", value + int(brightness.integers(-25, 25)))
    trained(cwd, "first", *LESION, "dataset.splits.test=0.4", "trainer.max_epochs=8")
    trained(cwd, "second", "dataset.classes=[benign,normal,malignant]", ON_ONE_SPLIT, "dataset.image_size=40")
    trained(cwd, "diseases", "dataset.classes=[benign,malignant]", ON_ONE_SPLIT)
    return cwd


@pytest.fixture
def here(runs, tmp_path):
    """The runs, to be spoilt at will."""
    for name in ("first", "second", "diseases", "images"):
        shutil.copytree(runs / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def join(command, here):
    return partial(command, cascade.main)


def table(run, split=None):
    found = pd.read_csv(Path(run) / "predictions.csv").set_index("path")
    return found if split is None else found[found["split"] == split]


def stored(run, name="metrics.json"):
    return json.loads((Path(run) / name).read_text(encoding="utf-8"))


def by_hand(first, second):
    """Probabilities of the cascade from those of its stages."""
    both = second.loc[first.index, COLUMNS[1:]].to_numpy()
    ill = first["prob_lesion"].to_numpy()[:, None]
    return np.hstack([first[["prob_normal"]].to_numpy(), ill * both / both.sum(1, keepdims=True)])


def decided(probabilities, threshold):
    """The class of each row, one after another."""
    return [
        "normal" if 1 - row[0] < threshold else CLASSES[1 + max(range(len(row) - 1), key=lambda at: row[1 + at])]
        for row in probabilities
    ]


def test_two_stages_by_hand(join, command):
    config = Path("first/config.yaml")
    config.write_text(config.read_text(encoding="utf-8").replace("plots: false", "plots: true"), encoding="utf-8")
    answer = join("stage1=first", "stage2=second", "target=0.9", "output=both", "accelerator=cpu")
    assert answer.code == 0, answer.text
    first, second, both = (table(name) for name in ("first", "second", "both"))
    assert set(both.index) == set(first.index)
    assert (both["true_class"] == second.loc[both.index, "true_class"]).all()
    own = both[COLUMNS].to_numpy()
    np.testing.assert_allclose(own, by_hand(first.loc[both.index], second), atol=1e-5)

    # the threshold: of all, the one with the most specificity of those that find 9 of 10
    metrics, facts = stored("both"), stored("both/checkpoints", "best.json")
    point = facts["operating_point"]
    assert (point, point["gate"]) == (metrics["operating_point"], "normal")
    val = both[both["split"] == "val"]
    ill, score = (val["true_class"] != "normal").to_numpy(), 1 - val["prob_normal"].to_numpy()
    possible = [(np.mean(score[~ill] < at), at) for at in [*score, 1.1] if np.mean(score[ill] >= at) >= 0.9]
    assert np.mean(score[ill] >= point["threshold"]) >= 0.9
    assert np.mean(score[~ill] < point["threshold"]) == max(possible)[0]
    assert "normal is predicted where the other classes together are less probable" in point["words"]

    test = both[both["split"] == "test"]
    predicted = decided(test[COLUMNS].to_numpy(), point["threshold"])
    assert list(test["predicted_class"]) == predicted
    assert predicted != [CLASSES[at] for at in test[COLUMNS].to_numpy().argmax(1)]  # the gate matters here
    assert metrics["test"]["accuracy"] == pytest.approx(accuracy_score(test["true_class"], predicted))
    balanced = recall_score(test["true_class"], predicted, labels=CLASSES, average="macro")
    assert metrics["test"]["balanced_accuracy"] == pytest.approx(balanced)

    # beside its stages
    rows = pd.read_csv("both/against_stage1/comparison.csv").set_index("metric")
    alone = table("first", "test").loc[test.index]
    truth, called = test["true_class"] != "normal", np.array(predicted) != "normal"
    assert rows.loc["sensitivity", "second_value"] == pytest.approx(called[truth].mean())
    assert rows.loc["specificity", "second_value"] == pytest.approx(1 - called[~truth].mean())
    assert rows.loc["sensitivity", "first_value"] == pytest.approx((alone["prob_lesion"] >= 0.5)[truth].mean())
    right = [called == truth, (alone["predicted_class"] == "lesion") == truth]
    apart = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    assert rows.loc["accuracy", "p"] == pytest.approx(binomtest(apart[0], sum(apart)).pvalue if sum(apart) else 1)
    rows = pd.read_csv("both/against_stage2/comparison.csv").set_index("metric")
    assert rows.loc["accuracy", "first_value"] == pytest.approx(stored("second")["test"]["accuracy"])
    assert rows.loc["accuracy", "difference"] == pytest.approx(
        metrics["test"]["accuracy"] - stored("second")["test"]["accuracy"]
    )
    page = Path("both/report.html").read_text(encoding="utf-8")
    for text in ("Beside either stage alone", "A cascade: stage 1, first, tells normal from the rest", point["words"]):
        assert text in page

    shown = GradCam.load(Path("both/figures/data/grad_cam.npz"))
    assert shown.maps.shape == (len(shown.paths), 32, 32)  # of the second stage too, which sees 40 pixels
    assert set(shown.paths) <= set(test.index)
    assert list(Path("both/figures").glob("grad_cam_*.png"))

    # used like a run
    answer = command(evaluate.main, "run=both", "hydra.run.dir=again", "evaluation.plots=false")
    assert answer.code == 0, answer.text
    again = stored("again")
    assert (again["test"], again["operating_point"]) == (metrics["test"], point)
    answer = command(compare.main, "both", "second", "resamples=200", "output=compared")
    assert answer.code == 0, answer.text
    found = pd.read_csv("compared/comparison.csv").set_index("metric")
    assert found.loc["accuracy", "first_value"] == pytest.approx(metrics["test"]["accuracy"])
    answer = command(report.main, "both", "second", "resamples=200", "output=reported")
    assert answer.code == 0, answer.text
    assert "cascade of cnn and cnn" in answer.out

    # one model, without the runs
    assert Path("both/checkpoints/novelty.npz").read_bytes() == Path("first/checkpoints/novelty.npz").read_bytes()
    shutil.move("both/checkpoints", "elsewhere")
    for name in ("first", "second"):
        shutil.rmtree(name)
    engine = Predictor(load_model(Path("elsewhere/best.json")), "cpu")
    assert [form.image_size for form in engine.model.forms] == [32, 40]
    answer = engine.predict([engine.look(decode_image(Path("images"), path, grey=True)) for path in test.index])
    np.testing.assert_allclose(answer.uncalibrated, test[COLUMNS], atol=1e-6)
    assert [CLASSES[at] for at in answer.predicted] == predicted


def test_a_second_stage_that_knows_no_healthy_class(join):
    answer = join("stage1=first", "stage2=diseases", "output=both", "accelerator=cpu")
    assert answer.code == 0, answer.text
    both, ill = table("both", "test"), table("diseases", "test")
    assert f"Only the {len(ill)} test images that are ill" in answer.out
    rows = pd.read_csv("both/against_stage2/comparison.csv").set_index("metric")
    assert rows.loc["accuracy", "n"] == len(ill)
    right = both.loc[ill.index, "predicted_class"] == both.loc[ill.index, "true_class"]
    assert rows.loc["accuracy", "second_value"] == pytest.approx(right.mean())
    assert rows.loc["accuracy", "first_value"] == pytest.approx((ill["predicted_class"] == ill["true_class"]).mean())


def test_the_three_commands_of_the_recipes(command, tmp_path):
    for name in ("COVID", "Normal", "Lung_Opacity", "Viral Pneumonia"):
        write_classes(tmp_path / "FOLDER" / name, {"images": 40, "masks": 2}, f"{name}-{{index}}.png")
    header = (conf_dir() / "experiment" / "covid_stage1.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^# (?:Line|Then): python -m medclf\.(\w+) (.*)$", header, re.MULTILINE)
    small = [*TINY, "model=cnn", "model.weights=none", "model.frozen=false", "dataset.duplicates.near=null"]
    for module, words in lines:
        tool = {"train": train.main, "cascade": cascade.main}[module]
        answer = command(tool, *words.split(), *(small if module == "train" else []))
        assert answer.code == 0, answer.text
    assert [module for module, _ in lines] == ["train", "train", "cascade"]
    (made,) = Path("runs/cascade").iterdir()
    facts = stored(made / "checkpoints", "best.json")
    assert facts["classes"] == ["healthy", "covid", "lung_opacity", "viral_pneumonia"]
    assert facts["operating_point"]["gate"] == "healthy"


def edit(path, change):
    found = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(found).to_csv(path, index=False)


def set_row(column, row, value):
    """A change of a table: one cell."""

    def change(found):
        found.loc[row, column] = value
        return found

    return change


def refused(answer):
    assert answer.code == 2, answer.text
    assert answer.err.startswith("error: ")
    assert "Traceback" not in answer.err
    assert not Path("both").exists()
    return answer.err


@pytest.mark.parametrize(("split", "there"), [("test", "train"), ("test", "val"), ("val", "train"), ("val", "test")])
def test_what_a_stage_has_learned_from_is_refused(join, split, there):
    prints = pd.read_csv("second/fingerprints.csv", dtype=str)
    row = prints.index[prints["split"] == split][0]
    edit("second/fingerprints.csv", set_row("split", row, there))
    message = refused(join("stage1=first", "stage2=second", "output=both"))
    assert "stage2=second: 1 of the" in message
    assert f"{prints.loc[row, 'path']}: {split} here, {there} there" in message
    assert "dataset.splits.file=first/splits.csv" in message


def test_a_copy_that_the_first_stage_has_learned_from_is_refused(join):
    prints = pd.read_csv("first/fingerprints.csv", dtype=str)
    sha256 = prints.loc[prints["split"] == "test", "sha256"].iloc[0]
    edit("first/fingerprints.csv", set_row("sha256", prints.index[prints["split"] == "train"][0], sha256))
    assert "stage1=first: 1 of the" in refused(join("stage1=first", "stage2=second", "output=both"))


def test_images_that_look_like_what_the_second_stage_learned_from_are_left_out(join):
    """Stage 2 had more images, copies that were saved anew: of a test image in its validation, and of a validation
    image where that does no harm."""
    config = OmegaConf.load("first/config.yaml")
    config.dataset.duplicates.near = 4
    OmegaConf.save(config, "first/config.yaml")
    prints = pd.read_csv("second/fingerprints.csv", dtype=str)
    own = {part: prints[prints["split"] == part].iloc[0] for part in ("val", "test")}
    copies = [
        {"path": f"more/{at}.png", "split": there, "sha256": f"{at:064d}", "perceptual_hash": own[part].perceptual_hash}
        for at, (part, there) in enumerate([("test", "val"), ("val", "val"), ("val", "test")])
    ]
    edit("second/fingerprints.csv", lambda found: pd.concat([found, pd.DataFrame(copies)]))
    answer = join("stage1=first", "stage2=second", "output=both", "accelerator=cpu")
    assert answer.code == 0, answer.text
    told = f"look like images that stage 2 learned from or was chosen by: 1 ({own['test'].path})."
    assert told in answer.out
    assert set(table("first").index) - set(table("both").index) == {own["test"].path}
    assert any(told in finding for finding in stored("both", "run.json")["findings"])


def test_images_of_unknown_disease_are_left_out(join):
    splits = pd.read_csv("second/splits.csv", dtype=str)
    ill = splits[(splits["class"] != "normal") & (splits["split"] == "test")]
    gone = list(ill["path"][:2])
    edit("second/splits.csv", lambda found: found[~found["path"].isin(gone)])
    for run in ("first", "second"):
        Path(run, "fingerprints.csv").unlink()
    answer = join("stage1=first", "stage2=second", "output=both", "accelerator=cpu")
    assert answer.code == 0, answer.text
    assert f"Left out, since stage 2 does not know their disease: 2 ({gone[0]}, {gone[1]})" in answer.out
    assert "A stage has no fingerprints.csv: the same picture is known by its path" in answer.out
    assert set(table("first").index) - set(table("both").index) == set(gone)
    assert stored("both", "run.json")["findings"]

    edit("second/splits.csv", lambda found: found[(found["class"] == "normal") | (found["split"] != "test")])
    shutil.rmtree("both")
    message = refused(join("stage1=first", "stage2=second", "output=both"))
    assert "knows the disease of no test image of stage1=first that is ill" in message


def test_stages_that_do_not_go_together(join):
    def typed(*words):
        return refused(join(*words, "output=both"))

    assert "are the same run, given twice" in typed("stage1=first", "stage2=./first")
    assert "stage1=second: has 3 classes (benign, normal, malignant)" in typed("stage1=second", "stage2=first")
    shutil.copytree("first", "other")
    assert "stage2=other: its classes are normal, lesion" in typed("stage1=first", "stage2=other")
    assert "stage1=nowhere: there is no such folder" in typed("stage1=nowhere", "stage2=second")
    assert "stage2=images: is not a run folder" in typed("stage1=first", "stage2=images")
    assert "stage2: is missing; set it: stage2=VALUE" in typed("stage1=first")
    assert "target=2: " in typed("stage1=first", "stage2=second", "target=2")
    answer = join("stage1=first", "stage2=second", "output=images")
    assert "output=images: already holds something" in answer.err

    swapped = pd.read_csv("second/splits.csv", dtype=str)
    row = swapped.index[(swapped["class"] == "benign") & (swapped["split"] == "test")][0]
    edit("second/splits.csv", set_row("class", row, "normal"))
    message = typed("stage1=first", "stage2=second")
    assert f"do not agree about 1 images ({swapped.loc[row, 'path']}: lesion and normal)" in message
    edit("second/fingerprints.csv", lambda found: found.assign(sha256="0" + found["sha256"]))
    assert "have no picture in common" in typed("stage1=first", "stage2=second")
    Path("second/run.json").write_text(json.dumps({"status": "failed"}), encoding="utf-8")
    assert "stage2=second: has not finished (failed)" in typed("stage1=first", "stage2=second")
    Path("second/checkpoints/best.json").unlink()
    assert "stage2=second: has not finished (failed) and has no model" in typed("stage1=first", "stage2=second")


def test_images_and_weights_that_are_not_there(join):
    shutil.move("images/normal", "images/moved")
    assert "are not there" in refused(join("stage1=first", "stage2=second", "output=both"))
    shutil.move("images", "gone")
    message = refused(join("stage1=first", "stage2=second", "output=both"))
    assert "dataset.root=images: the images of stage1=first are not there" in message
    shutil.move("gone/moved", "gone/normal")
    shutil.move("gone", "images")
    Path("second/checkpoints/best.pth").write_bytes(b"nothing")
    assert "best.pth" in refused(join("stage1=first", "stage2=second", "output=both"))
