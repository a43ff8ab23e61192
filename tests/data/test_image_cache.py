"""One file of preprocessed images, whole or not there, built once for all runs."""

import errno
import hashlib
import io
import logging
import os
import pickle
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers.images import dataset, write_classes, write_image
from helpers.unfinished_files import leave_unfinished
from PIL import Image

from medclf.data import image_cache as module
from medclf.data.build_image_table import load_image_table
from medclf.data.image_cache import open_image_cache
from medclf.data.image_io import decode_image, read_bytes
from medclf.data.preprocessing import preprocess, read_preprocessed
from medclf.utils.errors import DataError


def prepared(root, *overrides):
    grey = [] if any("channels" in word for word in overrides) else ["dataset.channels=1"]
    config = dataset(root, "dataset.image_size=16", "dataset.batch_size=8", *grey, *overrides)
    return load_image_table(config, progress=False), config


def opened(root, *overrides):
    return open_image_cache(*prepared(root, *overrides), progress=False)


def pixels(store):
    """All images, read by NumPy alone."""
    return np.load(store.path, allow_pickle=False)


def arrays_and_remains(root):
    """All in the store's folder but what is known of the files."""
    store = root.parent / "store"
    return sorted(path.name for path in store.iterdir() if not path.name.startswith("fingerprints."))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [[], ["dataset.resize=letterbox", "dataset.clahe={clip_limit: 2.0, tiles: 4}"]])
def test_content(tmp_path, channels, options):
    root = tmp_path / "images"
    for index in range(70):
        write_image(root / "ab"[index % 2] / f"{index}.png", 100, "RGB", (30 + index, 40))
    table, config = prepared(root, f"dataset.channels={channels}", *options)
    store = open_image_cache(table, config, progress=False)
    assert len(store) == 70
    assert pixels(store).shape == (70, channels, 16, 16)
    for row, path in enumerate(table.frame["path"]):
        expected = preprocess(decode_image(root, path, grey=channels == 1), config)
        assert np.array_equal(store[row].numpy(), expected)
        assert np.array_equal(pixels(store)[row], expected)


def test_large_jpeg_is_nearly_the_same(tmp_path):
    """It is decoded smaller than it is, but not below twice the square."""
    root = tmp_path / "images"
    write_classes(root, {"a": 10, "b": 10})
    smooth = np.add.outer(np.linspace(0, 120, 700), np.linspace(0, 120, 900)).astype(np.uint8)
    Image.fromarray(smooth).save(root / "a" / "0.jpg")
    table, config = prepared(root)
    row = table.frame["path"].tolist().index("a/0.jpg")
    expected = preprocess(decode_image(root, "a/0.jpg", grey=True), config)
    assert np.abs(open_image_cache(table, config, progress=False)[row].numpy().astype(int) - expected).max() <= 2


def test_plain_file(two_classes):
    store = opened(two_classes)
    assert store.path.parent == two_classes.parent / "store"
    mapped = np.load(store.path, mmap_mode="r", allow_pickle=False)
    assert isinstance(mapped, np.memmap)
    assert (mapped.shape, mapped.dtype) == ((50, 1, 16, 16), np.uint8)
    assert arrays_and_remains(two_classes) == [store.path.name]


def test_an_item_is_a_copy(two_classes):
    store = opened(two_classes)
    before = pixels(store)[0]
    store[0].add_(1)
    assert np.array_equal(store[0].numpy(), before)
    assert np.array_equal(pixels(store)[0], before)


def test_row_that_there_is_not(two_classes):
    """So that a loop over a store ends."""
    with pytest.raises(IndexError):
        opened(two_classes)[50]


def test_built_once(two_classes, monkeypatch):
    first = opened(two_classes)

    def build(*arguments):
        raise AssertionError("built again")

    monkeypatch.setattr(module, "_build", build)
    assert opened(two_classes).path == first.path
    for other in ("dataset.splits.seed=7", "dataset.splits.val=0.3", "dataset.batch_size=4", "dataset.num_workers=1"):
        assert opened(two_classes, other).path == first.path


@pytest.mark.parametrize(
    "option",
    [
        "dataset.image_size=20",
        "dataset.resize=crop",
        "dataset.resize=letterbox",
        "dataset.clahe={clip_limit: 2.0, tiles: 8}",
        "dataset.channels=3",
    ],
)
def test_another_option_is_another_file(two_classes, option):
    assert opened(two_classes).path != opened(two_classes, option).path
    assert len(arrays_and_remains(two_classes)) == 2


def test_every_detail_of_clahe_counts(two_classes):
    options = ["{clip_limit: 2.0, tiles: 8}", "{clip_limit: 3.0, tiles: 8}", "{clip_limit: 2.0, tiles: 4}"]
    assert len({opened(two_classes, f"dataset.clahe={option}").path for option in options}) == 3


def test_changed_image_is_another_file(two_classes):
    first = opened(two_classes)
    write_image(two_classes / "cat" / "image (3).png", 200)
    second = opened(two_classes)
    assert second.path != first.path
    row = prepared(two_classes)[0].frame["path"].tolist().index("cat/image (3).png")
    assert pixels(second)[row].mean() > pixels(first)[row].mean() + 50


def test_images_in_another_order_are_another_file(two_classes):
    """Names exchanged, so that the rows are."""
    first = opened(two_classes)
    one, other = (two_classes / "cat" / f"image ({index}).png" for index in (1, 2))
    one.rename(two_classes / "aside")
    other.rename(one)
    (two_classes / "aside").rename(other)
    assert opened(two_classes).path != first.path


def test_interrupted(two_classes, monkeypatch):
    table, config = prepared(two_classes)
    calls = []

    def interrupted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read_preprocessed(*arguments, **options)

    monkeypatch.setattr(module, "read_preprocessed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(table, config, progress=False)
    assert arrays_and_remains(two_classes) == []
    monkeypatch.undo()
    assert len(open_image_cache(table, config, progress=False)) == 50


def test_two_at_once(two_classes, monkeypatch):
    table, config = prepared(two_classes)
    barrier, build = threading.Barrier(2, timeout=120), module._build

    def together(*arguments):
        barrier.wait()
        build(*arguments)

    monkeypatch.setattr(module, "_build", together)
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(open_image_cache, table, config, False) for _ in range(2)]
        one, other = (job.result(timeout=200) for job in jobs)
    assert one.path == other.path
    assert arrays_and_remains(two_classes) == [one.path.name]
    for row, path in enumerate(table.frame["path"]):
        assert np.array_equal(pixels(one)[row], preprocess(decode_image(two_classes, path, grey=True), config))


def test_full_disk_is_known_before(two_classes, monkeypatch):
    table, config = prepared(two_classes)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(1, 1, 0))
    with pytest.raises(DataError, match=r"dataset\.store=.* are free"):
        open_image_cache(table, config, progress=False)
    assert arrays_and_remains(two_classes) == []


class FullDisk(io.FileIO):
    """A file on a disk with room for 2,000 bytes."""

    def write(self, content):
        if self.tell() + len(content) > 2000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content)


def test_disk_that_fills_up(two_classes, monkeypatch):
    table, config = prepared(two_classes)
    monkeypatch.setattr(module.os, "fdopen", FullDisk)
    with pytest.raises(DataError, match=r"dataset\.store=.*no space left; name another: dataset\.store=FOLDER"):
        open_image_cache(table, config, progress=False)
    assert arrays_and_remains(two_classes) == []


def test_store_that_is_a_file(two_classes):
    table, config = prepared(two_classes)
    (two_classes.parent / "file").touch()
    config = config.model_copy(update={"store": str(two_classes.parent / "file")})
    with pytest.raises(DataError, match=r"file: cannot be written"):
        open_image_cache(table, config, progress=False)


def test_image_that_became_unreadable(two_classes):
    table, config = prepared(two_classes)
    (two_classes / "dog" / "image (2).png").write_bytes(b"no image")
    table = replace(
        table, content=[hashlib.sha256(read_bytes(table.root, path)).hexdigest() for path in table.frame["path"]]
    )
    with pytest.raises(DataError, match=r"cannot be read: dog/image \(2\)\.png: not an image of a known kind"):
        open_image_cache(table, config, progress=False)
    assert arrays_and_remains(two_classes) == []


def test_no_image_is_pickled(two_classes):
    store = opened(two_classes)
    before = store[7]
    sent = pickle.dumps(store)
    assert len(sent) < pixels(store).nbytes
    received = pickle.loads(sent)
    assert received.path == store.path
    assert len(received) == 50
    assert np.array_equal(received[7], before)


@pytest.mark.parametrize("channels", [1, 3])
def test_statistics(two_classes, channels):
    store = opened(two_classes, f"dataset.channels={channels}")
    for rows in ([4], [3, 1, 7], [*range(50), *range(30)]):
        mean, deviation = store.statistics(rows)
        shares = pixels(store)[rows] / 255
        assert mean == pytest.approx(shares.mean((0, 2, 3)).tolist(), rel=1e-9)
        assert deviation == pytest.approx(shares.std((0, 2, 3)).tolist(), rel=1e-6)


def test_statistics_of_a_blank_picture(tmp_path):
    """Its deviation may be divided by."""
    root = tmp_path / "images"
    write_classes(root, {"a": 10, "b": 10})
    Image.new("L", (30, 30), 51).save(root / "a" / "0.png")
    table, config = prepared(root)
    row = table.frame["path"].tolist().index("a/0.png")
    mean, deviation = open_image_cache(table, config, progress=False).statistics([row])
    assert mean == pytest.approx([0.2])
    assert deviation == pytest.approx([1e-6])


def test_others_may_read_the_file(two_classes):
    assert opened(two_classes).path.stat().st_mode & 0o777 == 0o644


def damage(path, kind):
    content = bytearray(path.read_bytes())
    if kind == "cut":
        content = content[:1000]
    elif kind == "zeroed":
        content = bytearray(len(content))
    elif kind == "header":
        content[content.index(b"u1")] = ord("i")
    elif kind == "checksums":
        content[-30] ^= 1
    elif kind == "without checksums":  # as earlier versions wrote it
        images = np.load(path, allow_pickle=False)
        np.save(path, images)
        return
    elif kind == "empty":
        content = bytearray()
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["cut", "zeroed", "header", "checksums", "without checksums", "empty"])
def test_a_damaged_file_is_built_again_with_a_line_in_the_log(two_classes, caplog, kind):
    table, config = prepared(two_classes)
    store = open_image_cache(table, config, progress=False)
    whole = store.path.read_bytes()
    damage(store.path, kind)
    open_image_cache(table, config, progress=False)
    assert store.path.read_bytes() == whole
    assert "It is built again" in caplog.text
    caplog.clear()
    open_image_cache(table, config, progress=False)
    assert not caplog.text


def test_a_damaged_image_is_decoded_again_and_the_file_repaired(two_classes, caplog):
    store = opened(two_classes)
    whole, before = store.path.read_bytes(), store[7]
    place = whole.index(before.numpy().tobytes())
    with store.path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(100))
    assert np.array_equal(store[7].numpy(), before.numpy())
    assert "is damaged in row 7" in caplog.text
    assert store.path.read_bytes() == whole


def test_a_damaged_image_without_its_source_is_an_error_with_its_remedy(two_classes):
    store = module.ImageCache(opened(two_classes).path)
    os.truncate(store.path, 5000)
    with pytest.raises(DataError, match=r"is damaged in row 30; it is safe to delete and will be built again: rm "):
        store[30]


def test_an_image_that_is_replaced_before_it_is_decoded_is_refused_and_looked_at_again(two_classes):
    """Size and time of the file tell nothing: only its content does."""
    path = two_classes / "cat" / "image (3).bmp"
    (two_classes / "cat" / "image (3).png").unlink()
    write_image(path, 60)
    table, config = prepared(two_classes)
    before = path.stat()
    write_image(path, 200)
    os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    with pytest.raises(DataError, match=r"cat/image \(3\)\.bmp changed while it was being read; start again"):
        open_image_cache(table, config, progress=False)
    assert arrays_and_remains(two_classes) == []
    row = table.frame["path"].tolist().index("cat/image (3).bmp")
    assert opened(two_classes)[row].float().mean() > 150


def test_what_a_killed_process_left_is_removed_and_said(two_classes, caplog):
    caplog.set_level(logging.INFO)
    store = two_classes.parent / "store"
    store.mkdir()
    left = leave_unfinished(store / "folder_0123456789abcdef.npy")
    opened(two_classes)
    assert not left.exists()
    assert f"Removed {left}" in caplog.text
