"""Limits on image files, in one place. Each bounds the memory that a single file, whatever it claims, can use."""

MAX_MEGAPIXELS = 135.0
"""Default of ``dataset.max_megapixels`` and ``max_megapixels``: millions of pixels an image may have, about
11,600 x 11,600. Checked against the header, before pixels are decoded."""

MOST_MEGAPIXELS = 2000.0
"""Highest value that ``max_megapixels`` accepts."""

MAX_FILE_BYTES = 2**28
"""Bytes of a file that is read as an image."""

DECODING_BYTES = 2**30
"""Memory that images being decoded in parallel may use together; a larger image is decoded while no other is."""

READING_BYTES = 2**29
"""Bytes of image files that parallel threads may hold together."""

MAX_INFLATION = 100
"""Times its size to which a deflated DICOM dataset may inflate."""

SMALL_INFLATION = 2**24
"""Bytes to which any deflated DICOM dataset may inflate: blank images shrink more than a hundred times."""

MAX_STRIPS = 2**18
"""Strips or tiles of a TIFF file."""

MAX_SCANNED_PIXELS = 2**33
"""Scans times pixels of a progressive JPEG: each scan visits every pixel, and a file may hold thousands of scans."""
