"""A named pipe, a device or a socket is never waited for, in a folder or as an input."""

import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medclf.data.image_io import decode_image
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.data.sources.folders import image_paths
from medclf.data.sources.medmnist import load_array
from medclf.inference.inputs import find_inputs
from medclf.utils.errors import ConfigError, DataError
from medclf.utils.regular_files import NotRegularFileError, open_regular

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have other special files")


@pytest.fixture
def special(tmp_path, monkeypatch):
    """A folder with an image, a pipe, a link to a device and a socket, all named as images."""
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    folder = Path("images")
    folder.mkdir()
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / "image.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("images/socket.png")
        yield folder


def test_an_array_file_that_is_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "train_images.npy")
    with pytest.raises(DataError, match="a named pipe, not a file"):
        load_array(tmp_path / "train_images.npy")


KINDS = {"pipe.png": "a named pipe", "zero.png": "a device", "socket.png": "a socket"}


@pytest.mark.parametrize("name", KINDS)
def test_special_files_are_not_opened(special, name):
    with pytest.raises(UnreadableImageError, match=f"{KINDS[name]}, not a file"):
        decode_image(special, name, grey=True)
    with pytest.raises(ConfigError, match=f"input=images/{name}: {KINDS[name]}, not a file; name an image file"):
        find_inputs(f"images/{name}")


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(special, monkeypatch):
    regular = (special / "image.png").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: regular)
    with pytest.raises(NotRegularFileError, match="a named pipe, not a file"):
        open_regular(special / "pipe.png")


def test_special_files_in_a_folder_are_skipped_and_counted(special):
    (special / "notes.txt").touch()
    skipped = {}
    assert [str(path) for path in image_paths(special, skipped)] == ["image.png"]
    assert skipped == {**{kind: [name] for name, kind in KINDS.items()}, ".txt": ["notes.txt"]}
    for typed in ("images", "images/*", "imag*"):
        images = find_inputs(typed)
        assert [Path(path).name for path in images.paths] == ["image.png"]
        assert {Path(path).name: kind for path, kind in images.skipped.items()} == KINDS
