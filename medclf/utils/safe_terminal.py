"""What reaches the terminal: no control characters from names, and streams that never end a command."""

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from medclf.utils.errors import MedclfError
from medclf.utils.process_lifecycle import Terminated, ended_by_signals
from medclf.utils.write_errors import EVERYWHERE, find_write_error, suggest_remedy, write_failure

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and newline, signs that reorder text, and bytes of file names that are not Unicode."""
_GONE = (BrokenPipeError, ConnectionError)


def escape_control(text: str) -> str:
    r"""Replace control characters, which a terminal obeys, by what they are called: ESC becomes ``\x1b``."""
    return _CONTROL.sub(lambda found: _escaped(found[0]), text)


def _escaped(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"


def prepare_streams() -> None:
    """Make the standard streams safe for names of any kind and for readers that stop early.

    A closed stream becomes the null device; a sign that the terminal cannot encode is escaped; a write that fails is
    given up instead of ending the command. Log messages and warnings lose their control characters.
    """
    _open_closed_streams()
    sys.stdout = _tolerant(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _tolerant(sys.stderr, sys.__stderr__, 2)
    logging.raiseExceptions = False  # a log file on a full disk is no reason for a traceback
    logging.setLogRecordFactory(_Record)
    warnings.formatwarning = _format_warning


@contextmanager
def command_errors() -> Iterator[None]:
    """Surround a command: one message and exit status 2 for an error that the user can correct, no traceback.

    Ctrl-C, SIGTERM and SIGHUP end it with the status that shells give them, after open files have been removed.
    """
    prepare_streams()
    try:
        with ended_by_signals():
            yield
    except MedclfError as error:
        fail(str(error))
    except OSError as error:
        cause = find_write_error(error, Path("/"))
        if cause is None:
            raise
        fail(_failed_write(cause))
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(INTERRUPTED)
    except Terminated:
        sys.stderr.write("\nterminated\n")
        raise


def fail(message: str) -> NoReturn:
    """Print a message about an error that the user can correct, and exit with status 2."""
    sys.stderr.write(f"error: {escape_control(message)}\n")
    sys.exit(2)


def print_message(text: str) -> None:
    """Print to standard output at once, control characters escaped."""
    sys.stdout.write(escape_control(text))
    sys.stdout.flush()


def _failed_write(error: Exception) -> str:
    named = getattr(error, "filename", None) or "a file"
    if getattr(error, "errno", None) in EVERYWHERE:
        remedy = suggest_remedy(error)
        return f"{named}: cannot be written: {write_failure(error)}; {remedy}, then type the command again"
    return f"{named}: {write_failure(error)}"


def _open_closed_streams() -> None:
    """Give descriptors 0 to 2 a meaning, or the next file opened would be taken for the terminal."""
    while (handle := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(handle)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115, PTH123, open as long as the process
            setattr(sys, name, null)


def _tolerant(stream: TextIO, own: TextIO | None, number: int) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper) or stream is not own:
        return stream  # a notebook's, or a test's
    if os.name != "posix" or isinstance(stream.buffer, _Raw) or not _is_descriptor(stream, number):
        stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    raw: Any = _Raw(number, "w", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False


class _Raw(io.FileIO):
    """A standard stream that goes to the null device from the first write that fails."""

    def write(self, content: Any, /) -> int:
        """Write as far as the reader, or the disk behind a redirection, takes it."""
        try:
            return super().write(content)
        except OSError as error:
            number = self.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            if number == 1 and not isinstance(error, _GONE):
                sys.stderr.write(f"standard output cannot be written: {write_failure(error)}; the rest of it is lost\n")
            return memoryview(content).nbytes


class _Record(logging.LogRecord):
    """A log message without control characters."""

    def getMessage(self) -> str:  # noqa: N802, the name is logging's
        """Return the message as it may be shown."""
        return escape_control(super().getMessage())


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return escape_control(_python_format(message, category, filename, lineno, line))


_python_format = warnings.formatwarning
