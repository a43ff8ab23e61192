"""What reaches the terminal: nothing that it obeys, and no reader or encoding ends a command."""

import logging
import subprocess
import sys

import pytest

from medclf.utils import safe_terminal
from medclf.utils.safe_terminal import escape_control

SPEAK = """
import logging, sys
from medclf.utils import safe_terminal
from medclf.utils.errors import ConfigError
with safe_terminal.command_errors():
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    for number in range(int(sys.argv[1])):
        logging.info("line %d: %s", number, sys.argv[2])
        print("\u2022 bullet")
        sys.stdout.flush()
    open(sys.argv[3], "w").write("done")
"""


def speak(tmp_path, lines, name, shell, env=None):
    done = tmp_path / "done"
    words = f'"$0" -c "$1" {lines} "$2" "$3" {shell}'
    answer = subprocess.run(
        ["bash", "-o", "pipefail", "-c", words, sys.executable, SPEAK, name, str(done)],
        capture_output=True, text=True, check=False, env=env, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in answer.stderr
    assert "Error" not in answer.stderr
    assert done.is_file(), answer.stderr
    assert done.read_text(encoding="utf-8") == "done"
    return answer


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08\x7f", "a\\x0db\\x08\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udce4", "\\udce4"),
        ("two\nlines\tGefäß 日本", "two\nlines\tGefäß 日本"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text, shown):
    assert escape_control(text) == shown


def test_a_log_message_has_no_control_characters_whoever_writes_it(tmp_path, monkeypatch):
    before = logging.getLogRecordFactory()
    try:
        safe_terminal.prepare_streams()
        handler = logging.FileHandler(tmp_path / "train.log", encoding="utf-8")
        logger = logging.getLogger("someone.else")
        logger.addHandler(handler)
        logger.error("class %s\nnext line", "benign\x1b[31m\udce4")
        handler.close()
        logger.removeHandler(handler)
    finally:
        logging.setLogRecordFactory(before)
    assert (tmp_path / "train.log").read_bytes() == b"class benign\\x1b[31m\\udce4\nnext line\n"


def test_an_error_message_has_no_control_characters(capsys):
    with pytest.raises(SystemExit) as stop:
        safe_terminal.fail("class a\x1b[2J")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: class a\\x1b[2J\n"


@pytest.mark.skipif(sys.platform == "win32", reason="its shell has no such redirections")
@pytest.mark.parametrize(
    ("lines", "shell"),
    [
        (2000, "| head -n 1"),
        (3, "<&- >&- 2>&-"),
        (3, ">&-"),
        (3, ">/dev/full"),
    ],
)
def test_a_stream_that_is_closed_or_full_ends_no_command(tmp_path, lines, shell):
    answer = speak(tmp_path, lines, "name", shell)
    assert answer.returncode == 0
    lost = "standard output cannot be written: no space left; the rest of it is lost\n"
    assert answer.stderr == (lost if "full" in shell else "")


def test_a_terminal_that_cannot_encode_a_sign_gets_its_escape(tmp_path):
    answer = speak(tmp_path, 1, "Gef\u00e4\u00df", "", {"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)})
    assert answer.returncode == 0
    assert answer.stdout == "line 0: Gef\\xe4\\xdf\n\\u2022 bullet\n"
