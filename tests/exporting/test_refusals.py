"""What is not exported, or not kept; and the images that a file is compared on."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.export_models import leftovers, pictures, write_model
from helpers.images import write_classes

from medclf.export import main
from medclf.exporting.samples import Samples
from medclf.exporting.verify import verify_export
from medclf.inference.loading import load_model
from medclf.inference.predictor import Predictor
from medclf.utils.errors import DataError

CLASSES = ["healthy", "ill"]


@pytest.fixture
def export(command):
    return partial(command, main)


def one_line(answer):
    assert answer.code == 2, answer.text
    assert answer.out == ""
    assert answer.err.startswith("error: ")
    assert len(answer.err.splitlines()) == 1, answer.err
    return answer.err


def test_a_file_above_the_tolerance_is_not_kept(export, tmp_path):
    write_model(tmp_path / "models", CLASSES)
    said = one_line(export("model=models/best.pth", "format=torch", "tolerance=1e-12"))
    assert "more than tolerance=1e-12, on pictures of noise" in said
    assert sorted(leftovers(tmp_path)) == ["models", "models/best.json", "models/best.pth"]


@pytest.mark.parametrize("file", ["täst_set_tiny.xml", "täst_set_tiny.bin", "täst_set_tiny.xml.json"])
def test_a_file_that_is_there_stays(export, tmp_path, file):
    write_model(tmp_path / "models", CLASSES)
    Path("out").mkdir()
    Path("out", file).write_text("mine")
    said = one_line(export("model=models/best.pth", "format=openvino", "output=out"))
    assert f"output=out: already holds {file}, and nothing is overwritten" in said
    assert Path("out", file).read_text() == "mine"
    assert sorted(leftovers(tmp_path)) == sorted(
        ["models", "models/best.json", "models/best.pth", "out", f"out/{file}"]
    )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["format=tensorrt"], "format=tensorrt: must be one of 'onnx', 'torch' or 'openvino'"),
        (["output=net.onnx"], "output=net.onnx: names a folder, and this is the name of a file; use output=net"),
        (["output=models/best.pth/net"], "models/best.pth is a file; name a folder elsewhere"),
        (["images=nowhere"], "images=nowhere: there is no such folder"),
        (["images=empty"], "images=empty: holds no image"),
        (["tolerance=0"], "tolerance=0: "),
        (["tolerance=nan"], "tolerance=nan: "),
        (["ouput=net"], "ouput: there is no such key; did you mean 'output'?"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(export, tmp_path, words, expected):
    write_model(tmp_path / "models", CLASSES)
    Path("empty").mkdir()
    assert expected in one_line(export("model=models/best.pth", *words))
    assert len(leftovers(tmp_path)) == 4


@pytest.mark.parametrize(("name", "missing"), [("onnx", "onnxscript"), ("openvino", "openvino")])
def test_a_format_that_is_not_installed_is_told_how_to_be(export, tmp_path, monkeypatch, name, missing):
    write_model(tmp_path, CLASSES)
    found = importlib.util.find_spec
    monkeypatch.setattr("medclf.exporting.formats.find_spec", lambda what: None if what == missing else found(what))
    said = one_line(export("model=best.pth", f"format={name}"))
    assert f"format={name}: needs {missing}; pip install 'medclf[{name}]'" in said
    assert not Path("export").exists()


NETWORKS = """
import torch
from torch import nn

class Doubtful(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 3)

    def forward(self, images):
        maps = self.layer(images)
        return maps.tanh() if maps.sum() > 0 else maps

class OfTwo(Doubtful):
    def forward(self, images):
        return self.layer(images).reshape(2, 4, -1).mean(2)

class Bessel(Doubtful):
    def forward(self, images):
        return torch.special.bessel_j0(self.layer(images))
"""


@pytest.mark.parametrize(
    ("network", "name", "reason"),
    [
        ("Doubtful", "torch", "Could not guard on data-dependent expression"),
        ("OfTwo", "openvino", "your code specialized it to be a constant (2)"),
        ("Bessel", "onnx", "No ONNX function found for"),
    ],
)
def test_a_network_that_cannot_be_exported_is_one_message(export, tmp_path, monkeypatch, network, name, reason):
    (tmp_path / "own_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    write_model(tmp_path / "models", CLASSES, {"_target_": f"own_networks.{network}"})
    monkeypatch.delitem(sys.modules, "own_networks")
    words = ["model=models/best.pth", f"format={name}"]
    assert "if you trust it, add trust_code=true" in one_line(export(*words))
    assert "own_networks" not in sys.modules
    said = one_line(export(*words, "trust_code=true"))
    assert f"format={name}: the network cannot be exported: " in said
    assert reason in said
    assert len(said) < 500
    assert sorted(leftovers(tmp_path / "models")) == ["best.json", "best.pth"]


def test_it_is_compared_on_the_images_of_a_folder_that_can_be_read(export, tmp_path):
    write_model(tmp_path, CLASSES)
    write_classes(tmp_path / "mine", {"a": 3, "b": 2})
    (tmp_path / "mine" / "broken.png").write_text("no image")
    answer = export("model=best.pth", "format=torch", "images=mine")
    assert answer.code == 0, answer.text
    assert "Verified on 5 images of mine: probabilities differ by at most " in answer.out


def test_a_folder_in_which_nothing_can_be_read_is_refused(export, tmp_path):
    write_model(tmp_path, CLASSES)
    Path("mine").mkdir()
    Path("mine/broken.png").write_text("no image")
    assert "images=mine: none of its images can be read" in one_line(export("model=best.pth", "images=mine"))


def test_it_is_compared_on_the_runs_own_images(export, finished, tmp_path, monkeypatch):
    run, _ = finished
    monkeypatch.chdir(run.parents[3])
    answer = export(f"run={run}", "format=torch", f"output={tmp_path}/out")
    assert answer.code == 0, answer.text
    others = (pd.read_csv(run / "predictions.csv")["split"] != "train").sum()
    assert 0 < others < 32
    assert f"Verified on {others} validation and test images of the run: probabilities differ" in answer.out


@pytest.fixture
def engine(tmp_path):
    write_model(tmp_path, ["a", "b", "c"])
    return Predictor(load_model(tmp_path / "best.json"), "cpu", "32-true")


@pytest.fixture
def samples():
    return Samples([(picture,) for picture in pictures(6)], "pictures")


def shifted(engine, by=0.0, classes=0):
    """A file that says what the model says, but for so much."""

    def run(images):
        found = engine.predict(list(zip(*images, strict=True)))
        return (found.probabilities + by).astype(np.float32), (found.predicted + classes) % 3

    return run


def test_what_differs_is_measured(engine, samples):
    verified = verify_export(Path("net.onnx"), shifted(engine, 3e-5), engine, samples, 1e-4)
    assert verified.largest_difference == pytest.approx(3e-5, rel=0.01)
    assert (verified.images, verified.undecided) == (6, 0)


@pytest.mark.parametrize("by", [2e-4, float("nan")])
def test_too_large_a_difference_is_refused(engine, samples, by):
    with pytest.raises(DataError, match="its probabilities differ"):
        verify_export(Path("net.onnx"), shifted(engine, by), engine, samples, 1e-4)


def test_another_class_is_refused_but_where_it_hangs_on_a_hair(engine, samples):
    with pytest.raises(DataError, match="predicts other classes"):
        verify_export(Path("net.onnx"), shifted(engine, classes=1), engine, samples, 1e-4)
    assert verify_export(Path("net.onnx"), shifted(engine, classes=1), engine, samples, 1.0).undecided == 6
