"""What training changes in its process, and how a caller in Python gets it back."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from medclf.utils.random_state import get_random_state, set_random_state
from medclf.utils.safe_terminal import escape_control

LOGGERS = ("medclf", "lightning")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


@contextmanager
def keep_process_state() -> Iterator[None]:
    """Put back after this block what it changed in the process.

    That is: the state of random numbers, environment variables, signal handlers, warnings, the settings of every
    logger, the hook for threads that fail, and the switches of torch and OpenCV that Lightning and the image cache set.
    """
    random, environment = get_random_state(), dict(os.environ)
    handlers, loggers, switches = _signal_handlers(), _logger_settings(), _switches()
    hook = threading.excepthook
    try:
        with warnings.catch_warnings():
            yield
    finally:
        set_random_state(random)
        _restore_environment(environment)
        threading.excepthook = hook
        _restore_loggers(loggers)
        _restore_switches(switches)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _signal_handlers() -> dict[int, Any]:
    """The handlers that can be set again: from the main thread, and those that Python knows."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    found = {
        getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)
    }
    return {number: handler for number, handler in found.items() if handler is not None}


def _restore_environment(before: dict[str, str]) -> None:
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    for name, value in before.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _logger_settings() -> list[tuple[logging.Logger, dict[str, Any]]]:
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    return [(one, _settings(one)) for one in [logging.root, *known]]


def _settings(logger: logging.Logger) -> dict[str, Any]:
    return {
        "level": logger.level,
        "handlers": list(logger.handlers),
        "filters": list(logger.filters),
        "propagate": logger.propagate,
        "disabled": logger.disabled,
    }


def _restore_loggers(before: list[tuple[logging.Logger, dict[str, Any]]]) -> None:
    for logger, settings in before:
        logger.setLevel(settings["level"])
        logger.handlers[:] = settings["handlers"]
        logger.filters[:] = settings["filters"]
        logger.propagate, logger.disabled = settings["propagate"], settings["disabled"]


def _switches() -> tuple[bool, bool, bool, bool, int]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cudnn.deterministic,
        cv2.getNumThreads(),
    )


def _restore_switches(before: tuple[bool, bool, bool, bool, int]) -> None:
    deterministic, warn_only, benchmark, cudnn, threads = before
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, cudnn
    cv2.setNumThreads(threads)


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Write what the command line logs to a file; what else the process shows of it depends on its own settings.

    Messages of medclf and Lightning reach the handlers of the root logger from the level on that counted for medclf
    before, which is WARNING where nothing was set. To be called in ``keep_process_state``, which puts levels back.

    Args:
        path: of the log, to which is appended.
    """
    shown, root = logging.getLogger("medclf").getEffectiveLevel(), logging.root
    logging.getLogger("medclf").setLevel(min(shown, logging.INFO))

    def is_shown(record: logging.LogRecord) -> bool:
        return record.levelno >= shown or record.name.partition(".")[0] not in LOGGERS

    own = list(root.handlers) or ([] if logging.lastResort is None else [logging.lastResort])
    file = _LogFile(path, encoding="utf-8")
    file.setFormatter(_PlainFormatter("[%(asctime)s][%(name)s][%(levelname)s] %(message)s"))
    for handler in own:
        handler.addFilter(is_shown)
    root.handlers[:] = [*own, file]
    try:
        yield
    finally:
        for handler in own:
            handler.removeFilter(is_shown)
        file.close()


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, the name is logging's
        """Leave a message out: a log file on a full disk is no reason for a traceback."""


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the line without control characters, which names of files may hold."""
        return escape_control(super().format(record))
