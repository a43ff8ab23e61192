"""The facts of a file, against hashlib and imagehash; remembered until it changes."""

import hashlib
import multiprocessing
import os
import sqlite3
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing

import imagehash
import numpy as np
import pytest
from helpers.images import write_image
from PIL import Image

from medclf.data import image_fingerprints as module
from medclf.data.image_fingerprints import compute_fingerprints
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.utils.errors import DataError


def prints(root, paths, store):
    return compute_fingerprints(root, paths, store, progress=False)


def forbid_reading(monkeypatch):
    def read(root, path, *_):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(module, "compute_fingerprint", read)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", ["x.png", "x.bmp"])
def test_facts(tmp_path, mode, name):
    write_image(tmp_path / name, 100, mode, (90, 70))
    (found,) = prints(tmp_path, [name], tmp_path / "store")
    assert found.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert (found.width, found.height, found.mode, found.error) == (90, 70, mode, "")
    with Image.open(tmp_path / name) as image:
        assert found.perceptual == str(imagehash.phash(image.convert("L"), hash_size=16))
    assert len(found.perceptual) == 64


def test_size_and_mode_are_those_of_the_file(tmp_path):
    """Of a large JPEG that is decoded smaller, and of a 16-bit picture that is decoded to 8."""
    write_image(tmp_path / "large.jpg", 100, "RGB", (1200, 900))
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(tmp_path / "deep.png")
    large, deep = prints(tmp_path, ["large.jpg", "deep.png"], tmp_path / "store")
    assert (large.width, large.height, large.mode) == (1200, 900, "RGB")
    assert (deep.width, deep.height, deep.mode) == (40, 30, "I;16")


def test_facts_of_an_array(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    found = prints(tmp_path, ["a.npy#2", "a.npy#0"], tmp_path / "store")
    assert [value.sha256 for value in found] == [hashlib.sha256(values[i].tobytes()).hexdigest() for i in (2, 0)]
    assert (found[0].width, found[0].height, found[0].mode) == (24, 20, "array")


def test_in_the_order_of_the_paths(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 3)
    names = [f"{index}.png" for index in (5, 1, 4, 0, 3, 2, 6)]
    for name in names:
        write_image(tmp_path / name)
    expected = [hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in names]
    assert [value.sha256 for value in prints(tmp_path, names, tmp_path / "store")] == expected


def test_no_images(tmp_path):
    assert prints(tmp_path, [], tmp_path / "store") == []


def test_remembered(tmp_path, monkeypatch):
    names = [f"{index}.png" for index in range(5)]
    for name in names:
        write_image(tmp_path / "images" / name)
    first = prints(tmp_path / "images", names, tmp_path / "store")
    forbid_reading(monkeypatch)
    assert prints(tmp_path / "images", names, tmp_path / "store") == first
    assert prints(tmp_path / "images", names[3:4], tmp_path / "store") == first[3:4]
    # the same files, named from another folder
    assert prints(tmp_path, [f"images/{name}" for name in names], tmp_path / "store") == first


@pytest.mark.parametrize("later", [True, False])
def test_changed_file_is_read_again(tmp_path, later):
    """Told by its time where its size is the same, and by its size where its time is."""
    path = tmp_path / "a.bmp"
    write_image(path, 50)
    write_image(tmp_path / "b.bmp", 50)
    before = path.stat()
    old = prints(tmp_path, ["a.bmp", "b.bmp"], tmp_path / "store")
    write_image(path, 150, size=(40, 30) if later else (44, 30))
    time = before.st_mtime_ns + 1000 * later
    os.utime(path, ns=(time, time))
    assert (path.stat().st_size == before.st_size) == later
    new = prints(tmp_path, ["a.bmp", "b.bmp"], tmp_path / "store")
    assert new[0].sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != old[0].sha256
    assert new[1] == old[1]


def test_only_the_new_file_is_read(tmp_path, monkeypatch):
    names = ["a.png", "b.png", "c.png"]
    for name in names:
        write_image(tmp_path / name)
    prints(tmp_path, ["a.png", "c.png"], tmp_path / "store")
    read, taken = module.compute_fingerprint, []
    monkeypatch.setattr(
        module, "compute_fingerprint", lambda root, path, *more: taken.append(path) or read(root, path, *more)
    )
    prints(tmp_path, names, tmp_path / "store")
    assert taken == ["b.png"]


def test_unreadable_has_its_reason(tmp_path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_bytes(b"no image")
    empty, text, missing = prints(tmp_path, ["empty.png", "text.png", "missing.png"], tmp_path / "store")
    assert empty.error == "the file is empty"
    assert text.error == "not an image of a known kind"
    assert missing.error == "No such file or directory"
    assert text.sha256 == hashlib.sha256(b"no image").hexdigest()
    assert missing.sha256 == ""
    assert (text.width, text.height, text.mode, text.perceptual) == (0, 0, "", "")


def test_missing_file_is_not_remembered(tmp_path):
    assert prints(tmp_path, ["a.png"], tmp_path / "store")[0].error
    write_image(tmp_path / "a.png")
    assert not prints(tmp_path, ["a.png"], tmp_path / "store")[0].error


@pytest.mark.parametrize("name", ["it's.png", 'a "b".png', "Gefäß.png", "日本.png", "a;b--.png", "100%.png", "_.png"])
def test_names(tmp_path, monkeypatch, name):
    root = tmp_path / "Übung 'eins'"
    write_image(root / name)
    first = prints(root, [name], tmp_path / "store")
    assert first[0].sha256 == hashlib.sha256((root / name).read_bytes()).hexdigest()
    forbid_reading(monkeypatch)
    assert prints(root, [name], tmp_path / "store") == first


def test_name_that_is_not_unicode(tmp_path):
    """As old archives from Windows have them."""
    name = os.fsdecode(b"Gef\xe4\xdf.png")
    write_image(tmp_path / "x.png")
    (tmp_path / "x.png").rename(tmp_path / name)
    try:
        (found,) = prints(tmp_path, [name], tmp_path / "store")
    except DataError as error:
        assert "Gef" in str(error)
    else:
        assert found.width == 40


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_two_at_once(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(module, "CHUNK", 4)
    names = [f"{index:02d}.png" for index in range(40)]
    for name in names:
        write_image(tmp_path / "images" / name)
    spawn = multiprocessing.get_context("spawn")
    pool = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, mp_context=spawn)
    with pool:
        jobs = [
            pool.submit(compute_fingerprints, tmp_path / "images", paths, tmp_path / "store", False)
            for paths in (names, names[::-1])
        ]
        one, other = (job.result(timeout=120) for job in jobs)
    assert one == other[::-1]
    assert [value.sha256 for value in one] == [
        hashlib.sha256((tmp_path / "images" / name).read_bytes()).hexdigest() for name in names
    ]
    with sqlite3.connect(tmp_path / "store" / "fingerprints.sqlite") as database:
        assert database.execute("SELECT count(*), count(DISTINCT file) FROM fingerprint2").fetchone() == (40, 40)


def test_store_that_cannot_be_written(tmp_path):
    write_image(tmp_path / "a.png")
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(DataError, match=r"dataset\.store=.*store: cannot be written"):
        prints(tmp_path, ["a.png"], tmp_path / "store")


def no_database(path):
    path.write_bytes(b"no database" * 100)


def zeroed_page(path):
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)


def other_columns(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE fingerprint2 (file PRIMARY KEY, size)")


@pytest.mark.parametrize("damage", [no_database, zeroed_page, other_columns])
def test_a_damaged_database_is_built_again_with_a_line_in_the_log(tmp_path, monkeypatch, caplog, damage):
    write_image(tmp_path / "a.png")
    first = prints(tmp_path, ["a.png"], tmp_path / "store")
    damage(tmp_path / "store" / "fingerprints.sqlite")
    assert prints(tmp_path, ["a.png"], tmp_path / "store") == first
    assert "fingerprints.sqlite is damaged" in caplog.text
    forbid_reading(monkeypatch)
    assert prints(tmp_path, ["a.png"], tmp_path / "store") == first


def test_a_row_of_the_wrong_types_is_read_again(tmp_path):
    write_image(tmp_path / "a.png")
    first = prints(tmp_path, ["a.png"], tmp_path / "store")
    with closing(sqlite3.connect(tmp_path / "store" / "fingerprints.sqlite")) as database, database:
        database.execute("UPDATE fingerprint2 SET width = 'wide', sha256 = NULL")
    assert prints(tmp_path, ["a.png"], tmp_path / "store") == first


def test_a_database_in_use_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png")
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    (tmp_path / "store").mkdir()
    with closing(sqlite3.connect(tmp_path / "store" / "fingerprints.sqlite")) as database:
        database.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DataError, match="in use by another process"):
            prints(tmp_path, ["a.png"], tmp_path / "store")


def test_reason_is_not_remembered(tmp_path, monkeypatch):
    """Another permission, or an installed decoder, changes neither size nor time of a file."""
    write_image(tmp_path / "a.png")
    read_image = module.read_image

    def refuse(*_, **__):
        raise UnreadableImageError("Permission denied")

    monkeypatch.setattr(module, "read_image", refuse)
    assert prints(tmp_path, ["a.png"], tmp_path / "store")[0].error == "Permission denied"
    monkeypatch.setattr(module, "read_image", read_image)
    assert not prints(tmp_path, ["a.png"], tmp_path / "store")[0].error


def test_a_lower_limit_applies_to_images_that_are_remembered(tmp_path):
    write_image(tmp_path / "a.png")
    assert not prints(tmp_path, ["a.png"], tmp_path / "store")[0].error
    (again,) = compute_fingerprints(tmp_path, ["a.png"], tmp_path / "store", progress=False, max_megapixels=0.0001)
    assert "over max_megapixels=0.0001" in again.error
