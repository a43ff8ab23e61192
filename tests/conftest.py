"""Small generated images, and two ways to type a command: in this process (fast) and as a real one."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

# with images of 32 pixels a second thread is only waited for; commands typed for real inherit it
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell starts what runs in the background deaf to Ctrl-C, and the commands that tests type would inherit it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # as nohup leaves it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

from helpers.commands import TINY, TINY_PHANTOM, Answer, train_process
from helpers.images import write_classes, write_image

from medclf.cli import resolvers

resolvers.register_resolvers()


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
    words += ["dataset.resize=letterbox", "evaluation.operating_point=youden", "evaluation.plots=true", "seed=1"]
    words += ["evaluation.gallery=6", "evaluation.grad_cam=3"]
    answer = train_process(*TINY, *words, "hydra.run.dir=run", cwd=cwd)
    assert answer.code == 0, answer.text
    return cwd / "run"
