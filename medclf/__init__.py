"""medclf: from a folder of medical images to a classifier whose numbers can be trusted."""

__version__ = "0.1.0"
