"""Images in an archive are read within limits, whatever the archive says of them."""

import os
import tracemalloc
import zlib
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import pytest

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.inference.inputs import ZipImages
from medclf.utils.errors import DataError


def zipped(path, *members, compression=ZIP_DEFLATED):
    with ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def with_directory_field(path, offset, value):
    """Change four bytes of what the directory says of the first member."""
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02") + offset
    content[entry : entry + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)


METHODS = pytest.mark.parametrize("compression", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])


@METHODS
def test_no_more_is_expanded_than_the_directory_says(tmp_path, compression):
    beginning = bytes(128) + b"DICM" + bytes(868)
    path = zipped(tmp_path / "x.zip", ("lie", beginning + bytes(60 * 2**20)), compression=compression)
    with_directory_field(path, 24, 1000)
    with_directory_field(path, 16, zlib.crc32(beginning))
    tracemalloc.stop()  # what another test may have left on
    tracemalloc.start()
    images = ZipImages.open(path)  # which looks into a file without an ending
    assert images.content(0, 2**28) == beginning
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6


@METHODS
def test_images_are_read_as_they_were_packed(tmp_path, compression):
    content = [b"", b"x", os.urandom(3 * 2**20 + 7), bytes(2**20)]
    members = [(f"{at}.png", data) for at, data in enumerate(content)]
    images = ZipImages.open(zipped(tmp_path / "x.zip", *members, compression=compression))
    assert [images.content(row, 2**28) for row in range(4)] == content


@METHODS
def test_damage_is_noticed(tmp_path, compression):
    path = zipped(tmp_path / "x.zip", ("a.png", os.urandom(5000)), compression=compression)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableImageError, match="is damaged in the archive"):
        ZipImages.open(path).content(0, 2**28)


def test_the_packed_size_in_the_directory_hides_no_bomb(tmp_path):
    path = zipped(tmp_path / "x.zip", ("bomb.png", bytes(20 * 2**20)))
    with_directory_field(path, 20, 2**31)
    with pytest.raises(UnreadableImageError, match="a bomb"):
        ZipImages.open(path).content(0, 2**28)


def test_many_small_bombs_and_two_images_of_one_name_are_refused(tmp_path):
    many = zipped(tmp_path / "many.zip", *((f"{at}.png", bytes(2**20)) for at in range(80)))
    with pytest.raises(DataError, match="times its size, over 200, and may be a zip bomb"):
        ZipImages.open(many)
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped(tmp_path / "twice.zip", ("a.png", b"1"), ("a.png", b"2"))
    with pytest.raises(DataError, match=r"several members are named a\.png"):
        ZipImages.open(twice)


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    path = zipped(tmp_path / "x.zip", *((f"{at}.png", b"") for at in range(5)))
    monkeypatch.setenv("MEDCLF_MAX_ARCHIVE_MEMBERS", "4")
    with pytest.raises(DataError, match="has 5 members, over 4"):
        ZipImages.open(path)
