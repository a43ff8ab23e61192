"""The largest values a configuration may ask for. They bound memory, time and disk, far above what anyone needs."""

MAX_TEXT = 4096
"""Characters of a text value, as long as a path may be."""
MAX_NAME = 100
"""Bytes of a name that becomes part of a file's name."""
MAX_PATH_PART = 255
"""Bytes of the name of a file or folder, as file systems allow."""
MAX_CLASS_NAME = 200
"""Characters of a class name."""
MAX_CLASSES = 1000
MAX_ENTRIES = 10_000
"""Entries of a list or mapping."""
MAX_SEED = 2**32 - 1
"""Largest seed that NumPy and Lightning take."""
MIN_IMAGE_SIZE = 16
MAX_IMAGE_SIZE = 4096
"""Side of the square that a network sees, in pixels."""
MAX_BATCH_SIZE = 16_384
"""Images in a step."""
MAX_WORKERS = 256
"""Processes that augment images."""
MAX_FOLDS = 1000
MAX_TILES = 64
"""Tiles along a side, of CLAHE."""
MAX_CLIP_LIMIT = 1000
MAX_PATTERN = 200
"""Characters of a regular expression."""
MAX_PHANTOM_IMAGES = 100_000
MAX_PHANTOM_SIZE = 1024
"""Side of an image of the phantom, in pixels."""
MAX_RESAMPLES = 1_000_000
"""Resamples of a bootstrap."""
MAX_GALLERY = 600
"""Images on a page; a larger page is an image that no viewer opens."""
MAX_GRAD_CAM = 300
MAX_SHEET = 10_000
"""Images that predict shows on pages."""
MAX_VIEWS = 1000
"""Stored views of each training image."""
MAX_TRANSFORMS = 50
MAX_CALLBACKS = 50
MAX_HEAD_WEIGHTS = 2**28
"""Weights of a head, 1 GiB of memory."""
MAX_DEVICES = 1024
MAX_NODES = 10_000
MAX_STEPS = 10**9
"""Epochs, steps and batches."""
MAX_TRIALS = 100_000
"""Trials of a search."""
MAX_JOBS = 10_000
"""Jobs of a sweep, and combinations of a grid."""
MAX_OVERRIDE = 10_000
"""Characters of one key=value word."""
MAX_OVERRIDES = 1000
"""Words of a command line."""
MAX_PARALLEL = 1024
"""Jobs at a time."""
MAX_FILES = 10_000
"""Files below a folder of configurations."""
MAX_FILE_BYTES = 2**20
"""Size of a configuration file."""
MAX_FILE_VALUES = 100_000
"""Values in a configuration file, aliases expanded."""
MAX_FILE_DEPTH = 40
"""Levels of nesting in a configuration file."""
