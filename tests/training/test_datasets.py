"""Each dataset in its true layout, and each bad input, through the command line."""

import io
import json

import numpy as np
import pytest
from helpers import dataset_layouts as layouts
from helpers.commands import TINY
from helpers.images import write_classes, write_image
from PIL import Image

TESTED = {
    "thyroid": 12, "trachea": 12, "pneumonia": 16, "covid": 7, "busi": 13, "hip_mri": 6, "folder": 6, "table": 6,
    "medmnist": 12,
}  # fmt: skip
MORE = {"table": ["dataset.table.group=patient"], "medmnist": ["dataset.root=images/breastmnist.npz"]}


@pytest.mark.parametrize("name", TESTED)
def test_every_dataset_trains(train, tmp_path, name):
    getattr(layouts, name)(tmp_path / "images")
    words = [f"dataset={name}", "dataset.root=images", *MORE.get(name, [])]
    answer = train(*words, *TINY, "trainer.max_epochs=1", "dataset.batch_size=4")
    assert answer.code == 0, answer.text
    (metrics,) = tmp_path.rglob("metrics.json")
    assert json.loads(metrics.read_text(encoding="utf-8"))["test"]["n"] == pytest.approx(TESTED[name], abs=1)
    (splits,) = tmp_path.rglob("splits.csv")
    assert "mask" not in splits.read_text(encoding="utf-8")


def test_names_of_every_kind(train, tmp_path):
    names = [
        "with space",
        'with "quotes"',
        "it's",
        "Ärztin ñ 超音波",
        "x" * 200,
        "comma, semicolon; #1",
        "100%",
        "[a] (b) {c}",
    ]
    for label in ("a", "b"):
        for name in names:
            write_image(tmp_path / "images" / label / f"{name}.png", 60 if label == "a" else 150)
    answer = train("dataset=folder", "dataset.root=images", *TINY, "trainer.max_epochs=1", "dataset.batch_size=4")
    assert answer.code == 0, answer.text
    (splits,) = tmp_path.rglob("splits.csv")
    for name in names:
        assert name.replace('"', '""') in splits.read_text(encoding="utf-8")


def truncated() -> bytes:
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(whole, "JPEG")
    return whole.getvalue()[:500]


def test_every_file_that_cannot_be_read_is_named_at_once(train, tmp_path):
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    bad = {"cut.jpg": truncated(), "empty.png": b"", "text.png": b"no image", "scan.dcm": b"no scan"}
    for name, content in bad.items():
        (tmp_path / "images" / "a" / name).write_bytes(content)
    answer = train("dataset=folder", "dataset.root=images", *TINY)
    assert answer.code == 2
    assert "4 of 44 images cannot be read" in answer.err
    for name in bad:
        assert f"a/{name}: " in answer.err
    assert "dataset.on_unreadable=drop" in answer.err
    answer = train("dataset=folder", "dataset.root=images", *TINY, "trainer.max_epochs=1", "dataset.on_unreadable=drop")
    assert answer.code == 0, answer.text
    assert "4 of 44 images cannot be read; " in answer.out
    assert "a/cut.jpg: " in answer.out


def test_files_without_permission(train, tmp_path, monkeypatch):
    from medclf.data import image_fingerprints

    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    read = image_fingerprints.read_bytes

    def refuse(root, path, *limit):
        if path == "b/image (3).png":
            return read(root, "b", *limit)  # a folder cannot be read as a file, whoever one is
        return read(root, path, *limit)

    monkeypatch.setattr(image_fingerprints, "read_bytes", refuse)
    answer = train("dataset=folder", "dataset.root=images", *TINY)
    assert answer.code == 2
    assert "b/image (3).png: a folder, not a file" in answer.err


@pytest.mark.parametrize(
    ("counts", "words"),
    [({"a": 20}, "at least two class folders"), ({"a": 40, "b": 2}, "too few images (of different patients)")],
)
def test_classes_too_few_or_too_small(train, tmp_path, counts, words):
    write_classes(tmp_path / "images", counts)
    answer = train("dataset=folder", "dataset.root=images", *TINY)
    assert answer.code == 2
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_folds_use_every_image_for_testing_once(train, tmp_path):
    write_classes(tmp_path / "images", {"a": 15, "b": 15})
    folds = ["dataset.splits.folds=3", "dataset.splits.fold=0,1,2", "trainer.max_epochs=1", "dataset.batch_size=4"]
    answer = train("-m", "dataset=folder", "dataset.root=images", *TINY, *folds)
    assert answer.code == 0, answer.text
    tested = []
    for splits in tmp_path.rglob("splits.csv"):
        tested += [line for line in splits.read_text(encoding="utf-8").splitlines() if line.endswith(",test")]
    assert len(tested) == len(set(tested)) == 30


def test_the_splits_of_a_run_can_be_used_again(train, tmp_path):
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    words = ["dataset=folder", "dataset.root=images", *TINY, "trainer.max_epochs=1"]
    assert train(*words, "dataset.splits.seed=5", "hydra.run.dir=first").code == 0
    answer = train(*words, "dataset.splits.file=first/splits.csv", "hydra.run.dir=second")
    assert answer.code == 0, answer.text
    assert (tmp_path / "first/splits.csv").read_bytes() == (tmp_path / "second/splits.csv").read_bytes()
    answer = train(*words, "dataset.splits.file=nowhere.csv")
    assert answer.code == 2
    assert "dataset.splits.file=nowhere.csv: no such file" in answer.err
