"""Event files of a run that ran out of space end with a whole record."""

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from medclf.training.tensorboard import complete_events


@pytest.mark.parametrize("lost", [0, 1, 20])
def test_an_unfinished_record_is_cut_off_when_a_run_fails(tmp_path, lost):
    logger = TensorBoardLogger(tmp_path, name="", version="")
    logger.log_metrics({"val/loss": 0.5}, 1)
    logger.save()
    (path,) = tmp_path.glob("events*")
    first = path.read_bytes()
    logger.log_metrics({"val/loss": 0.4}, 2)
    logger.save()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - lost])
    with pytest.raises(OSError, match="full"), complete_events(tmp_path):
        raise OSError("full")
    assert path.read_bytes() == (first if lost else whole)
