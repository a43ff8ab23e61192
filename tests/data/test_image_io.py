"""One test a kind of image; what cannot be read has its reason."""

import io

import numpy as np
import pytest
from helpers.dicom_files import write_dicom
from PIL import Image

from medclf.data.image_io import decode_image
from medclf.data.pixel_conversion import UnreadableImageError

GRADIENT = np.linspace(0, 255, 64, dtype=np.uint8)[None, :].repeat(64, 0)


def pixels(root, name, grey=True, at_least=None):
    return np.asarray(decode_image(root, name, grey, at_least)).astype(int)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("grey", [True, False])
def test_every_mode(tmp_path, mode, grey):
    name = "x.tif" if mode == "CMYK" else "x.png"
    # a palette made from colours would hold few greys
    whole = Image.fromarray(GRADIENT) if mode == "P" else Image.fromarray(GRADIENT).convert("RGB")
    whole.convert(mode).save(tmp_path / name)
    image = pixels(tmp_path, name, grey)
    assert image.shape == ((64, 64) if grey else (64, 64, 3))
    if mode == "1":
        assert set(np.unique(image)) == {0, 255}
    else:
        reference = GRADIENT if grey else GRADIENT[..., None]
        assert np.abs(image - reference).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tiff", "webp", "PNG"])
def test_every_format(tmp_path, suffix):
    Image.fromarray(GRADIENT).save(tmp_path / f"x.{suffix}")
    assert np.abs(pixels(tmp_path, f"x.{suffix}") - GRADIENT).max() <= 8


@pytest.mark.parametrize(("kind", "top"), [(np.uint16, 4095), (np.uint16, 65535), (np.int32, 70000), (np.float32, 1.5)])
def test_more_bits_are_scaled_to_their_range_not_clipped(tmp_path, kind, top):
    values = (GRADIENT.astype(np.float64) / 255 * top).astype(kind)
    Image.fromarray(values).save(tmp_path / "x.tif")
    assert np.abs(pixels(tmp_path, "x.tif") - GRADIENT).max() <= 1


def test_sixteen_bit_png(tmp_path):
    Image.fromarray(GRADIENT.astype(np.uint16) * 16).save(tmp_path / "x.png")
    assert np.abs(pixels(tmp_path, "x.png") - GRADIENT).max() <= 1


def test_constant_image_of_more_bits(tmp_path):
    Image.fromarray(np.full((8, 8), 4000, dtype=np.uint16)).save(tmp_path / "x.png")
    assert pixels(tmp_path, "x.png").max() == 0


def test_exif_orientation(tmp_path):
    image = Image.fromarray(GRADIENT)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image.save(tmp_path / "x.jpg", exif=exif)
    turned = pixels(tmp_path, "x.jpg")
    assert turned[0].mean() < 8
    assert turned[-1].mean() > 247


def test_jpeg_may_be_decoded_smaller(tmp_path):
    Image.fromarray(GRADIENT).resize((1300, 1000)).save(tmp_path / "x.jpg")
    small, whole = pixels(tmp_path, "x.jpg", at_least=200), pixels(tmp_path, "x.jpg")
    assert whole.shape == (1000, 1300)
    assert small.shape == (250, 325)
    assert abs(small.mean() - whole.mean()) < 1


def broken(kind: str) -> bytes:
    whole = io.BytesIO()
    Image.fromarray(GRADIENT).save(whole, "JPEG")
    return {"empty": b"", "text": b"no image", "truncated": whole.getvalue()[:400]}[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "truncated"])
def test_broken_image(tmp_path, kind):
    (tmp_path / "x.jpg").write_bytes(broken(kind))
    with pytest.raises(UnreadableImageError) as error:
        decode_image(tmp_path, "x.jpg", grey=True)
    assert str(error.value)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(tmp_path, monkeypatch, suffix):
    Image.fromarray(GRADIENT).save(tmp_path / f"x.{suffix}")
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(UnreadableImageError, match=r"64x64 pixels of 8 bits, over max_megapixels=0\.004"):
        decode_image(tmp_path, f"x.{suffix}", grey=True, max_megapixels=0.004)


def test_missing_file(tmp_path):
    with pytest.raises(UnreadableImageError, match="No such file"):
        decode_image(tmp_path, "x.png", grey=True)


def test_array(tmp_path):
    np.save(tmp_path / "train_images.npy", np.stack([GRADIENT, 255 - GRADIENT]))
    assert np.array_equal(pixels(tmp_path, "train_images.npy#1"), 255 - GRADIENT)


DICOM_VALUES = GRADIENT.astype(np.int16) * 16


def test_dicom(tmp_path):
    write_dicom(tmp_path / "x.dcm", DICOM_VALUES)
    assert np.abs(pixels(tmp_path, "x.dcm") - GRADIENT).max() <= 1


def test_dicom_where_bright_is_low_is_inverted(tmp_path):
    write_dicom(tmp_path / "x.dcm", DICOM_VALUES, PhotometricInterpretation="MONOCHROME1")
    assert np.abs(pixels(tmp_path, "x.dcm") - (255 - GRADIENT)).max() <= 1


def test_dicom_rescale_and_window(tmp_path):
    """Hounsfield units are 2 x - 1024; the window from 0 to 1000 is cut out of them."""
    window = {"RescaleSlope": 2, "RescaleIntercept": -1024, "WindowCenter": 500, "WindowWidth": 1000}
    write_dicom(tmp_path / "x.dcm", DICOM_VALUES, **window)
    units = DICOM_VALUES.astype(float) * 2 - 1024
    # DICOM PS3.3 C.11.2.1.2.1, linear
    expected = np.clip(((units - 499.5) / 999 + 0.5) * 255, 0, 255)
    assert np.abs(pixels(tmp_path, "x.dcm") - expected).max() <= 1


def test_dicom_decompression_bomb(tmp_path):
    write_dicom(tmp_path / "x.dcm", np.zeros((8, 8), np.int16), Rows=60000, Columns=60000)
    with pytest.raises(UnreadableImageError, match="60000x60000 pixels"):
        decode_image(tmp_path, "x.dcm", grey=True)


def test_dicom_of_several_frames_is_refused(tmp_path):
    write_dicom(tmp_path / "x.dcm", np.stack([DICOM_VALUES] * 3), NumberOfFrames=3)
    with pytest.raises(UnreadableImageError, match="3 frames"):
        decode_image(tmp_path, "x.dcm", grey=True)


def test_text_named_dcm(tmp_path):
    (tmp_path / "x.dcm").write_text("no image", encoding="utf-8")
    with pytest.raises(UnreadableImageError, match="no DICOM image"):
        decode_image(tmp_path, "x.dcm", grey=True)
