"""``python -m medclf``: the list of commands, and one command for all."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.images import write_classes

import medclf
from medclf.__main__ import COMMANDS, main

LISTED = """
import sys
sys.argv = ["medclf"]
from medclf.__main__ import main
main()
print("IMPORTED", sorted({"torch", "lightning", "hydra", "pydantic", "numpy"} & set(sys.modules)))
"""


def typed(*words, cwd):
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_every_entry_point_is_listed():
    package = Path(medclf.__file__).parent
    texts = {path.stem: path.read_text(encoding="utf-8") for path in package.glob("*.py")}
    assert {name for name, text in texts.items() if "def main(" in text} - {"__main__"} == set(COMMANDS)


def test_the_list_has_a_line_for_each_command_and_imports_nothing_heavy(tmp_path):
    done = typed("-c", LISTED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)
    assert lines[-1] == "IMPORTED []"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("trian", "error: trian: there is no such command; did you mean 'train'? Valid: audit, prepare, train"),
        ("dataset=busi", "error: dataset=busi: there is no such command; Valid: audit"),
        ("--version", "error: --version: there is no such command; Valid: audit"),
    ],
)
def test_a_mistyped_command_is_named(command, word, said):
    answer = command(main, word, "seed=1")
    assert answer.code == 2
    assert answer.err.startswith(said)
    assert answer.out == ""


@pytest.mark.parametrize("words", [(), ("-h",), ("--help",)])
def test_the_list_is_no_error(command, words):
    answer = command(main, *words)
    assert (answer.code, answer.err) == (0, "")
    assert "usage: medclf COMMAND key=value" in answer.out


def test_a_command_is_the_same_as_its_module(tmp_path):
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    words = ("dataset=folder", "dataset.root=images", "dataset.batch_size=4")
    one = typed("-m", "medclf", "audit", *words, "output=short", cwd=tmp_path)
    other = typed("-m", "medclf.audit", *words, "output=module", cwd=tmp_path)
    assert (one.returncode, other.returncode) == (0, 0), one.stderr
    texts = [re.sub(r"\[[\d:]+\]", "", text) for text in (one.stdout.replace("short", "module"), other.stdout)]
    assert texts[0] == texts[1]
    files = [sorted(path.name for path in Path(tmp_path, name).iterdir()) for name in ("short", "module")]
    assert files[0] == files[1]


def test_each_command_takes_its_own_words(tmp_path):
    done = typed("-m", "medclf", "compare", "a", "--metrics", "brier", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: --metrics: options are typed as key=value: metrics=brier\n")
    done = typed("-m", "medclf", "train", "sed=1", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'seed'?" in done.stderr
