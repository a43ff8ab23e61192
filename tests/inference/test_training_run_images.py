"""``python -m medclf.evaluate run=RUN tta=flip``: a run's own images predicted again, each with its mirror image."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.images import write_image
from omegaconf import OmegaConf
from PIL import Image, ImageOps

from medclf import compare
from medclf.config.schema import TrainConfig, validate_config
from medclf.data.image_io import decode_image
from medclf.data.preprocessing import preprocess
from medclf.evaluate import main
from medclf.training.module import ClassifierModule


@pytest.fixture
def moved(tabled, tmp_path):
    """The run and its images, to be spoilt at will."""
    run = tmp_path / "run"
    shutil.copytree(tabled, run, ignore=shutil.ignore_patterns("events*", "figures", "*.ckpt"))
    shutil.copytree(tabled.parent / "images", tmp_path / "images")
    return run


@pytest.fixture
def again(command, moved):
    """Type it where the run's images are."""
    return partial(command, main, "run=run", "tta=flip", "hydra.run.dir=out", "evaluation.resamples=100")


def metrics(folder):
    return json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))


def flipped(tabled, paths):
    """The mean over image and mirror image by the Lightning checkpoint, without the engine."""
    config = validate_config(OmegaConf.load(tabled / "config.yaml"), TrainConfig).dataset
    best = ClassifierModule.load_from_checkpoint(tabled / "checkpoints/best.ckpt", weights_only=True).eval()
    root = tabled.parent / "images"
    images = np.stack([preprocess(decode_image(root, path, config.channels == 1), config) for path in paths])
    with torch.no_grad():
        both = [best(torch.from_numpy(seen.copy())).double().softmax(1).numpy() for seen in (images, images[..., ::-1])]
    return (both[0] + both[1]) / 2, both[0]


def test_every_figure_is_of_the_mean_over_image_and_mirror_image(again, moved, tabled, command):
    before = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    answer = again("evaluation.plots=true", "evaluation.gallery=2", "evaluation.grad_cam=2")
    assert answer.code == 0, answer.text
    own, found = pd.read_csv("run/predictions.csv"), pd.read_csv("out/predictions.csv")
    assert set(found["split"]) == {"val", "test"}
    numbers = ["prob_cat", "prob_dog", "predicted_class"]
    pd.testing.assert_frame_equal(own.drop(columns=numbers), found.drop(columns=numbers))
    expected, plain = flipped(tabled, found["path"])
    np.testing.assert_allclose(found[["prob_cat", "prob_dog"]], expected, rtol=0, atol=1e-6)
    assert abs(expected - plain).max() > 1e-3

    stored = metrics("out")
    validation, test = (found[found["split"] == part] for part in ("val", "test"))
    truth = (validation["true_class"] == "dog").to_numpy()
    youden = [
        (called[truth].mean() - called[~truth].mean())
        for called in (validation["prob_dog"].to_numpy() >= at for at in [*validation["prob_dog"], 1.0])
    ]
    threshold = stored["operating_point"]["threshold"]
    called = (validation["prob_dog"] >= threshold).to_numpy()
    assert called[truth].mean() - called[~truth].mean() == pytest.approx(max(youden))
    assert stored["operating_point"] != metrics("run")["operating_point"]
    assert ((found["predicted_class"] == "dog") == (found["prob_dog"] >= threshold)).all()
    assert stored["test"]["accuracy"] == pytest.approx((test["predicted_class"] == test["true_class"]).mean())

    def loss(temperature):
        logits = np.log(validation[["prob_cat", "prob_dog"]].to_numpy()) / temperature
        return np.mean(np.logaddexp(logits[:, 0], logits[:, 1]) - np.where(truth, logits[:, 1], logits[:, 0]))

    best = stored["temperature"]["value"]
    assert loss(best) <= min(loss(best * 1.02), loss(best / 1.02))
    page = Path("out/report.html").read_text("utf-8")
    assert "the mean over an image and its mirror image (tta=flip)" in page
    assert "python -m medclf.evaluate run=RUN tta=flip " in page
    assert {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()} == before

    answer = command(compare.main, "run", "out/predictions.csv", "resamples=100")
    assert answer.code == 0, answer.text


def test_a_mirror_image_gets_the_probabilities_of_its_image(command, moved):
    for name, value in (("cat", 80), ("dog", 110)):
        for index in range(4):
            write_image(Path("other") / name / f"{index}.png", value, "RGB", (32, 32))
            with Image.open(f"other/{name}/{index}.png") as image:
                ImageOps.mirror(image).save(f"other/{name}/{index}_mirrored.png")
    words = ["run=run", "dataset=folder", "dataset.root=other", "evaluation=quick"]
    tables = {}
    for tta in ("none", "flip"):
        answer = command(main, *words, f"tta={tta}", f"hydra.run.dir={tta}")
        assert answer.code == 0, answer.text
        tables[tta] = pd.read_csv(f"{tta}/predictions.csv").set_index("path")["prob_dog"]
        assert metrics(tta)["operating_point"] == metrics("run")["operating_point"]
    assert "Threshold and temperature were chosen on validation images without it." in answer.out
    mirrored = tables["flip"].index.str.contains("_mirrored")
    for tta, table in tables.items():
        image, mirror = table[~mirrored].to_numpy(), table[mirrored].to_numpy()
        assert np.allclose(image, mirror, rtol=0, atol=1e-6) == (tta == "flip")
    mean = (tables["none"][~mirrored].to_numpy() + tables["none"][mirrored].to_numpy()) / 2
    np.testing.assert_allclose(tables["flip"][~mirrored], mean, rtol=0, atol=1e-6)


def rename(where):
    Path(where).rename("elsewhere")


def own_image(part):
    table = pd.read_csv("run/predictions.csv")
    return Path("images") / table.loc[table["split"] == part, "path"].iloc[0]


def spoil_weights():
    path = Path("run/checkpoints/best.json")
    path.write_text(path.read_text("utf-8").replace("medclf.models.backbones.SmallCNN", "theirs.Network"), "utf-8")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda: rename("images"), "dataset.root=images: the images of run are not there"),
        (lambda: own_image("val").unlink(), "1 of the 78 images to be predicted again are not there: "),
        (lambda: write_image(own_image("test"), 7), "1 of the 78 images to be predicted again are other files than"),
        (lambda: rename("run/fingerprints.csv"), "fingerprints.csv: is not there, so nobody can tell"),
        (lambda: rename("run/checkpoints/best.json"), "run=run: best.json is not there"),
        (lambda: rename("run/checkpoints/best.pth"), "best.pth: is missing"),
        (spoil_weights, "model.backbone._target_=theirs.Network: this class is not part of medclf"),
    ],
)
def test_what_cannot_be_predicted_again_is_one_line_and_leaves_nothing(again, spoil, expected):
    spoil()
    answer = again()
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not Path("out").exists()


def test_a_table_alone_cannot_be_predicted_again(command, moved):
    answer = command(main, "predictions=run/predictions.csv", "tta=flip")
    assert "error: tta=flip: needs the model of a run" in answer.err
    answer = command(main, "run=run", "tta=mirror")
    assert "tta=mirror" in answer.err
