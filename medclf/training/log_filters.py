"""What a run does not show: messages shown twice, advertisements, and advice that does not hold here."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medclf.utils.write_errors import find_write_error

UNFOUNDED = (
    # images come decoded from the store, and augmenting them is cheap
    ".*does not have many workers.*",
    # every process computes the same figures from all outputs
    ".*sync_dist=True.*",
    # so it is when a run goes on
    "Checkpoint directory .* exists and is not empty.*",
    # a frozen backbone is meant to be
    ".*in eval mode at the start of training.*",
    # the size it prints is that of the weights as they are kept
    ".*is not supported by the model summary.*",
    # the learning rate is searched on training images alone
    ".*defined a `validation_step` but have no `val_dataloader`.*",
    # Lightning's use of torch, nothing a user can mend
    ".*isinstance.treespec, LeafSpec.*",
)


def quieten() -> None:
    """Leave every message of Lightning to Hydra's handlers, and leave out those that help nobody."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_advertisement)
    for message in UNFOUNDED:
        warnings.filterwarnings("ignore", message=message)
    threading.excepthook = _report_thread


@contextmanager
def silence() -> Iterator[None]:
    """Show only warnings of Lightning, since a search reports each of its trials."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _report_thread(failed: threading.ExceptHookArgs) -> None:
    """Leave out the traceback of TensorBoard's thread on a full disk: the main thread raises the same error."""
    if failed.exc_value is None or find_write_error(failed.exc_value, Path("/")) is None:
        threading.__excepthook__(failed)


def _is_no_advertisement(record: logging.LogRecord) -> bool:
    return not any(words in record.getMessage() for words in ("Tip:", "Trainer already configured"))
