"""A file's kind is known by its content, and only a few kinds are taken."""

import io

import numpy as np
import pytest
from PIL import Image

from medclf.data.pixel_conversion import UnreadableImageError
from medclf.web_demo.prediction_answer import guess_file_name

DICM = bytes(128) + b"DICM"


def written(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_taken(kind):
    assert guess_file_name(written(kind)) == "image"


def test_dicom():
    assert guess_file_name(DICM) == "image.dcm"


@pytest.mark.parametrize("kind", ["GIF", "EPS", "PDF", "PPM", "ICO"])
def test_other_kinds_of_image(kind):
    with pytest.raises(UnreadableImageError, match="not a file of a kind that is taken"):
        guess_file_name(written(kind))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a file of a kind that is taken"),
        (b"http://127.0.0.1/x.png", "not a file of a kind that is taken"),
        (b"/etc/passwd", "not a file of a kind that is taken"),
    ],
)
def test_no_image(content, reason):
    with pytest.raises(UnreadableImageError, match=reason):
        guess_file_name(content)
