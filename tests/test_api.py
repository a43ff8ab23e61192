"""The Python API gives what the commands give, and leaves its process as it was."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import TINY_PHANTOM, train_process
from helpers.evaluations import table
from helpers.images import write_image
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import VersionBase
from omegaconf.basecontainer import BaseContainer
from PIL import Image

import medclf
from medclf.config.conf_folder import conf_dir
from medclf.evaluation.summary import read_metrics_frame

WORDS = [*TINY_PHANTOM, "evaluation.plots=true", "evaluation.gallery=0", "evaluation.grad_cam=0"]


def process_state():
    """What a call must leave as it was."""
    known = logging.root.manager.loggerDict.items()
    loggers = [("", logging.root), *((name, one) for name, one in known if isinstance(one, logging.Logger))]
    return {
        "environment": dict(os.environ),
        "arguments": list(sys.argv),
        "folder": Path.cwd(),
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "threads": threading.excepthook,
        "loggers": {name: (one.level, list(one.handlers), list(one.filters), one.propagate) for name, one in loggers},
        "hydra": GlobalHydra.instance().is_initialized(),
        "version": VersionBase.instance().getbase(),
        "resolvers": dict(BaseContainer._resolvers),
    }


@contextmanager
def inside(folder):
    """Work in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield


@contextmanager
def nothing_changes():
    """What other tests have imported and logged counts as being there."""
    import lightning.pytorch  # noqa: F401
    import tensorboard.backend.event_processing.event_accumulator  # noqa: F401

    import medclf.training.run  # noqa: F401

    before = process_state()
    yield
    after = process_state()
    after["loggers"] = {name: after["loggers"][name] for name in before["loggers"]}
    for name in before:
        assert after[name] == before[name], name


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training by the command and in this process."""
    folder = tmp_path_factory.mktemp("api")
    answer = train_process(*WORDS, "hydra.run.dir=typed", cwd=folder)
    assert answer.code == 0, answer.text
    with inside(folder), nothing_changes():
        run = medclf.train_model(WORDS, "called", progress=False)
    return SimpleNamespace(typed=folder / "typed", called=run, folder=folder)


@pytest.fixture(scope="module")
def model(runs):
    return medclf.load_model(runs.called.folder / "checkpoints" / "best.pth", accelerator="cpu")


def files(folder):
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {re.sub(r"events.out.tfevents.*", "events", name) for name in names} - {".lock"}


def test_import_is_instant_and_lists_the_functions():
    code = (
        "import sys, medclf; heavy = {'torch', 'pandas', 'numpy', 'hydra', 'lightning'} & set(sys.modules);"
        "assert not heavy, heavy; assert set(medclf.__all__) <= set(dir(medclf)); print(medclf.train_model.__module__);"
        "assert 'torch' not in sys.modules\n"
        "try: medclf.train_model(['model=resnt18'])\n"
        "except medclf.MedclfError as error: print(error)\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("medclf.api\nmodel=resnt18: there is no such model; did you mean 'resnet18'?")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'train_modle'"):
        _ = medclf.train_modle


def test_a_call_gives_what_the_command_gives(runs):
    called = runs.called.folder
    for name in ("predictions.csv", "metrics.csv", "metrics.json", "splits.csv", "history.csv", "config.yaml"):
        assert (called / name).read_bytes() == (runs.typed / name).read_bytes(), name
    weights = [torch.load(folder / "checkpoints/best.pth", weights_only=True) for folder in (called, runs.typed)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_folder_is_that_of_the_command(runs):
    called = runs.called.folder
    assert files(called) == files(runs.typed)
    assert json.loads((called / "run.json").read_text())["command"] == [*WORDS, "hydra.run.dir=called"]
    for name in ("config.yaml", "overrides.yaml"):
        assert (called / ".hydra" / name).read_text() == (runs.typed / ".hydra" / name).read_text()
    log = (called / "train.log").read_text(encoding="utf-8")
    assert "[medclf.training.finalize][INFO] Results" in log
    assert "Trained 2 epochs" in log


def test_the_results_are_tables(runs):
    run = runs.called
    assert run.metrics.equals(read_metrics_frame(runs.typed / "metrics.csv"))
    found = run.metrics.query("split == 'test' and metric == 'accuracy' and `class` == ''").iloc[0]
    content = json.loads((run.folder / "metrics.json").read_text())["test"]
    assert found["value"] == content["accuracy"]
    assert [found["low"], found["high"]] == content["interval_95"]["accuracy"]
    assert (run.predictions["split"] == "test").sum() == 16
    assert {path.name for path in run.plots} >= {"roc_curve.png", "confusion_matrix_test.png"}
    again = medclf.load_run(str(run.folder))
    assert again.metrics.equals(run.metrics)
    assert again.predictions.equals(run.predictions)


def test_a_file_that_was_changed_is_refused(runs, tmp_path):
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(runs.called.folder, folder)
    (folder / "metrics.csv").write_text((folder / "metrics.csv").read_text().replace("accuracy", "acuracy"))
    with pytest.raises(medclf.MedclfError, match=r"metrics.csv: is not the file that the run wrote"):
        medclf.load_run(folder)


def test_ctrl_c_is_passed_on_and_the_run_resumes(runs, monkeypatch):
    from medclf.training.progress_bar import EpochProgress

    def interrupt(self, trainer, module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    words = [word for word in WORDS if "progress_bar" not in word]
    with inside(runs.folder), nothing_changes():
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(EpochProgress, "on_validation_end", interrupt)
            medclf.train_model(words, "stopped")
        assert json.loads(Path("stopped/run.json").read_text())["status"] == "interrupted"
        with pytest.raises(medclf.MedclfError, match=r"has not finished \(interrupted\)"):
            medclf.load_run("stopped")
        run = medclf.train_model(["resume=stopped"], progress=False)
    assert (run.folder / "predictions.csv").read_bytes() == (runs.typed / "predictions.csv").read_bytes()


REFUSED = {
    "one text": ("model=cnn", {}, "overrides=model=cnn: is a single text; pass a list: ['model=cnn']"),
    "no text": ([1], {}, "overrides: 1 is int; pass text"),
    "folder": (["hydra.run.dir=x"], {}, "hydra.run.dir=x: has no meaning in a call from Python; leave it out; output="),
    "launcher": (["launcher=joblib"], {}, "launcher=joblib: has no meaning"),
    "sweep": (["seed=0,1"], {}, "seed=0,1: has several values; pass one"),
    "processes": (["trainer=cpu", "trainer.devices=2"], {}, "trainer.devices=2: a call from Python trains in its own"),
    "trial": (["trainer.fast_dev_run=true"], {}, "trainer.fast_dev_run=true: keeps no results to return"),
    "used": ([], {"output": "images"}, "output=images: already holds something"),
    "resume": (["resume=nowhere"], {}, "resume=nowhere: is not a run folder"),
    "resume elsewhere": (["resume=images"], {"output": "new"}, "output=new: a run is resumed in its own folder"),
    "code": (["+callbacks.own._target_=os.system"], {}, "trust_code=true"),
    "no path": ([], {"output": 3}, "output=3: must be a path"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(case, two_classes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides, options, message = REFUSED[case]
    with nothing_changes(), pytest.raises(medclf.MedclfError) as error:
        medclf.train_model(overrides, **options)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_files_images_and_arrays_are_predicted_alike(runs, model):
    paths = [next(runs.folder.glob(f"data/phantom/*/{path}")) for path in runs.called.predictions["path"][:3]]
    opened = [Image.open(path) for path in paths]
    random_state = torch.get_rng_state()
    # three batches of the same images, since rounding depends on the size of a batch
    found = model.predict([*map(str, paths), *opened, *map(np.array, opened)], batch_size=3)
    assert torch.equal(torch.get_rng_state(), random_state)
    numbers = found.filter(like="prob_").to_numpy()
    assert (numbers[:3] == numbers[3:6]).all()
    assert (numbers[:3] == numbers[6:]).all()
    assert len({*numbers[:, 0]}) == 3
    assert np.allclose(numbers.sum(1), 1)
    assert list(found["path"]) == [*map(str, paths), *[""] * 6]
    assert list(found["predicted_class"][:3]) == list(runs.called.predictions["predicted_class"][:3])
    assert found.columns[-3:].tolist() == ["distance", "flag", "reason"]


def test_a_path_gives_the_row_of_the_command(runs, command, tmp_path):
    from medclf.predict import main

    write_image(tmp_path / "new" / "a.png", 90)
    (tmp_path / "new" / "b.png").write_bytes(b"")
    answer = command(main, f"run={runs.called.folder}", "input=new", "output=out", "accelerator=cpu")
    assert answer.code == 0, answer.text
    typed = pd.read_csv("out/predictions.csv", keep_default_na=False)
    found = runs.called.load_model(accelerator="cpu").predict([Path("new/a.png"), "new/b.png"])
    numbers = [name for name in found if name.startswith("prob_") or name == "distance"]
    assert list(found.columns) == list(typed.columns)
    assert found.drop(columns=["path", *numbers]).equals(typed.drop(columns=["path", *numbers]).astype("str"))
    assert found.loc[0, numbers].tolist() == [float(value) for value in typed.loc[0, numbers]]
    assert found.loc[1, numbers].isna().all()
    assert found.loc[1, "flag"] == "unreadable"
    assert "empty" in found.loc[1, "reason"]


def test_one_image_and_none(model):
    assert len(model.predict(np.zeros((40, 30), np.uint8))) == 1
    nothing = model.predict([])
    assert nothing.empty
    assert "prob_organ_present" in nothing


def test_pillow_images_are_read_as_files_are(runs, model, tmp_path):
    """Turned as their EXIF says, and 16 bits scaled."""
    pixels = np.random.default_rng(0).integers(0, 200, (40, 30), dtype=np.uint8)
    turned, deep = Image.fromarray(pixels), Image.fromarray(pixels.astype(np.uint16) * 300)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    deep.save(tmp_path / "deep.png")
    for name in ("turned.png", "deep.png"):
        with Image.open(tmp_path / name) as image:
            found = model.predict([tmp_path / name, image], batch_size=1)
        assert found.loc[0, "prob_organ_present"] == found.loc[1, "prob_organ_present"], name


def test_a_damaged_pillow_image_is_a_row_with_a_reason(model, tmp_path):
    write_image(tmp_path / "whole.png", 90)
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with Image.open(tmp_path / "cut.png") as image:
        row = model.predict(image).loc[0]
    assert row["flag"] == "unreadable"
    assert row["reason"]
    assert np.isnan(row["prob_organ_present"])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8)), "images[0]: is an array of float64 and shape (8, 8); pass uint8 values"),
        (np.zeros((8, 8, 4), np.uint8), "images[0]: is an array of uint8 and shape (8, 8, 4)"),
        (np.zeros((2, 8, 8, 3), np.uint8), "several images as a list"),
        (np.zeros((0, 8), np.uint8), "shape (0, 8)"),
        (torch.zeros(8, 8, dtype=torch.uint8), "images[0]: is Tensor; pass a path"),
        (["a.png", None], "images[1]: is NoneType; pass a path"),
        ([b"a.png"], "images[0]: is bytes"),
        (3, "images[0]: is int"),
    ],
)
def test_what_is_not_an_image_is_refused(model, image, message):
    with pytest.raises(medclf.MedclfError) as error:
        model.predict([image] if isinstance(image, torch.Tensor) else image)
    assert message in str(error.value)


def test_models_that_are_not_there_are_refused(runs, tmp_path):
    for path, message in ((tmp_path / "no.pth", "no such file"), (tmp_path, "is not a run folder")):
        with pytest.raises(medclf.MedclfError, match=message):
            medclf.load_model(path)
    with pytest.raises(medclf.MedclfError, match="tta"):
        medclf.load_model(runs.called.folder, tta="rotate")
    with pytest.raises(medclf.MedclfError, match="batch_size"):
        runs.called.load_model().predict([], batch_size=0)


def test_a_table_in_memory_is_evaluated_as_its_file(command, tmp_path):
    from medclf.evaluate import main

    frame = table(["cat", "dog"], 60, age=np.where(np.arange(60) % 7 == 0, np.nan, np.arange(60) + 20.0))
    frame["prob_cat"] = frame["prob_cat"].astype(np.float32)
    frame.index = range(100, 160)
    frame.to_csv(tmp_path / "table.csv", index=False)
    words = ["evaluation.resamples=100", "evaluation.operating_point=youden", "positive=cat"]
    answer = command(main, "predictions=table.csv", *words, "evaluation.plots=false", "hydra.run.dir=out")
    assert answer.code == 0, answer.text
    with nothing_changes():
        found = medclf.evaluate_predictions(frame, words)
    assert found.equals(read_metrics_frame(Path("out/metrics.csv")))
    assert set(found["split"]) == {"val", "test"}


def test_classes_may_be_numbers():
    rng = np.random.default_rng(0)
    share = rng.random(40)
    frame = pd.DataFrame(
        {"path": range(40), "true_class": rng.integers(0, 2, 40), "prob_0": share, "prob_1": 1 - share}
    )
    found = medclf.evaluate_predictions(frame, ["evaluation.resamples=100"])
    assert set(found["class"]) >= {"0", "1"}


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda frame: frame.drop(columns="true_class"), [], "predictions: has no column 'true_class'"),
        (lambda frame: frame.assign(prob_cat=2.0), [], "a probability below 0 or above 1"),
        (lambda frame: frame.assign(true_class=None), [], "true_class"),
        (lambda frame: pd.concat([frame, frame["path"]], axis=1), [], "a column occurs more than once"),
        (lambda frame: frame.to_dict(), [], "is dict; pass a pandas DataFrame"),
        (lambda frame: frame, ["run=x"], "run=x: has no meaning in a call from Python"),
        (lambda frame: frame, ["positive=cow"], "positive=cow"),
        (lambda frame: frame, ["evaluation.subgroups=[sex]"], "sex"),
    ],
)
def test_a_wrong_table_is_refused(change, words, message):
    with pytest.raises(medclf.MedclfError, match=re.escape(message)):
        medclf.evaluate_predictions(change(table(["cat", "dog"], 20)), words)


def test_an_audit_finds_what_the_command_finds(command, two_classes):
    from medclf.audit import main

    (two_classes / "cat" / "broken.png").write_bytes(b"broken")
    answer = command(main, "dataset=folder", "dataset.root=images", "hydra.run.dir=out")
    assert answer.code == 0, answer.text
    before = {*Path().rglob("*")}
    with nothing_changes():
        audit = medclf.audit_dataset(two_classes, ["dataset.store=cached"], progress=False)
    assert {path.parts[0] for path in {*Path().rglob("*")} - before} == {"cached"}
    text = Path("out/audit.txt").read_text(encoding="utf-8")
    assert all(f"- {line}" in text for line in audit.findings)
    assert any("broken.png" in line for line in audit.findings)
    assert len(audit.images) == len(pd.read_csv("out/images.csv")) == 50
    assert audit.counts.loc["cat"].sum() == 30


@pytest.mark.parametrize(
    ("root", "words", "message"),
    [
        ("nowhere", [], "dataset.root=nowhere: there is no such folder"),
        ("images", ["dataset.root=x"], "pass the folder as root"),
        ("images", ["dataset=bussi"], "did you mean 'busi'?"),
        ("", [], "must be a path"),
    ],
)
def test_an_audit_of_nothing_is_refused(two_classes, tmp_path, monkeypatch, root, words, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(medclf.MedclfError, match=re.escape(message)):
        medclf.audit_dataset(root, words)


def test_a_program_of_hydra_keeps_its_state():
    frame = table(["cat", "dog"], 20)
    with initialize_config_dir(str(conf_dir()), version_base="1.2"):
        mine, version = GlobalHydra.instance(), VersionBase.instance().getbase()
        medclf.evaluate_predictions(frame, ["evaluation.resamples=100"])
        assert GlobalHydra.instance() is mine
        assert mine.is_initialized()
        assert VersionBase.instance().getbase() == version
