"""What the tests of predict have in common."""

import numpy as np
import pandas as pd
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

NAMES = ("a b.png", "[1] x=ü.png", "deeper/c,d.png", "deeper/'quoted' \"e\".png", "deeper/line\nbreak.png")
"""Names that globs, commas, quotes and words could trip over."""


def noise(seed):
    return np.random.default_rng(seed).integers(0, 60 + 30 * (seed % 6), (40, 30), dtype=np.uint8)


def write_odd(root, names=NAMES):
    """A noisy image of each name."""
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(seed)).save(root / name)
    return root


def write_dicom(path, pixels):
    """A grey DICOM image whose values are 0 to 255, so that they are read as they are."""
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    image.Rows, image.Columns = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation, image.PixelRepresentation = 1, "MONOCHROME2", 0
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.PixelData = pixels.tobytes()
    image.save_as(path, enforce_file_format=True)


def table_of(folder, name="predictions.csv"):
    """The predictions in a folder, as text."""
    return pd.read_csv(folder / name, keep_default_na=False, dtype=str, lineterminator="\n")


def probabilities(folder):
    """Of each image that has them, by its name without folders."""
    table = table_of(folder)
    columns = [name for name in table if name.startswith("prob_")]
    rows = zip(table["path"], table[columns].to_numpy(str), strict=True)
    return {path.rpartition("/")[2]: row.astype(float) for path, row in rows if row[0]}
