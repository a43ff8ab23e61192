"""Commands typed for real, and overrides that make a run small."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TINY = [
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    "dataset.image_size=32",
    "dataset.batch_size=8",
    "evaluation=quick",
    # the same on every machine
    "trainer.precision=32-true",
]
"""Overrides that make a run of any dataset take a second."""

TINY_PHANTOM = [*TINY, "dataset.phantom.train=40", "dataset.phantom.validation=16", "dataset.phantom.size=32"]


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def train_process(*arguments: str, cwd: Path, env: dict[str, str] | None = None) -> Answer:
    """Type the command for real."""
    command = [sys.executable, "-m", "medclf.train", *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=300, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)
