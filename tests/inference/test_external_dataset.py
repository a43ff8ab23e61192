"""A run's model on the images of another dataset."""

import json
import re
import shlex
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.images import write_classes, write_image
from omegaconf import OmegaConf
from PIL import Image

from medclf.config.command_schemas import EvaluateConfig
from medclf.config.composition import Composer
from medclf.config.schema import TrainConfig, validate_config
from medclf.data.image_io import decode_image
from medclf.data.preprocessing import preprocess
from medclf.evaluate import main
from medclf.inference.class_mapping import match_classes
from medclf.plots.run_plots import GradCam
from medclf.training.module import ClassifierModule
from medclf.utils.errors import ConfigError

KNOWN = ["cat", "dog"]


@pytest.fixture
def elsewhere(command, tabled, tmp_path):
    """Type ``python -m medclf.evaluate run=RUN dataset=folder dataset.root=other`` in a fresh folder."""
    return partial(command, main, f"run={tabled}", "dataset=folder", "dataset.root=other", "hydra.run.dir=out")


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def predictions():
    return pd.read_csv("out/predictions.csv", keep_default_na=False)


def test_the_same_names_need_no_map(elsewhere, tabled):
    write_classes(Path("other"), {"cat": 14, "dog": 12})
    answer = elsewhere("evaluation.resamples=100", "dataset.image_size=64", "dataset.resize=crop", "dataset.channels=1")
    assert answer.code == 0, answer.text
    table = predictions()
    assert table["true_class"].value_counts().to_dict() == {"cat": 14, "dog": 12}
    assert set(table["split"]) == {"test"}
    found, own = metrics(Path("out")), metrics(tabled)
    assert found["test"]["n"] == 26
    assert found["operating_point"] == own["operating_point"]
    assert found["operating_point"]["rule"] == "youden"
    assert found["temperature"] == own["temperature"]
    assert (found["epoch"], found["positive"]) == (own["epoch"], "dog")
    report = Path("out/report.html").read_text(encoding="utf-8")
    assert "External validation: the images are those of folder" in report
    assert "External validation" in answer.out
    assert Path("out/figures/test_predictions.png").is_file()
    shown = GradCam.load(Path("out/figures/data/grad_cam.npz"))
    assert shown.maps.shape == (len(shown.paths), 32, 32)
    assert list(Path("out/figures").glob("grad_cam_*.png"))
    judged = table.set_index("path").loc[shown.paths]
    assert list(judged["predicted_class"] == judged["true_class"]) == shown.right


def test_the_predictions_are_those_of_the_best_checkpoint_on_images_as_the_run_saw_its_own(elsewhere, tabled):
    write_classes(Path("other"), {"cat": 6, "dog": 6})
    assert elsewhere("evaluation=quick", "dataset.image_size=64", "dataset.resize=crop").code == 0
    config = validate_config(OmegaConf.load(tabled / "config.yaml"), TrainConfig).dataset
    assert (config.image_size, config.resize) == (32, "letterbox")
    best = ClassifierModule.load_from_checkpoint(tabled / "checkpoints/best.ckpt", weights_only=True).eval()
    threshold = metrics(tabled)["operating_point"]["threshold"]
    for row in predictions().to_dict("records"):
        image = torch.from_numpy(preprocess(decode_image(Path("other"), row["path"], grey=False), config))
        with torch.no_grad():
            expected = best(image[None].to(torch.uint8)).double().softmax(1)[0]
        assert row["prob_dog"] == pytest.approx(expected[1].item(), abs=1e-5)
    counted = metrics(Path("out"))["test"]
    called = predictions()["prob_dog"] >= threshold
    truth = predictions()["true_class"] == "dog"
    assert counted["accuracy"] == pytest.approx((called == truth).mean())


def test_the_precision_is_that_of_the_training_or_the_one_that_is_typed(elsewhere):
    write_classes(Path("other"), {"cat": 6, "dog": 6})
    answer = elsewhere("evaluation=quick")
    assert "Precision 32-true: as the run was trained." in answer.out
    own = predictions()["prob_dog"]
    answer = elsewhere("evaluation=quick", "precision=bf16-mixed", "hydra.run.dir=coarse")
    assert answer.code == 0, answer.text
    assert "Precision " not in answer.out.replace("Mixed Precision (AMP)", "")
    coarse = pd.read_csv("coarse/predictions.csv")["prob_dog"]
    assert 0 < (coarse - own).abs().max() < 0.05


def test_other_names_and_a_class_that_is_left_out(elsewhere):
    write_classes(Path("other"), {"Felis catus": 6, "HOUND": 5, "bird": 4})
    words = ["class_map={Felis catus: cat}", "class_map.HOUND=dog", "class_map.bird=null", "evaluation=quick"]
    answer = elsewhere(*words)
    assert answer.code == 0, answer.text
    table = predictions()
    assert table["true_class"].value_counts().to_dict() == {"cat": 6, "dog": 5}
    assert not table["path"].str.startswith("bird").any()
    assert metrics(Path("out"))["remarks"][1:3] == [
        "Images of class bird were left out.",
        "Classes were taken so: Felis catus as cat, HOUND as dog.",
    ]
    assert "Images of class bird were left out." in answer.out


def test_a_class_of_the_model_that_is_absent_gives_nan_with_reasons(elsewhere):
    write_classes(Path("other"), {"cat": 6, "bird": 4})
    answer = elsewhere("class_map.bird=null", "evaluation.resamples=100")
    assert answer.code == 0, answer.text
    test = metrics(Path("out"))["test"]
    assert test["auroc_macro"] is None
    assert test["not_defined"]["auroc_macro"] == "every image is of class cat; no image is of class dog"
    assert test["not_defined"]["sensitivity"] == "no image is of class dog"
    assert {"prob_cat", "prob_dog"} <= set(predictions())


def test_two_of_their_classes_may_be_one_of_ours(elsewhere):
    write_classes(Path("other"), {"cat": 6, "puppy": 5, "dog": 4})
    assert elsewhere("class_map.puppy=dog", "evaluation=quick").code == 0
    assert predictions()["true_class"].value_counts().to_dict() == {"dog": 9, "cat": 6}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "class Dog, bird of the dataset is none of the model's (cat, dog); say which it is, class_map.Dog=dog"),
        (["class_map.Dog=dog"], "class bird of the dataset is none of the model's"),
        (["class_map.Dog=dgo"], "class_map.Dog=dgo: the model knows no such class; did you mean 'dog'?"),
        (["class_map.Dgo=dog"], "class_map.Dgo: the dataset has no such class; did you mean 'Dog'?"),
        (["class_map={Dog: null, bird: null}"], "leaves out every class"),
        (["class_map.Dog=dog", "class_map.bird=null", "positive=Dog"], "positive=Dog: is not one of the classes"),
        (["class_map={Dog: dog, bird: cat}", "evaluation.subgroups=[sex]"], "evaluation.subgroups=sex: the images"),
        (["dataset.root=nowhere"], "dataset.root=nowhere: there is no such folder"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(elsewhere, words, expected):
    write_classes(Path("other"), {"Dog": 3, "bird": 3})
    answer = elsewhere(*words)
    assert answer.code == 2, answer.text
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize("link", [False, True])
def test_the_images_of_the_run_itself_are_refused(elsewhere, tabled, monkeypatch, tmp_path, link):
    monkeypatch.chdir(tabled.parent)
    if link:
        (tmp_path / "link").symlink_to("/")
    root = tmp_path / "link" / tabled.parent.relative_to("/") / "images" if link else "images"
    answer = elsewhere(f"dataset.root={root}", f"hydra.run.dir={tmp_path}/out")
    assert answer.code == 2
    assert "holds the images that run was trained on" in answer.err
    assert "python -m medclf.evaluate run=run" in answer.err
    assert not (tmp_path / "out").exists()


def test_a_rule_that_is_typed_is_applied_to_the_validation_images_of_the_run(elsewhere, tabled):
    write_classes(Path("other"), {"cat": 6, "dog": 6})
    assert elsewhere("evaluation=quick", "evaluation.operating_point=sensitivity", "positive=cat").code == 0
    point = metrics(Path("out"))["operating_point"]
    assert point["rule"] == "sensitivity"
    validation = pd.read_csv(tabled / "predictions.csv").query("split == 'val'")
    called = validation["prob_cat"] >= point["threshold"]
    assert called[validation["true_class"] == "cat"].mean() >= 0.95
    assert metrics(Path("out"))["positive"] == "cat"


def test_subgroups_of_a_table_elsewhere(elsewhere):
    lines = ["path,label,scanner"]
    for index in range(48):
        name = ("cat", "dog")[index % 2]
        write_image(Path("other") / f"{index}.png", 60 + 50 * (index % 2), mode="RGB")
        lines.append(f"{index}.png,{name},{'AB'[index // 2 % 2]}")
    Path("other/table.csv").write_text("\n".join(lines), encoding="utf-8")
    answer = elsewhere("dataset=table", "evaluation=quick")
    assert answer.code == 0, answer.text
    assert set(predictions()["scanner"]) == {"A", "B"}
    groups = pd.read_csv("out/subgroups.csv")[["column", "value", "n"]].drop_duplicates()
    assert groups.to_numpy().tolist() == [["scanner", "A", 24], ["scanner", "B", 24]]


def test_subgroups_that_the_run_asked_for_are_not_asked_of_other_images(elsewhere, tabled, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(tabled, moved, ignore=shutil.ignore_patterns("events*", "figures"))
    text = (moved / "config.yaml").read_text(encoding="utf-8")
    (moved / "config.yaml").write_text(text.replace("subgroups: null", "subgroups: [sex]"), encoding="utf-8")
    write_classes(Path("other"), {"cat": 6, "dog": 6})
    answer = elsewhere(f"run={moved}", "evaluation.plots=false", "evaluation.resamples=100")
    assert answer.code == 0, answer.text


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_model_that_cannot_be_read_is_one_message(elsewhere, tabled, tmp_path, content):
    moved = tmp_path / "moved"
    shutil.copytree(tabled, moved, ignore=shutil.ignore_patterns("events*", "figures"))
    if content is None:
        (moved / "checkpoints/best.pth").unlink()
    else:
        (moved / "checkpoints/best.pth").write_bytes(content)
    write_classes(Path("other"), {"cat": 6, "dog": 6})
    answer = elsewhere(f"run={moved}", "evaluation=quick")
    assert answer.code == 2
    assert "best.pth" in answer.err
    assert not Path("out").exists()
    assert "Traceback" not in answer.text


def test_an_accelerator_that_is_not_there_is_one_message(elsewhere):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    write_classes(Path("other"), {"cat": 6, "dog": 6})
    answer = elsewhere("evaluation=quick", "accelerator=gpu")
    assert answer.code == 2
    assert "error: accelerator=gpu: " in answer.err
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("name", ["bird", "two words", "a (b)", "x.y", "a, b", "{c}", "1", "a:b"])
def test_the_words_of_the_message_can_be_typed(name):
    with pytest.raises(ConfigError) as error:
        match_classes(["cat", name], KNOWN, {})
    (word,) = shlex.split(re.search(r"or leave its images out, (.*)", str(error.value))[1])
    config = validate_config(Composer("evaluate").compose([f"++{word}"]), EvaluateConfig)
    assert match_classes(["cat", name], KNOWN, config.class_map) == {"cat": "cat", name: None}


@pytest.mark.parametrize("name", ["it's", "Gefäß"])
def test_a_name_that_hydra_cannot_read_is_said_to_be_one(name, elsewhere):
    write_classes(Path("other"), {"cat": 3, name: 3})
    assert f"class {name} of the dataset is none of the model's" in elsewhere().err
    assert "by another name of its folder" in elsewhere().err


def test_matching():
    assert match_classes(["cat", "dog"], KNOWN, {}) == {"cat": "cat", "dog": "dog"}
    assert match_classes(["dog", "x"], KNOWN, {"x": "cat"}) == {"dog": "dog", "x": "cat"}
    assert match_classes(["cat", "dog"], KNOWN, {"cat": "dog", "dog": None}) == {"cat": "dog", "dog": None}
    with pytest.raises(ConfigError, match=r"class_map\.x: the dataset has no such class"):
        match_classes(["cat"], KNOWN, {"x": "cat"})


def test_columns_of_the_table_named_as_ours_are_kept_under_another_name(tabled):
    table = pd.read_csv(tabled / "predictions.csv")
    assert {"sex", "site", "age", "table_fold", "table_prob_dog"} <= set(table)
    assert (table["table_fold"] == "a").all()
    assert (table["table_prob_dog"] == 0.9).all()
    assert np.allclose(table["prob_cat"] + table["prob_dog"], 1)


def test_images_that_the_model_was_trained_on_are_left_out(elsewhere, tabled):
    """Also in another size and under another name; images of the run's test split stay."""
    own = pd.read_csv(tabled / "fingerprints.csv")
    images = tabled.parent / "images"
    trained = list(own.loc[own["split"] == "train", "path"])[:3]
    tested = list(own.loc[own["split"] == "test", "path"])[:2]
    write_classes(Path("other"), {"cat": 8, "dog": 8})
    shutil.copy(images / trained[0], Path("other/cat/copy.png"))
    with Image.open(images / trained[1]) as image:
        image.resize((80, 60)).save(Path("other/dog/enlarged.png"))
    shutil.copy(images / tested[0], Path("other/dog/tested.png"))
    answer = elsewhere("evaluation=quick")
    assert answer.code == 0, answer.text
    assert "the model was trained on: 2 (cat/copy.png, dog/enlarged.png)." in answer.out
    assert set(predictions()["path"]) & {"cat/copy.png", "dog/enlarged.png", "dog/tested.png"} == {"dog/tested.png"}
    assert len(predictions()) == 17


def test_a_set_of_nothing_else_is_refused(elsewhere, tabled):
    own = pd.read_csv(tabled / "fingerprints.csv")
    for path in own.loc[own["split"] == "train", "path"]:
        (Path("other") / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tabled.parent / "images" / path, Path("other") / path)
    answer = elsewhere("evaluation=quick")
    assert answer.code == 2
    assert "every image equals or looks like one that" in answer.err
