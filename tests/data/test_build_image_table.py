"""From the config to the image table: copies, contradictions and broken files."""

import hashlib
import re
import shutil

import pytest
from helpers.images import dataset, write_classes, write_image
from PIL import Image

from medclf.data.build_image_table import load_image_table
from medclf.utils.errors import DataError


def table(root, *overrides, name="folder"):
    config = dataset(root, "dataset.batch_size=8", *overrides, name=name)
    return load_image_table(config, progress=False)


def split_of(images):
    return dict(zip(images.frame["path"], images.frame["split"], strict=True))


def test_plain_set(two_classes):
    images = table(two_classes)
    assert images.root == two_classes
    assert images.frame["class"].value_counts().to_dict() == {"cat": 30, "dog": 20}
    assert len(images.content) == len(set(images.content)) == 50
    assert len(images.notes) == 2, "nothing but the two shares that are cut"


def test_copies_are_in_one_split(two_classes):
    """Equal files, and the same pixels in other files."""
    for index in range(1, 9):
        original = two_classes / "cat" / f"image ({index}).png"
        shutil.copy(original, two_classes / "cat" / f"copy {index}.png")
        with Image.open(original) as image:
            image.save(two_classes / "cat" / f"again {index}.bmp")
    several = set()
    for seed in range(12):
        images = table(two_classes, f"dataset.splits.seed={seed}")
        split = split_of(images)
        for index in range(1, 9):
            names = [f"cat/image ({index}).png", f"cat/copy {index}.png", f"cat/again {index}.bmp"]
            assert len({split[name] for name in names}) == 1
            several.add(split[names[0]])
    assert several == {"train", "val", "test"}
    (note,) = [note for note in images.notes if "in one split" in note]
    assert re.findall(r"\d+", note) == ["8", "16"], "equal files, and pairs that look alike"


def test_likenesses_are_not_looked_for_where_near_is_null(two_classes):
    for index in range(1, 9):
        with Image.open(two_classes / "cat" / f"image ({index}).png") as image:
            image.save(two_classes / "cat" / f"again {index}.bmp")
    images = table(two_classes, "dataset.duplicates.near=null")
    assert not any("in one split" in note for note in images.notes)
    assert images.frame["group"].nunique() == 58


@pytest.fixture
def contradicted(two_classes):
    """A picture that is in both classes, in three files."""
    shutil.copy(two_classes / "cat" / "image (1).png", two_classes / "dog" / "x.png")
    with Image.open(two_classes / "cat" / "image (1).png") as image:
        image.save(two_classes / "cat" / "y.bmp")
    return two_classes


SAME = {"cat/image (1).png", "cat/y.bmp", "dog/x.png"}


def test_two_labels_drop(contradicted):
    images = table(contradicted)
    assert not SAME & set(images.frame["path"])
    assert len(images.frame) == len(images.content) == 49
    (note,) = [note for note in images.notes if "two labels" in note]
    assert "dropped with all their copies: cat/image (1).png = cat/y.bmp = dog/x.png." in note


def test_two_labels_error(contradicted):
    with pytest.raises(DataError, match="1 pictures stand under two labels") as error:
        table(contradicted, "dataset.duplicates.on_conflict=error")
    assert "cat/image (1).png = cat/y.bmp = dog/x.png" in str(error.value)


def test_two_labels_keep(contradicted):
    images = table(contradicted, "dataset.duplicates.on_conflict=keep")
    assert set(images.frame["path"]) >= SAME
    assert len({split_of(images)[path] for path in SAME}) == 1
    (note,) = [note for note in images.notes if "two labels" in note]
    assert "kept: cat/image (1).png = cat/y.bmp = dog/x.png." in note


def test_two_labels_of_equal_files_where_near_is_null(contradicted):
    images = table(contradicted, "dataset.duplicates.near=null")
    assert set(images.frame["path"]) & SAME == {"cat/y.bmp"}


def break_files(root, count, folder="cat"):
    for index in range(count):
        (root / folder / f"broken {index:02d}.png").write_bytes(b"no image")


def test_unreadable_error(two_classes):
    break_files(two_classes, 23)
    with pytest.raises(DataError) as error:
        table(two_classes)
    message = str(error.value)
    assert "23 of 73 images cannot be read" in message
    assert "dataset.on_unreadable=drop" in message
    lines = message.splitlines()[1:]
    reason = "not an image of a known kind"
    assert lines == [*(f"  cat/broken {index:02d}.png: {reason}" for index in range(20)), "  and 3 more"]


def test_twenty_unreadable_are_all_named(two_classes):
    break_files(two_classes, 20)
    with pytest.raises(DataError) as error:
        table(two_classes)
    assert "more" not in str(error.value)
    assert "broken 19.png" in str(error.value)


def test_unreadable_drop(two_classes):
    break_files(two_classes, 7)
    images = table(two_classes, "dataset.on_unreadable=drop")
    assert len(images.frame) == len(images.content) == 50
    assert not images.frame["path"].str.contains("broken").any()
    reasons = [f"  cat/broken {index:02d}.png: not an image of a known kind" for index in range(7)]
    assert "\n".join(["7 of 57 images cannot be read; they are dropped:", *reasons]) in images.notes


def test_broken_copies_are_no_copies(two_classes):
    """Two equal files that cannot be read, in two classes, are not a picture under two labels."""
    break_files(two_classes, 1)
    break_files(two_classes, 1, "dog")
    images = table(two_classes, "dataset.on_unreadable=drop")
    assert not any("two labels" in note for note in images.notes)


def test_class_of_which_all_is_unreadable(tmp_path):
    write_classes(tmp_path / "images", {"cat": 10, "dog": 10})
    (tmp_path / "images" / "bird").mkdir()
    break_files(tmp_path / "images", 4, "bird")
    with pytest.raises(DataError, match="no image is left of class bird"):
        table(tmp_path / "images", "dataset.on_unreadable=drop")


def test_class_of_which_all_is_contradicted(tmp_path):
    write_classes(tmp_path / "images", {"cat": 10, "dog": 10})
    shutil.copytree(tmp_path / "images" / "dog", tmp_path / "images" / "bird")
    with pytest.raises(DataError, match="no image is left of class bird, dog"):
        table(tmp_path / "images")


def test_patients_and_copies_are_one_group(tmp_path):
    """A picture of patient p03 is also one of p05: all images of both stay together."""
    root = tmp_path / "images"
    for patient in range(1, 21):
        label = "cat" if patient % 2 else "dog"
        for shot in (1, 2):
            write_image(root / label / f"p{patient:02d}_{shot}.png", 90)
    shutil.copy(root / "cat" / "p03_2.png", root / "cat" / "p05_3.png")
    for seed in range(8):
        images = table(root, r"dataset.group_pattern='^(p\d+)_'", f"dataset.splits.seed={seed}")
        group = dict(zip(images.frame["path"], images.frame["group"], strict=True))
        joined = [f"cat/p{name}.png" for name in ("03_1", "03_2", "05_1", "05_2", "05_3")]
        assert {group[path] for path in joined} == {"p03"}
        assert len(set(group.values())) == 19
        assert (images.frame.groupby("group")["split"].nunique() == 1).all()


def test_content_is_in_the_order_of_the_rows(two_classes):
    images = table(two_classes)
    for path, content in zip(images.frame["path"], images.content, strict=True):
        assert hashlib.sha256((images.root / path).read_bytes()).hexdigest() == content


def test_names_without_a_patient_are_counted(two_classes):
    notes = table(two_classes, r"dataset.group_pattern='^image \((1\d)\)'").notes
    assert "In 30 file names dataset.group_pattern finds no patient: each counts as one of its own." in notes
