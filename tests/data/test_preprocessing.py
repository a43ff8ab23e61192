"""The square that the network sees, against OpenCV and by hand."""

import cv2
import numpy as np
import pytest
from helpers.images import dataset
from PIL import Image

from medclf.config.schema import ClaheConfig
from medclf.data.preprocessing import equalise_contrast, preprocess


def square(image, tmp_path, *overrides, size=32):
    return preprocess(image, dataset(tmp_path, f"dataset.image_size={size}", *overrides))


def scene(shape, seed=0):
    """A dim gradient with noise, so that equalisation changes it."""
    ramp = np.linspace(60, 140, shape[1])[None, :].repeat(shape[0], 0)
    if len(shape) == 3:
        ramp = np.stack([ramp, ramp[:, ::-1] * 0.9, np.full_like(ramp, 100)], -1)
    return np.clip(ramp + np.random.default_rng(seed).normal(0, 6, ramp.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("resize", ["squash", "letterbox", "crop"])
@pytest.mark.parametrize("clahe", ["null", "{clip_limit: 2.0, tiles: 4}"])
@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("size", [(50, 30), (30, 50), (32, 32), (7, 9)])
def test_form(tmp_path, resize, clahe, mode, channels, size):
    image = Image.new(mode, size, 90 if mode == "L" else (90, 100, 110))
    pixels = square(image, tmp_path, f"dataset.resize={resize}", f"dataset.clahe={clahe}")
    assert pixels.shape == (channels, 32, 32)
    assert pixels.dtype == np.uint8


def test_channels_are_red_green_blue(tmp_path):
    pixels = square(Image.new("RGB", (50, 30), (10, 20, 30)), tmp_path)
    assert [np.unique(channel).tolist() for channel in pixels] == [[10], [20], [30]]


def test_an_image_of_the_right_size_is_not_changed(tmp_path):
    values = scene((32, 32))
    for resize in ("squash", "letterbox", "crop"):
        assert np.array_equal(square(Image.fromarray(values), tmp_path, f"dataset.resize={resize}")[0], values)


def stripes(width, height, dark, axis):
    """White, with black at both ends of an axis."""
    values = np.full((height, width), 255, dtype=np.uint8)
    values = values if axis == 0 else values.T
    values[:dark] = values[-dark:] = 0
    return Image.fromarray(values if axis == 0 else values.T)


def test_squash_keeps_the_whole_picture(tmp_path):
    """128x64 to 32x32: the black quarters at both ends become 8 columns each."""
    pixels = square(stripes(128, 64, 32, 1), tmp_path)[0]
    assert (pixels == pixels[0]).all()
    assert (pixels[0, :7] == 0).all()
    assert (pixels[0, 9:23] == 255).all()
    assert (pixels[0, 25:] == 0).all()


@pytest.mark.parametrize(("width", "height"), [(128, 64), (64, 128)])
def test_letterbox_has_black_borders(tmp_path, width, height):
    pixels = square(Image.new("L", (width, height), 200), tmp_path, "dataset.resize=letterbox")[0]
    pixels = pixels if width > height else pixels.T
    assert (pixels[:8] == 0).all()
    assert (pixels[8:24] == 200).all()
    assert (pixels[24:] == 0).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_crop_takes_the_centre(tmp_path, axis):
    """A long picture whose ends, a quarter each, are black: the square is the white between them."""
    width, height = (128, 64) if axis else (64, 128)
    pixels = square(stripes(width, height, 32, axis), tmp_path, "dataset.resize=crop")[0]
    # the filter's support reaches one pixel over the edge
    assert (pixels[1:-1, 1:-1] == 255).all()
    assert pixels.min() > 200


def test_smaller_pictures_are_averaged(tmp_path):
    """Every pixel has a share: a fine chequer becomes grey, where nearest neighbours would stay black or white."""
    values = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    pixels = square(Image.fromarray(values), tmp_path)[0].astype(int)
    assert np.abs(pixels - 127.5).max() <= 4


def test_clahe_of_grey_is_that_of_opencv(tmp_path):
    values = scene((64, 64))
    expected = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 4)).apply(values)
    pixels = square(Image.fromarray(values), tmp_path, "dataset.clahe={clip_limit: 3.0, tiles: 4}", size=64)[0]
    assert np.array_equal(pixels, expected)
    assert not np.array_equal(pixels, values)


def test_clahe_comes_before_resizing(tmp_path):
    values = scene((96, 128))
    equal = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(values)
    expected = np.asarray(Image.fromarray(equal).resize((32, 32), Image.Resampling.BILINEAR))
    pixels = square(Image.fromarray(values), tmp_path, "dataset.clahe={clip_limit: 2.0, tiles: 8}")[0]
    assert np.array_equal(pixels, expected)


def test_clahe_of_colour_changes_lightness_alone():
    values = scene((64, 64, 3))
    result = equalise_contrast(values, ClaheConfig(clip_limit=2.0, tiles=4))
    before, after = (cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(int) for image in (values, result))
    lightness = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4)).apply(before[..., 0].astype(np.uint8))
    assert np.abs(after[..., 0] - lightness).max() <= 2
    assert np.abs(after[..., 0] - before[..., 0]).mean() > 5
    # colours that leave the gamut are cut; all others stay, but for rounding
    inside = (result > 0).all(-1) & (result < 255).all(-1)
    assert inside.mean() > 0.95
    assert np.abs(after[..., 1:] - before[..., 1:])[inside].max() <= 3


def test_clahe_keeps_grey_grey():
    values = scene((64, 64))
    result = equalise_contrast(np.stack([values] * 3, -1), ClaheConfig(clip_limit=2.0, tiles=4)).astype(int)
    assert np.ptp(result, axis=-1).max() <= 2
    assert np.abs(result[..., 0] - values).mean() > 5
