"""Hostile and damaged DICOM files: bounded, never more than unreadable; an invalid window is ignored with a note."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pydicom
import pytest
from helpers.dicom_files import write_dicom
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from medclf.data.image_fingerprints import compute_fingerprint
from medclf.data.image_io import decode_image, read_image
from medclf.data.pixel_conversion import UnreadableImageError
from medclf.utils.file_limits import MAX_INFLATION, SMALL_INFLATION

GRADIENT = np.linspace(0, 255, 64, dtype=np.uint8)[None, :].repeat(64, 0)
VALUES = GRADIENT.astype(np.int16) * 16


def pixels(root):
    return np.asarray(decode_image(root, "x.dcm", grey=True)).astype(int)


def reason_of(root, **options):
    with pytest.raises(UnreadableImageError) as error:
        decode_image(root, "x.dcm", grey=True, **options)
    return str(error.value)


def test_a_deflated_file_is_read(tmp_path):
    write_dicom(tmp_path / "x.dcm", VALUES, DeflatedExplicitVRLittleEndian)
    assert np.abs(pixels(tmp_path) - GRADIENT).max() <= 1


def test_inflating_stops_at_the_limit(tmp_path):
    """Counted piece by piece: what the file claims is never held."""
    write_dicom(tmp_path / "x.dcm", VALUES, DeflatedExplicitVRLittleEndian)
    content = (tmp_path / "x.dcm").read_bytes()
    begin = 144 + struct.unpack_from("<I", content, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = b"".join([packer.compress(bytes(2**20)) for _ in range(256)] + [packer.flush()])
    (tmp_path / "x.dcm").write_bytes(content[:begin] + zeros)
    assert len(zeros) * MAX_INFLATION > SMALL_INFLATION
    tracemalloc.start()
    assert reason_of(tmp_path) == f"inflates to over {MAX_INFLATION} times its size"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_deflated_data_that_is_cut_short(tmp_path):
    write_dicom(tmp_path / "x.dcm", VALUES, DeflatedExplicitVRLittleEndian)
    content = (tmp_path / "x.dcm").read_bytes()
    (tmp_path / "x.dcm").write_bytes(content[:-20])
    assert "cut short" in reason_of(tmp_path)


@pytest.mark.parametrize(
    ("window", "shown"),
    [
        ({"WindowCenter": 0, "WindowWidth": 0}, "width 0.0"),
        ({"WindowCenter": 100, "WindowWidth": -5}, "width -5.0"),
        ({"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"}, "function CUBIC"),
        ({"WindowCenter": [10, 20], "WindowWidth": [0, 30]}, "width [0.0, 30.0]"),
        ({"WindowCenter": "nan", "WindowWidth": 50}, "centre nan"),
    ],
)
def test_an_invalid_window_is_ignored_with_a_note(tmp_path, window, shown):
    write_dicom(tmp_path / "x.dcm", VALUES, **window)
    assert np.abs(pixels(tmp_path) - GRADIENT).max() <= 1
    note = compute_fingerprint(tmp_path, "x.dcm").note
    assert shown in note
    assert note.endswith("is invalid and is ignored")


def test_a_valid_window_has_no_note(tmp_path):
    write_dicom(tmp_path / "x.dcm", VALUES, WindowCenter=500, WindowWidth=1000)
    assert not read_image(tmp_path, "x.dcm", grey=True).note


def test_an_invalid_lookup_table_is_ignored_with_a_note(tmp_path):
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = bytes(10)
    write_dicom(tmp_path / "x.dcm", VALUES, VOILUTSequence=[table])
    assert np.abs(pixels(tmp_path) - GRADIENT).max() <= 1
    assert read_image(tmp_path, "x.dcm", grey=True).note == "its VOI LUT is invalid and is ignored"


def compressed(kind, shape, **options):
    stream = io.BytesIO()
    Image.new("L", shape).save(stream, kind, **options)
    return encapsulate([stream.getvalue()])


@pytest.mark.parametrize("kind", ["JPEG2000", "JPEG"])
def test_a_compressed_frame_larger_than_its_header_says_is_not_decoded(tmp_path, monkeypatch, kind):
    syntax, options = (JPEG2000Lossless, {"no_jp2": True}) if kind == "JPEG2000" else (JPEGBaseline8Bit, {})
    data = compressed(kind, (900, 500), **options)
    write_dicom(tmp_path / "x.dcm", GRADIENT, syntax, PixelData=data)
    monkeypatch.setattr(pydicom.FileDataset, "pixel_array", None)
    assert "frame has 900x500 pixels, its header says 64x64" in reason_of(tmp_path)
    assert reason_of(tmp_path, max_megapixels=0.4).startswith("900x500 pixels of 8 bits, over")


def test_run_lengths_that_decode_to_more_than_the_image_are_not_decoded(tmp_path, monkeypatch):
    runs = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 200_000
    write_dicom(tmp_path / "x.dcm", GRADIENT, RLELossless, PixelData=encapsulate([runs]))
    monkeypatch.setattr(pydicom.FileDataset, "pixel_array", None)
    assert "RLE data decodes to more than its pixels" in reason_of(tmp_path)


def test_run_lengths_are_read(tmp_path):
    rows = b"".join(bytes([63]) + row.tobytes() for row in GRADIENT)
    runs = struct.pack("<16I", 1, 64, *[0] * 14) + rows
    write_dicom(tmp_path / "x.dcm", GRADIENT, RLELossless, PixelData=encapsulate([runs]))
    assert np.array_equal(pixels(tmp_path), GRADIENT)


def test_sequences_nested_without_end_are_unreadable(tmp_path):
    write_dicom(tmp_path / "x.dcm", VALUES)
    item = struct.pack("<HH2sHI", 0x0008, 0x1110, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    content = (tmp_path / "x.dcm").read_bytes()
    at = content.index(struct.pack("<HH", 0x0028, 0x0002))
    (tmp_path / "x.dcm").write_bytes(content[:at] + item * 100_000)
    assert reason_of(tmp_path)


@pytest.mark.parametrize("missing", ["Rows", "PhotometricInterpretation"])
def test_what_is_missing_is_named(tmp_path, missing):
    write_dicom(tmp_path / "x.dcm", VALUES)
    image = pydicom.dcmread(tmp_path / "x.dcm")
    del image[missing]
    image.save_as(tmp_path / "x.dcm")
    assert reason_of(tmp_path) == f"no DICOM image that can be decoded: it has no {missing}"
