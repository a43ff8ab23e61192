"""What a file claims bounds neither memory nor time: limits do, before anything is allocated."""

import io
import random
import struct
import threading
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from medclf.data import header_validation, image_io
from medclf.data.decoding_budget import MemoryBudget, decoding_memory, reserve_memory
from medclf.data.image_io import decode_image
from medclf.data.pixel_conversion import UnreadableImageError, to_eight_bits

GRADIENT = np.linspace(0, 255, 64, dtype=np.uint8)[None, :].repeat(64, 0)
SHORT, LONG = 3, 4


def encoded(kind, image=None, **options):
    stream = io.BytesIO()
    (image or Image.fromarray(GRADIENT)).save(stream, kind, **options)
    return stream.getvalue()


def reason_of(tmp_path, content, **options):
    with pytest.raises(UnreadableImageError) as error:
        decode_image(tmp_path, "x", grey=True, content=content, **options)
    return str(error.value)


def tiff(*entries, size=4000):
    """A TIFF file with entries (tag, type, count, value) and zeros to ``size`` bytes."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (b"II*\0" + struct.pack("<I", 8) + directory + bytes(4)).ljust(size, b"\0")


BASE = [(256, LONG, 1, 64), (257, LONG, 1, 64), (258, SHORT, 1, 8), (259, SHORT, 1, 1), (262, SHORT, 1, 1)]


@pytest.mark.parametrize(
    "values",
    [
        GRADIENT.astype(np.uint16) * 257,
        -GRADIENT.astype(np.int16) * 9 + 5,
        (GRADIENT.astype(">u2") + 7),
        GRADIENT.astype(np.int32) * 99999,
        np.sin(GRADIENT.astype(np.float32)),
        np.full((3, 5), 12, np.uint16),
        np.random.default_rng(0).integers(0, 4096, (1100, 1000, 3)).astype(np.int16),
    ],
    ids=lambda values: f"{values.dtype} {values.shape}",
)
def test_blocks_give_the_same_bits_as_the_whole_image_in_float64(values):
    floats = values.astype(np.float64)
    low, high = floats.min(), floats.max()
    expected = np.rint((floats - low) * (255 / max(high - low, 1e-300) if high > low else 0)).astype(np.uint8)
    assert np.array_equal(to_eight_bits(values), expected)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_scaling_to_eight_bits_needs_little_memory_besides_its_result(kind):
    values = np.zeros((4000, 4000), kind)
    values[0, 0] = 1
    tracemalloc.start()
    to_eight_bits(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.size + 40e6


def test_large_images_share_a_budget(monkeypatch):
    """Four threads, a budget for two images: never more than two at once."""
    budget, lock, at_once, most = MemoryBudget(200), threading.Lock(), 0, 0

    def work():
        nonlocal at_once, most
        with decoding_memory():
            reserve_memory(budget, 100)
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.02)
            with lock:
                at_once -= 1

    run_threads(work, 4)
    assert most == 2


def test_an_image_above_the_whole_budget_is_decoded_alone():
    budget, done = MemoryBudget(100), []

    def work():
        with decoding_memory():
            reserve_memory(budget, 1000)
            reserve_memory(budget, 1000)  # a second form of the same image does not wait for itself
            done.append(len(done))

    run_threads(work, 3)
    assert done == [0, 1, 2]


def test_decoding_reserves_memory_until_the_image_is_used(tmp_path, monkeypatch):
    budget = MemoryBudget(10**6)
    monkeypatch.setattr(image_io, "DECODING", budget)
    with decoding_memory():
        decode_image(tmp_path, "x", grey=True, content=encoded("PNG", Image.fromarray(GRADIENT.astype(np.uint16))))
        assert budget._used >= 3 * GRADIENT.size
    assert budget._used == 0


def run_threads(work, count):
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_a_webp_canvas_is_checked_before_the_decoder_allocates_it(tmp_path, monkeypatch):
    content = bytearray(encoded("WEBP", lossless=True))
    content[21:25] = struct.pack("<I", 16383 | 16383 << 14)
    monkeypatch.setattr(Image, "open", None)
    assert reason_of(tmp_path, bytes(content)).startswith("16384x16384 pixels")


def test_tags_that_share_their_bytes_are_refused(tmp_path):
    """Each tag would be a copy of the whole file: 300 kB become 7 GB."""
    many = [(1000 + at, 1, 3900, 8) for at in range(200)]
    assert reason_of(tmp_path, tiff(*BASE, *many)) == header_validation.TAGS_TOO_LARGE


def test_exif_tags_that_share_their_bytes_are_refused(tmp_path):
    exif = tiff((274, SHORT, 1, 1), *[(1000 + at, 1, 3900, 8) for at in range(200)])
    assert reason_of(tmp_path, encoded("PNG", exif=exif)) == header_validation.TAGS_TOO_LARGE


def test_strips_without_number_are_refused(tmp_path):
    count = header_validation.MAX_STRIPS + 1
    content = tiff(*BASE, (273, LONG, count, 200), size=4 * count + 1000)
    assert "strips or tiles, over" in reason_of(tmp_path, content)


def test_tiles_larger_than_the_limit_are_refused(tmp_path):
    content = tiff(*BASE, (322, LONG, 1, 65536), (323, LONG, 1, 65536), (324, LONG, 1, 200))
    assert reason_of(tmp_path, content).startswith("65536x65536 pixels")


def test_a_jpeg_of_many_scans_is_refused(tmp_path, monkeypatch):
    content = encoded("JPEG", progressive=True)
    assert decode_image(tmp_path, "x", grey=True, content=content).size == (64, 64)
    monkeypatch.setattr(header_validation, "MAX_SCANNED_PIXELS", 20 * 64 * 64)
    assert "scans of 64x64 pixels" in reason_of(tmp_path, content + b"\xff\xda" * 20)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "PDF"])
def test_other_formats_are_named_and_their_readers_never_called(tmp_path, monkeypatch, kind):
    """Pillow hands EPS to Ghostscript."""
    content = encoded(kind)
    monkeypatch.setattr("subprocess.Popen", None)
    assert reason_of(tmp_path, content) == f"{kind}, not an image of a known kind"


def test_a_damaged_image_is_named_by_its_format(tmp_path):
    assert reason_of(tmp_path, b"\x89PNG\r\n\x1a\n" + bytes(40)) == "a damaged PNG file"


def test_a_file_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(image_io, "MAX_FILE_BYTES", 100)
    with pytest.raises(UnreadableImageError, match=r"\d+ bytes, over 100: too large for one image"):
        decode_image(tmp_path, "x.png", grey=True)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x.npy#2", "x.npy has 2 images, counted from 0"),
        ("floats.npy#0", "expected uint8 images"),
        ("text.npy#0", "cannot be read as an array"),
        ("wide.npy#0", "3000x3 pixels"),
    ],
)
def test_an_array_that_holds_no_such_image(tmp_path, name, reason):
    np.save(tmp_path / "x.npy", np.stack([GRADIENT, GRADIENT]))
    np.save(tmp_path / "floats.npy", np.zeros((2, 8, 8)))
    np.save(tmp_path / "wide.npy", np.zeros((1, 3, 3000), np.uint8))
    (tmp_path / "text.npy").write_text("none")
    with pytest.raises(UnreadableImageError, match=reason):
        decode_image(tmp_path, name, grey=True, max_megapixels=0.008)


def test_a_png_named_like_a_part_of_an_array_is_read_as_the_png_it_is(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((9, 64, 64), np.uint8))
    (tmp_path / "a.npy#7.png").write_bytes(encoded("PNG"))
    assert np.array_equal(np.asarray(decode_image(tmp_path, "a.npy#7.png", grey=True)), GRADIENT)


def mutated(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(len(content))
        change = rng.choice(("bit", "word", "cut"))
        if change == "bit":
            content[at] ^= 1 << rng.randrange(8)
        elif change == "word":
            content[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff"))
        else:
            del content[at : at + rng.choice((1, 4, len(content) // 2))]
        if not content:
            break
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_a_damaged_file_is_decoded_or_unreadable(tmp_path, kind):
    rng, content = random.Random(kind), encoded(kind)
    for _ in range(60):
        try:
            decode_image(tmp_path, "x", grey=True, content=mutated(content, rng), max_megapixels=4)
        except UnreadableImageError as error:
            assert str(error)
            assert "\n" not in str(error)
