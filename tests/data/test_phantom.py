"""Made from a seed, in the thyroid project's layout, and not to be told by brightness."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from medclf.config.schema import PhantomConfig
from medclf.data import phantom
from medclf.data.phantom import draw, ensure_phantom
from medclf.utils.errors import DataError

SMALL = PhantomConfig(train=8, validation=4, size=32, seed=0)


def files(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.png"))}


def test_layout(tmp_path):
    assert ensure_phantom(tmp_path / "phantom", SMALL)
    names = files(tmp_path / "phantom")
    folders = [name.rsplit("/", 1)[0] for name in names]
    assert {name: folders.count(name) for name in folders} == {
        "train/organ_absent": 4, "train/organ_present": 4, "validation/organ_absent": 2, "validation/organ_present": 2,
    }  # fmt: skip
    with Image.open(tmp_path / "phantom" / next(iter(names))) as image:
        assert (image.mode, image.size) == ("L", (32, 32))


def test_the_same_seed_makes_the_same_files(tmp_path):
    for name, config in (("a", SMALL), ("b", SMALL), ("c", SMALL.model_copy(update={"seed": 1}))):
        ensure_phantom(tmp_path / name, config)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert files(tmp_path / "a") != files(tmp_path / "c")
    assert len(set(files(tmp_path / "a").values())) == 12, "two images are the same"


def test_it_is_made_once(tmp_path):
    assert ensure_phantom(tmp_path / "phantom", SMALL)
    assert not ensure_phantom(tmp_path / "phantom", SMALL)


def test_other_settings_are_refused(tmp_path):
    ensure_phantom(tmp_path / "phantom", SMALL)
    with pytest.raises(DataError, match="made with"):
        ensure_phantom(tmp_path / "phantom", SMALL.model_copy(update={"train": 10}))


@pytest.mark.parametrize("damage", ["settings", "images"])
def test_a_damaged_phantom_is_named_with_the_folder_to_remove(tmp_path, damage):
    root = tmp_path / "my phantom"
    ensure_phantom(root, SMALL)
    if damage == "settings":
        (root / "phantom.json").write_text("{", encoding="utf-8")
    else:
        next(root.rglob("*.png")).unlink()
    with pytest.raises(DataError, match=r"damaged phantom|1 images of the phantom are missing") as caught:
        ensure_phantom(root, SMALL)
    assert str(caught.value).endswith(f"remove it: rm -r '{root}'")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(phantom.Image.Image, "save", full)
    with pytest.raises(DataError, match=r"dataset\.root=.*phantom: cannot be written: no space left"):
        ensure_phantom(tmp_path / "phantom", SMALL)
    assert not any(tmp_path.iterdir())


def test_a_folder_of_the_user_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="no phantom"):
        ensure_phantom(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_several_at_once(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: ensure_phantom(tmp_path / "phantom", SMALL), range(4)))
    assert sum(made) >= 1
    assert len(files(tmp_path / "phantom")) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["phantom"]


def test_interrupted_making_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "draw", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ensure_phantom(tmp_path / "phantom", SMALL)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "feature",
    [np.mean, np.median, np.std, np.max, lambda image: np.percentile(image, 90), lambda image: (image > 200).mean()],
    ids=["mean", "median", "sd", "max", "p90", "bright"],
)
def test_brightness_does_not_tell(feature):
    images = [draw(index % 2 == 1, 96, np.random.default_rng((5, index))) for index in range(300)]
    assert 0.3 < roc_auc_score([index % 2 for index in range(300)], [feature(image) for image in images]) < 0.7
