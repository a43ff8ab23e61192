"""Every command of the guide, typed in order. Only what makes it quick is added: small images, few epochs."""

import importlib
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from helpers.commands import TINY, train_process
from helpers.images import write_classes, write_image

import medclf

GUIDE = Path(medclf.__file__).parent / "guide"
PAGES = sorted(path.stem for path in GUIDE.glob("*.md") if "```bash" in path.read_text(encoding="utf-8"))
BLOCK = re.compile(r"(?:^`(?P<file>[\w./]+)`:\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
QUICK = {
    "train": [*TINY, "dataset.splits.val=0.25", "trainer.max_epochs=1"],
    "evaluate": ["evaluation.resamples=100", "evaluation.plots=false"],
    "audit": [],
    "cascade": [],
}
NEEDS = {
    "studies_and_clusters": ("first", "other"),
    "using_the_model": ("first", "other"),
    "reading_the_report": ("first",),
}
"""Runs that a page takes for done."""


def images(folder: Path) -> None:
    """What the reader has: images of two clinics, new ones, chest X-rays, tables, weights."""
    write_classes(folder / "images", {"benign": 24, "malignant": 24}, "patient{index:02d}_1.png")
    write_classes(folder / "elsewhere", {"benign": 6, "cancer": 6}, "other{index}.png")
    write_classes(folder / "chest", {"normal": 24, "covid": 24, "pneumonia": 24}, "chest{index}.png")
    for index in range(3):
        write_image(folder / "new" / f"image {index}.png", 90)
    lines = ["file,finding,patient,sex"]
    for label in ("benign", "malignant"):
        lines += [f"images/{label}/patient{at:02d}_1.png,{label},{label}{at},{'fm'[at % 2]}" for at in range(1, 25)]
    (folder / "clinic.csv").write_text("\n".join(lines), encoding="utf-8")
    rows = [f"{at}.png,{'ab'[at % 2]},{at / 20},{1 - at / 20}" for at in range(20)]
    torch.save(torchvision.models.resnet18().state_dict(), folder / "resnet18.pth")
    (folder / "theirs.csv").write_text("\n".join(["path,true_class,prob_a,prob_b", *rows]), encoding="utf-8")


def blocks(page: str) -> list[tuple[str | None, str, str]]:
    text = (GUIDE / f"{page}.md").read_text(encoding="utf-8")
    return [(found["file"], found["kind"], found["text"]) for found in BLOCK.finditer(text)]


def quick(words: list[str]) -> list[str]:
    """The same command on little."""
    name = words[2].removeprefix("medclf.")
    typed = words[3:]
    added = [word for word in QUICK.get(name, []) if word.partition("=")[0] not in {w.partition("=")[0] for w in typed}]
    if "launcher=slurm" in typed:  # there is no cluster here: its first job must compose
        return [*(word.partition(",")[0] for word in typed if word != "-m"), *added, "--cfg", "job"]
    return [*typed, *added]


def open_and_end(words: list[str]) -> None:
    """A page is served until Ctrl-C."""
    command = [sys.executable, *words[1:], "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        assert page.stdout.readline().startswith("http://127.0.0.1:")
        page.send_signal(signal.SIGINT)
        page.communicate(timeout=200)
    assert page.returncode == 130


def test_the_python_api_works_as_the_guide_says(tmp_path, monkeypatch, capsys):
    from medclf import api

    images(tmp_path)
    monkeypatch.chdir(tmp_path)
    train = api.train_model
    monkeypatch.setattr(api, "train_model", lambda words, output=None: train([*words, *QUICK["train"]], output))
    names: dict[str, object] = {}
    parts = [text for _, kind, text in blocks("python_api") if kind == "python"]
    assert len(parts) == 6
    for text in parts:
        exec(compile(text, "python_api.md", "exec"), names)
    assert "did you mean 'resnet18'?" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_guide_works(page, command, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    images(tmp_path)
    train = importlib.import_module("medclf.train").main
    for seed, name in enumerate(NEEDS.get(page, ())):
        words = ["dataset=folder", "dataset.root=images", "model=cnn", f"seed={seed}", f"hydra.run.dir=runs/{name}"]
        answer = command(train, *quick(["", "", "medclf.train", *words]))
        assert answer.code == 0, answer.text
    for file, kind, text in blocks(page):
        if file:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text, encoding="utf-8")
        for line in text.splitlines() if kind == "bash" else ():
            words = shlex.split(line)
            assert words[:2] == ["python", "-m"], line
            if words[2] == "medclf.demo":
                open_and_end(words)
                continue
            if {"trainer=ddp", "launcher=submitit_local"} & {*words}:  # which start this process anew
                answer = train_process(*quick(words), cwd=tmp_path)
            else:
                answer = command(importlib.import_module(words[2]).main, *quick(words))
            assert answer.code == 0, f"{line}\n{answer.text}"
