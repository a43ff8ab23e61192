"""One test a kind of image; what cannot be read is refused before training, all offenders in one message."""

import io

import numpy as np
import pytest
import torch
from conftest import write_classes
from PIL import Image

from medclf.data.reading import UnreadableImageError, read_image
from medclf.data.store import load_images
from medclf.errors import DataError

GRADIENT = np.linspace(0, 255, 64, dtype=np.uint8)[None, :].repeat(64, 0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode(tmp_path, mode, channels):
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(GRADIENT).convert("RGB").convert(mode).save(path)
    pixels = read_image(path, 32, channels)
    assert pixels.shape == (channels, 32, 32)
    assert pixels.dtype == np.uint8
    assert pixels[:, :, -1].mean() - pixels[:, :, 0].mean() > 150
    if mode not in ("1", "P"):
        assert abs(int(pixels.mean()) - 127) <= 3


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "webp"])
def test_every_format(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(GRADIENT).save(path)
    reference = np.asarray(Image.fromarray(GRADIENT).resize((16, 16), Image.Resampling.BILINEAR)).astype(int)
    assert np.abs(read_image(path, 16, 1)[0] - reference).max() <= 6


def test_exif_orientation(tmp_path):
    image = Image.fromarray(GRADIENT)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "x.jpg", exif=exif)
    pixels = read_image(tmp_path / "x.jpg", 64, 1)[0]
    assert pixels[0].mean() < 20
    assert pixels[-1].mean() > 235


def test_sixteen_bits_are_refused_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(tmp_path / "x.png")
    with pytest.raises(UnreadableImageError, match="more than 8 bits"):
        read_image(tmp_path / "x.png", 8, 1)


def broken(kind: str) -> bytes:
    whole = io.BytesIO()
    Image.fromarray(GRADIENT).save(whole, "JPEG")
    return {"empty": b"", "text": b"no image", "truncated": whole.getvalue()[:300]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated"])
def test_broken_image(tmp_path, kind):
    (tmp_path / "x.jpg").write_bytes(broken(kind))
    with pytest.raises(UnreadableImageError):
        read_image(tmp_path / "x.jpg", 8, 1)


def test_store_holds_the_images_in_order(tmp_path):
    write_classes(tmp_path, {"a": 7})
    paths = [f"a/image ({index}).png" for index in (5, 1, 3)]
    images = load_images(tmp_path, paths, 16, 3, progress=False)
    assert images.dtype == torch.uint8
    assert images.shape == (3, 3, 16, 16)
    for image, path in zip(images, paths, strict=True):
        assert np.array_equal(image.numpy(), read_image(tmp_path / path, 16, 3))


def test_store_names_every_unreadable_image(tmp_path):
    for index in range(25):
        (tmp_path / f"{index:02d}.png").write_bytes(b"no image")
    with pytest.raises(DataError) as error:
        load_images(tmp_path, [f"{index:02d}.png" for index in range(25)], 16, 1, progress=False)
    message = str(error.value)
    assert "25 of 25 images cannot be read" in message
    assert "00.png: cannot identify image file" in message
    assert "19.png" in message
    assert "20.png" not in message
    assert "and 5 more" in message
