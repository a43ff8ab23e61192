"""DICOM files for the tests."""

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian


def write_dicom(path, values, syntax=ExplicitVRLittleEndian, **attributes):
    """Write values of shape (height, width) or (frames, height, width); ``PixelData`` may be given compressed."""
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = syntax
    image.preamble = bytes(128)
    image.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    image.SOPInstanceUID = "1.2.3"
    image.Rows, image.Columns = values.shape[-2:]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 8 * values.dtype.itemsize
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = int(np.issubdtype(values.dtype, np.signedinteger))
    image.PixelData = values.tobytes()
    for name, value in attributes.items():
        setattr(image, name, value)
    image["PixelData"].is_undefined_length = UID(syntax).is_encapsulated
    image.save_as(path, enforce_file_format=True)
