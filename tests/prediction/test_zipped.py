"""Images in an archive are read within limits, whatever the archive says of them."""

import tracemalloc
import zlib
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from medclf.data.pixels import UnreadableImageError
from medclf.errors import DataError
from medclf.prediction.zipped import Zipped


def zipped(path, *members):
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def with_directory_field(path, offset, value):
    """Change four bytes of what the directory says of the first member."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02") + offset
    content[entry : entry + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)


def test_no_more_is_unfolded_than_the_directory_says(tmp_path):
    path = zipped(tmp_path / "x.zip", ("lie.png", bytes(60 * 2**20)))
    with_directory_field(path, 24, 1000)
    with_directory_field(path, 16, zlib.crc32(bytes(1000)))
    images = Zipped.open(path)
    tracemalloc.start()
    assert images.content(0, 2**28) == bytes(1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


def test_the_packed_size_in_the_directory_hides_no_bomb(tmp_path):
    path = zipped(tmp_path / "x.zip", ("bomb.png", bytes(20 * 2**20)))
    with_directory_field(path, 20, 2**31)
    with pytest.raises(UnreadableImageError, match="a bomb"):
        Zipped.open(path).content(0, 2**28)


def test_many_small_bombs_and_two_images_of_one_name_are_refused(tmp_path):
    many = zipped(tmp_path / "many.zip", *((f"{at}.png", bytes(2**20)) for at in range(80)))
    with pytest.raises(DataError, match="times its size, over 200, and may be a zip bomb"):
        Zipped.open(many)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped(tmp_path / "twice.zip", ("a.png", b"1"), ("a.png", b"2"))
    with pytest.raises(DataError, match=r"several members are named a\.png"):
        Zipped.open(twice)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.zip", *((f"{at}.png", b"") for at in range(5)))
    monkeypatch.setenv("MEDCLF_MAX_ARCHIVE_MEMBERS", "4")
    with pytest.raises(DataError, match="has 5 members, over 4"):
        Zipped.open(path)
