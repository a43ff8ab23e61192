"""Imports point one way: the contract in pyproject.toml holds, and an upward import breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
UPWARD = {
    "at the top": "from medclf.training.module import ClassifierModule\n",
    "inside a function": "def late():\n    from medclf.training.module import ClassifierModule\n",
    "for type checking": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from medclf.training.module import ClassifierModule\n"
    ),
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PROJECT / "medclf", tmp_path / "medclf", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(copy):
    done = lint_imports(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("code", UPWARD.values(), ids=UPWARD.keys())
def test_an_upward_import_is_found(copy, code):
    path = copy / "medclf" / "inference" / "precision.py"
    path.write_text(path.read_text(encoding="utf-8") + code, encoding="utf-8")
    done = lint_imports(copy)
    assert done.returncode == 1
    assert "medclf.inference.precision -> medclf.training.module" in done.stdout
