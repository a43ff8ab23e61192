"""One .npz file: its splits, its pixels, and what is wrong in one."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from helpers.images import dataset

from medclf.data.build_image_table import load_image_table
from medclf.data.image_io import decode_image
from medclf.data.sources.medmnist import load_array
from medclf.utils.errors import DataError

COUNTS = {"train": 12, "val": 6, "test": 8}


def arrays(colour=False, classes=2):
    rng = np.random.default_rng(0)
    shape = (28, 28, 3) if colour else (28, 28)
    content = {}
    for split, count in COUNTS.items():
        content[f"{split}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % classes)[:, None]
    return content


def table(path, content, *overrides):
    np.savez(path, **content)
    return load_image_table(dataset(path, "dataset.batch_size=4", *overrides, name="medmnist"), progress=False)


def refused(path, content, *overrides):
    with pytest.raises(DataError) as error:
        table(path, content, *overrides)
    return str(error.value)


@pytest.mark.parametrize("colour", [False, True])
def test_splits_and_pixels(tmp_path, colour):
    content = arrays(colour)
    images = table(tmp_path / "set.npz", content, "dataset.classes=[malignant,benign]")
    assert images.classes == ["malignant", "benign"]
    assert images.frame["split"].value_counts().to_dict() == COUNTS
    assert len(images.frame) == sum(COUNTS.values())
    for row in images.frame.to_dict("records"):
        array, _, index = row["path"].partition("#")
        assert array == f"{row['split']}_images.npy"
        assert row["class"] == ["malignant", "benign"][int(index) % 2]
        expected = content[f"{row['split']}_images"][int(index)]
        assert np.array_equal(np.asarray(decode_image(images.root, row["path"], grey=not colour)), expected)


def test_classes_are_the_numbers(tmp_path):
    images = table(tmp_path / "set.npz", arrays(classes=3))
    assert images.classes == ["0", "1", "2"]
    assert images.frame["class"].value_counts().to_dict() == {"0": 9, "1": 9, "2": 8}


def test_compressed(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", **arrays())
    config = dataset(tmp_path / "set.npz", "dataset.batch_size=4", name="medmnist")
    assert len(load_image_table(config, progress=False).frame) == 26


def test_copies_within_a_part_are_noted(tmp_path):
    content = arrays()
    content["train_images"][2] = content["train_images"][0]
    (note,) = [note for note in table(tmp_path / "set.npz", content).notes if "in one split" in note]
    assert re.findall(r"\d+", note) == ["1", "0"]


@pytest.mark.parametrize("name", ["val_images", "test_labels"])
def test_missing_array(tmp_path, name):
    content = arrays()
    del content[name]
    message = refused(tmp_path / "set.npz", content)
    assert f"{name}.npy: there is no such array; arrays there: " in message
    assert "train_images.npy" in message


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["train_labels", "train_images"])
def test_pickled_objects(tmp_path, name):
    content = arrays()
    content[name] = np.array([Payload(tmp_path / "made")] * COUNTS["train"], dtype=object)
    assert f"{name}.npy: cannot be read as an array" in refused(tmp_path / "set.npz", content)
    assert not (tmp_path / "made").exists()


def test_several_labels_an_image(tmp_path):
    content = arrays()
    content["train_labels"] = np.zeros((COUNTS["train"], 14), dtype=np.uint8)
    message = refused(tmp_path / "set.npz", content)
    assert "train_labels has shape (12, 14); expected one whole number an image" in message


def test_labels_of_other_images(tmp_path):
    content = arrays()
    content["val_labels"] = content["val_labels"][:-1]
    assert "val_images holds 6 images, val_labels 5 labels" in refused(tmp_path / "set.npz", content)


def test_labels_that_are_no_whole_numbers(tmp_path):
    content = arrays()
    content["test_labels"] = content["test_labels"] / 2
    assert "test_labels has shape (8, 1); expected one whole number" in refused(tmp_path / "set.npz", content)


def test_more_labels_than_classes(tmp_path):
    message = refused(tmp_path / "set.npz", arrays(classes=3), "dataset.classes=[malignant,benign]")
    assert "has labels up to 2, but 2 classes are named" in message


@pytest.mark.parametrize("overrides", [[], ["dataset.classes=[malignant,benign]"]])
def test_negative_label(tmp_path, overrides):
    """It must not be taken for the last class, as a negative index would be."""
    content = {name: values.astype(np.int64) if "labels" in name else values for name, values in arrays().items()}
    content["train_labels"][0] = -1
    assert "labels" in refused(tmp_path / "set.npz", content, *overrides)


def test_labels_with_a_gap(tmp_path):
    """Labels 0 and 2 without names are still told apart, or refused in words."""
    content = {name: values * 2 if "labels" in name else values for name, values in arrays().items()}
    assert "has the labels 0, 2" in refused(tmp_path / "set.npz", content)


@pytest.mark.parametrize("shape", [(0, 28, 28), (12, 0, 28), (0, 28, 28, 3)])
def test_no_images(tmp_path, shape):
    content = {**arrays(), "train_images": np.zeros(shape, np.uint8), "train_labels": np.zeros((shape[0], 1), np.uint8)}
    assert f"train_images has shape {shape} and holds no image" in refused(tmp_path / "set.npz", content)


def test_one_class(tmp_path):
    content = arrays()
    for split in COUNTS:
        content[f"{split}_labels"][:] = 0
    assert "set.npz: only one class, 0; a classifier needs two or more" in refused(tmp_path / "set.npz", content)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 28, 28), }",  # more than the file holds
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904, 28), }",
        b"{'descr': '|u1', 'fortran_order': False, 'shape': (-12, 28, 28), }",
        b"{'descr': '|O', 'fortran_order': False, 'shape': (12, 28, 28), }",
        b"{'descr': [('a', '|u1')] * 10**9, 'fortran_order': False, 'shape': (12, 28, 28), }",
        b"(" * 3000,
    ],
)
def test_headers_that_lie(tmp_path, header):
    path = tmp_path / "train_images.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + bytes(12 * 784))
    with pytest.raises(DataError, match=r"train_images\.npy: cannot be read as an array; it is damaged"):
        load_array(path)


def test_an_archive_named_npy_and_a_pipe_are_no_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    os.mkfifo(tmp_path / "b.npy")
    for name, problem in (("a", "cannot be read as an array"), ("b", "a named pipe, not a file")):
        with pytest.raises(DataError, match=problem):
            load_array(tmp_path / f"{name}.npy")


@pytest.mark.parametrize("labels", [np.zeros((), np.uint8), np.zeros((12, 0), np.uint8), np.array(["0"] * 12)])
def test_labels_that_are_none(tmp_path, labels):
    assert "expected one whole number an image" in refused(tmp_path / "set.npz", {**arrays(), "train_labels": labels})


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((12, 28, 28), dtype=np.float32),
        np.zeros((12, 28, 28, 4), dtype=np.uint8),
        np.zeros((12, 28), dtype=np.uint8),
        np.zeros((12, 28, 28, 28, 1), dtype=np.uint8),
    ],
)
def test_other_images(tmp_path, images):
    message = refused(tmp_path / "set.npz", {**arrays(), "train_images": images})
    assert f"train_images has shape {images.shape} and type {images.dtype}; expected uint8 images" in message


def test_damaged_file(tmp_path):
    np.savez(tmp_path / "set.npz", **arrays())
    (tmp_path / "set.npz").write_bytes((tmp_path / "set.npz").read_bytes()[:-300])
    with pytest.raises(DataError, match="damaged"):
        load_image_table(dataset(tmp_path / "set.npz", name="medmnist"), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["set.npz"]
