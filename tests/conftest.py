"""Small generated images, and two ways to type a command: in this process (fast) and as a real one."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# with images of 32 pixels a second thread is only waited for; commands typed for real inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell starts what runs in the background deaf to Ctrl-C, and the commands that tests type would inherit it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup leaves it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from medclf.cli import resolvers
from medclf.config.composition import Composer
from medclf.config.schema import Config, Dataset, validated

resolvers.register()

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


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Type a command, given by its main function, in this process and in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def run(main: Callable[[], None], *arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["medclf", *arguments])
        for handler in [one for one in logging.root.handlers if type(one) is logging.StreamHandler]:
            logging.root.removeHandler(handler)  # Hydra's of a command before, whose stream is closed
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Answer(code, *capfd.readouterr())

    return run


@pytest.fixture
def train(command: Callable[..., Answer]) -> Callable[..., Answer]:
    """Type ``python -m medclf.train`` so."""
    from medclf.train import main

    return partial(command, main)


def write_image(path: Path, value: int = 0, mode: str = "L", size: tuple[int, int] = (40, 30)) -> None:
    """A noisy image whose brightness is about ``value``; the noise depends on the path's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([value, *path.name.encode()])
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], len(mode))
    pixels = np.clip(value + rng.normal(0, 20, shape), 0, 255).astype(np.uint8)
    Image.fromarray(pixels, mode).save(path)


def write_classes(root: Path, classes: dict[str, int], pattern: str = "image ({index}).png") -> None:
    """So many images of each class folder; classes differ in brightness."""
    for position, (name, count) in enumerate(classes.items()):
        for index in range(1, count + 1):
            write_image(root / name / pattern.format(index=index), 60 + 50 * position)


def dataset(root: Path, *overrides: str, name: str = "folder") -> Dataset:
    """The config of a dataset at a root; what is remembered of its images lies beside the root."""
    store = root.parent / "store"
    words = [f"dataset={name}", f"dataset.root='{root}'", f"dataset.store='{store}'", *overrides]
    return validated(Composer("train").compose(words), Config).dataset


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    """A folder with classes ``cat`` (30 images) and ``dog`` (20)."""
    root = tmp_path / "images"
    write_classes(root, {"cat": 30, "dog": 20})
    return root


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """The folder and the output of one small run on the phantom, typed for real."""
    cwd = tmp_path_factory.mktemp("finished")
    answer = train_process(*TINY_PHANTOM, "seed=0", "evaluation=default", cwd=cwd)
    assert answer.code == 0, answer.text
    (folder,) = (cwd / "runs" / "phantom" / "cnn").iterdir()
    return folder, answer


@pytest.fixture(scope="session")
def tabled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one small run on a CSV file of cats and dogs with columns of its own, its threshold by Youden."""
    cwd = tmp_path_factory.mktemp("tabled")
    rng = np.random.default_rng(0)
    lines = ["path,label,patient,sex,site,age,fold,prob_dog,"]
    for index in range(120):
        name = ("cat", "dog")[index % 2]
        write_image(cwd / "images" / name / f"{index}.png", 80 + 15 * (index % 2) + int(rng.integers(40)))
        age = "" if index % 10 == 3 else rng.integers(20, 90)
        sex, site = "fm"[index // 2 % 2], "xyz"[index % 3]
        lines.append(f"{name}/{index}.png,{name},p{index},{sex},{site},{age},a,0.9,{index}")
    (cwd / "images" / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ["dataset=table", "dataset.root=images", "dataset.table.group=patient", "dataset.splits.test=0.5"]
    words += ["dataset.resize=letterbox", "evaluation.operating_point=youden", "evaluation.pictures=true", "seed=1"]
    words += ["evaluation.gallery=6", "evaluation.grad_cam=3"]
    answer = train_process(*TINY, *words, "hydra.run.dir=run", cwd=cwd)
    assert answer.code == 0, answer.text
    return cwd / "run"
