"""A prediction that was killed, interrupted or given no room goes on; one of another kind is refused."""

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from helpers.prediction_inputs import NAMES, table_of, write_odd

from medclf.inference.inputs import find_inputs
from medclf.inference.output import PredictionRows
from medclf.inference.predictor import Predictor
from medclf.inference.resume_stamps import FileStamps, stamp_file
from medclf.predict import main

MANY = (*NAMES, *(f"more/{index}.png" for index in range(4)))


@pytest.fixture
def predict(command, finished, tmp_path):
    write_odd(tmp_path / "images", MANY)
    (tmp_path / "images" / "c_broken.png").touch()
    return partial(command, main, f"run={finished[0]}", "input=images", "batch_size=2")


def same(one, other):
    """Whether two tables tell the same; numbers may differ as much as other batches make them."""
    one, other = table_of(Path(one)), table_of(Path(other))
    numbers = [name for name in one if name.startswith("prob_") or name == "distance"]
    assert one.drop(columns=numbers).equals(other.drop(columns=numbers))
    read = one["flag"] != "unreadable"
    assert (one.loc[~read, numbers] == "").all(axis=None)
    return np.allclose(one.loc[read, numbers].astype(float), other.loc[read, numbers].astype(float), atol=1e-6)


def broken_off(whole, folder, size):
    """The folder of a prediction that was killed when so many bytes of its table were written."""
    shutil.copytree(whole, folder)
    content = (folder / "predictions.csv").read_bytes()
    (folder / "predictions.csv").unlink()
    (folder / "predictions.partial.csv").write_bytes(content[:size])
    record = json.loads((folder / "prediction.json").read_text())
    (folder / "prediction.json").write_text(json.dumps({**record, "status": "running"}))
    images = find_inputs("images")
    stamps = [stamp_file(images, row) for row in range(len(images))]
    (folder / "predictions.partial.stamps").write_text("".join(f"{one}\n" for one in stamps))
    return content


def test_goes_on_wherever_it_was_killed(predict, monkeypatch):
    assert predict("output=whole").code == 0
    size = Path("whole/predictions.csv").stat().st_size
    calls = []
    predicted = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, images: calls.append(len(images)) or predicted(self, images))
    drawn = np.random.default_rng(0).integers(1, size, 8)
    for cut in (0, 5, size - 1, size, *drawn):
        calls.clear()
        content = broken_off(Path("whole"), Path(f"cut{cut}"), cut)
        answer = predict(f"output=cut{cut}")
        assert answer.code == 0, answer.text
        assert same("whole", f"cut{cut}")
        assert {path.name for path in Path(f"cut{cut}").iterdir()} == {path.name for path in Path("whole").iterdir()}
        if cut == size:
            assert not calls
            assert (Path(f"cut{cut}") / "predictions.csv").read_bytes() == content
        counts = json.loads((Path(f"cut{cut}") / "prediction.json").read_text())["counts"]
        assert counts == json.loads(Path("whole/prediction.json").read_text())["counts"]


def test_an_image_that_was_replaced_is_predicted_again_and_those_before_it_are_not(tmp_path):
    write_odd(tmp_path, ("a.png", "b.png", "c.png"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.png")
    (tmp_path / "one").mkdir()
    for typed, replaced in (("one", tmp_path / "one" / "b.png"), ("all.zip", None)):
        if replaced is not None:
            for name in "abc":
                shutil.copy(tmp_path / f"{name}.png", tmp_path / "one")
        images = find_inputs(str(tmp_path / typed))
        stamps = FileStamps(tmp_path / f"{typed}.stamps")
        stamps.add([stamp_file(images, row) for row in range(len(images))])
        assert stamps.unchanged(images) == len(images)
        if replaced is not None:
            before = replaced.stat()
            replaced.write_bytes(bytes(before.st_size))  # as large, and as old by the time that can be set
            os.utime(replaced, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert stamps.unchanged(images) == 1
            replaced.unlink()
            assert stamps.unchanged(images) == 1


def test_a_prediction_that_goes_on_predicts_replaced_images_again(predict, tmp_path, caplog):
    assert predict("output=whole").code == 0
    size = Path("whole/predictions.csv").stat().st_size
    broken_off(Path("whole"), Path("again"), size)
    shutil.copy(tmp_path / "images" / MANY[0], tmp_path / "images" / MANY[-1])
    answer = predict("output=again")
    assert answer.code == 0, answer.text
    assert f"{MANY[-1]} has changed since" in caplog.text
    assert predict("output=fresh").code == 0
    assert same("again", "fresh") and not same("again", "whole")


def test_killed(predict, finished, tmp_path):
    assert predict("output=whole").code == 0
    code = (
        "import os, signal; from medclf import predict; from medclf.inference.predictor import Predictor\n"
        "calls, own = [], Predictor.predict\n"
        "def killed(self, images):\n"
        "    calls.append(len(images))\n"
        "    return os.kill(os.getpid(), signal.SIGKILL) if len(calls) > 3 else own(self, images)\n"
        "Predictor.predict = killed\n"
        "predict.main()"
    )
    words = [f"run={finished[0]}", "input=images", "output=killed", "batch_size=2"]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not Path("killed/predictions.csv").exists()
    assert Path("killed/predictions.partial.csv").read_text(encoding="utf-8").count(",unreadable,") == 1
    assert len(table_of(Path("killed"), "predictions.partial.csv")) == 6
    assert predict("output=killed").code == 0
    assert same("whole", "killed")


def test_interrupted(predict, command, monkeypatch):
    assert predict("output=whole").code == 0
    predicted, calls = Predictor.predict, []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predicted(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "predict", interrupted)
        answer = predict("output=stopped here")
    assert answer.code == 130
    said = next(line for line in answer.err.splitlines() if line.startswith("interrupted after"))
    assert said.startswith(f"interrupted after 4 of {len(MANY) + 1} images; to go on: python -m medclf.predict ")
    assert "Traceback" not in answer.err
    assert json.loads(Path("stopped here/prediction.json").read_text())["status"] == "interrupted"
    words = shlex.split(said.partition("medclf.predict ")[2])
    assert command(main, *words).code == 0
    assert same("whole", "stopped here")


def test_no_room(predict, monkeypatch):
    assert predict("output=whole").code == 0
    written, calls = PredictionRows.add, []

    def full(self, rows):
        calls.append(rows)
        if len(calls) == 3:  # the first one is the header
            raise OSError(errno.ENOSPC, "No space left on device")
        written(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(PredictionRows, "add", full)
        answer = predict("output=out")
    assert answer.code == 2
    assert "error: output=out: cannot be written: no space left; free some, then rerun" in answer.err
    assert predict("output=out").code == 0
    assert same("whole", "out")


def test_another_prediction_is_refused(predict, command, finished, tmp_path):
    assert predict("output=whole").code == 0
    broken_off(Path("whole"), Path("out"), 300)
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    model = tmp_path / "model"
    shutil.copytree(finished[0] / "checkpoints", model)
    facts = json.loads((model / "best.json").read_text())
    (model / "best.json").write_text(json.dumps({**facts, "temperature": 2.0}))
    others = [
        (["input=images", f"model={model}/best.pth"], "best_json_sha256 was "),
        (["input=images/more", f"run={finished[0]}"], "images was 10, and is 4"),
        (["input=images", f"run={finished[0]}", "tta=flip"], "tta was none, and is flip"),
        (["input=images", f"run={finished[0]}", "precision=bf16-mixed"], "precision was 32-true, and is bf16-mixed"),
    ]
    for words, said in others:
        answer = command(main, "output=out", *words)
        assert answer.code == 2
        assert said in answer.err
        assert answer.err.startswith("error: output=out: the prediction there was begun otherwise: ")
        assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    (tmp_path / "images" / "c_broken.png").rename(tmp_path / "images" / "d.png")
    assert "paths_sha256 was" in predict("output=out").err
    answer = predict("output=whole")
    assert answer.code == 2
    assert answer.err == "error: output=whole: holds a prediction that is finished; name another folder\n"


def test_two_at_once(predict):
    assert predict("output=whole").code == 0
    broken_off(Path("whole"), Path("out"), 300)
    with FileLock("out/.lock"):
        answer = predict("output=out")
    assert answer.code == 2
    assert "another process is at work there" in answer.err
