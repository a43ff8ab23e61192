"""What training changes in its process is put back, and its log depends on nobody's logging."""

import logging
import os
import random
import signal
import warnings

import pytest
import torch

from medclf.training.process_state import keep_process_state, log_to_file


@pytest.fixture
def handler():
    """A handler of the caller on the root logger, with the messages that it got."""

    class Kept(logging.Handler):
        def emit(self, record):
            self.messages.append(record.getMessage())

    kept = Kept()
    kept.messages = []
    logging.root.addHandler(kept)
    yield kept
    logging.root.removeHandler(kept)


def test_what_was_changed_is_put_back_after_an_error_too(monkeypatch):
    monkeypatch.setenv("MEDCLF_KEPT", "before")
    monkeypatch.delenv("MEDCLF_NEW", raising=False)
    random.seed(1)
    expected, filters, interrupt = random.getstate(), list(warnings.filters), signal.getsignal(signal.SIGINT)
    level = logging.getLogger("medclf").level
    with pytest.raises(ZeroDivisionError), keep_process_state():
        os.environ |= {"MEDCLF_KEPT": "now", "MEDCLF_NEW": "now"}
        random.random()
        warnings.filterwarnings("ignore", message="anything")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        logging.getLogger("medclf").setLevel(logging.CRITICAL)
        logging.root.addHandler(logging.NullHandler())
        torch.use_deterministic_algorithms(True)
        raise ZeroDivisionError
    assert os.environ["MEDCLF_KEPT"] == "before"
    assert "MEDCLF_NEW" not in os.environ
    assert random.getstate() == expected
    assert warnings.filters == filters
    assert signal.getsignal(signal.SIGINT) == interrupt
    assert logging.getLogger("medclf").level == level
    assert not any(type(one) is logging.NullHandler for one in logging.root.handlers)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.WARNING, ["heed"]), (logging.INFO, ["fact", "heed"]), (logging.ERROR, [])]
)
def test_the_file_has_the_log_and_the_caller_what_was_asked_for(tmp_path, handler, monkeypatch, level, shown):
    monkeypatch.setattr(logging.getLogger("medclf"), "level", level)
    logging.getLogger("medclf")._cache.clear()
    with keep_process_state(), log_to_file(tmp_path / "train.log"):
        logging.getLogger("medclf.training").info("fact")
        logging.getLogger("medclf.training").warning("heed")
        logging.getLogger("other").warning("theirs")
    assert handler.messages == [*shown, "theirs"]
    assert handler.filters == []
    lines = (tmp_path / "train.log").read_text(encoding="utf-8").splitlines()
    assert [line.partition("] ")[2] for line in lines] == ["fact", "heed", "theirs"]


def test_control_characters_do_not_reach_the_file(tmp_path):
    with keep_process_state(), log_to_file(tmp_path / "train.log"):
        logging.getLogger("medclf").warning("name\x1b[2J")
    assert "\\x1b" in (tmp_path / "train.log").read_text(encoding="utf-8")
