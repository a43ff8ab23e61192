"""Prepared images are exported below one folder, and never among the images of the dataset."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.images import dataset

from medclf.config.command_schemas import PrepareConfig
from medclf.data.image_table import ImageTable
from medclf.data.preparation import export
from medclf.data.quick_checks import validate_export_folder
from medclf.utils.errors import ConfigError


def test_labels_and_names_never_lead_out_of_the_folder(tmp_path, caplog):
    caplog.set_level("INFO")
    labels = ["../../../outside", "/outside", "a/b", "a_b", "plain label"]
    paths = [f"{at}.png" for at in range(4)] + ["x#../../outside.npy#0"]
    rows = {"path": paths, "class": labels, "group": paths, "split": "train"}
    folder = tmp_path / "a" / "b" / "c" / "export"
    export(ImageTable(pd.DataFrame(rows), labels, []), torch.zeros(5, 1, 32, 32, dtype=torch.uint8), folder)
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    below = "a/b/c/export/train"
    assert written == [
        f"{below}/_._.._.._outside/0.png", f"{below}/_outside/1.png", f"{below}/a_b/2.png", f"{below}/a_b_2/3.png",
        f"{below}/plain label/outside.npy_0.png",
    ]  # fmt: skip
    assert not Path("/outside").exists()
    assert "Class ../../../outside is exported to folders named _._.._.._outside" in caplog.text


@pytest.mark.parametrize("inside", ["set", "set/new", "link/new", "images/../set/new"])
def test_an_export_among_the_images_is_refused(tmp_path, inside):
    (tmp_path / "set").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "set")
    images = dataset(tmp_path / "set")
    validate_export_folder(PrepareConfig(dataset=images, download=False, export=str(tmp_path / "settled")))
    with pytest.raises(ConfigError, match=r"lies in dataset\.root=.*; name a folder elsewhere: export=FOLDER"):
        validate_export_folder(PrepareConfig(dataset=images, download=False, export=str(tmp_path / inside)))


def test_an_export_where_an_archive_is_extracted_is_refused(tmp_path):
    (tmp_path / "set.zip").touch()
    config = PrepareConfig(dataset=dataset(tmp_path / "set.zip"), download=False, export=str(tmp_path / "set" / "new"))
    with pytest.raises(ConfigError, match=r"lies in dataset\.root="):
        validate_export_folder(config)
