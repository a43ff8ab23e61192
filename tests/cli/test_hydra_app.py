"""What is wrong is said at once, in one message, before a folder is made and before torch is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import TINY_PHANTOM
from helpers.images import write_classes

WITHOUT_TORCH = """
import runpy, sys
sys.argv = ["train", *sys.argv[1:]]
try:
    runpy.run_module("medclf.train", run_name="__main__", alter_sys=True)
except SystemExit as stop:
    code = stop.code
else:
    code = 0
heavy = {"torch", "lightning", "torchvision", "torchmetrics", "sklearn", "scipy"}
print("IMPORTED", sorted(heavy & set(sys.modules)))
sys.exit(code)
"""

MISTAKES = {
    "dataset": ("dataset=bussi", ["did you mean 'busi'?", "phantom", "hip_mri"]),
    "model": ("model=resnt18", ["did you mean 'resnet18'?", "cnn", "resnet101"]),
    "trainer": ("trainer=ddpp", ["did you mean 'ddp'?"]),
    "experiment": ("experiment=nothing", ["there is no such experiment"]),
    "group": ("modle=cnn", ["modle: there is no such key", "did you mean 'model'?"]),
    "key": ("sed=1", ["sed: there is no such key", "did you mean 'seed'?"]),
    "nested key": ("dataset.batchsize=4", ["did you mean 'dataset.batch_size'?"]),
    "key without its group": ("batch_size=4", ["did you mean 'dataset.batch_size'?"]),
    "trainer key": ("trainer.max_epoch=3", ["trainer.max_epoch", "did you mean 'max_epochs'?"]),
    "added trainer key": ("+trainer.max_epoch=3", ["trainer.max_epoch", "did you mean 'max_epochs'?"]),
    "added key": ("+dataset.rot=x", ["dataset.rot", "did you mean 'root'?"]),
    "type": ("dataset.batch_size=many", ["dataset.batch_size=many", "must be a whole number"]),
    "range": ("dataset.batch_size=0", ["dataset.batch_size=0", "must be at least 1"]),
    "learning rate": ("optimizer.lr=-1", ["optimizer.lr=-1", "must be above 0"]),
    "accelerator": ("trainer.accelerator=gpuu", ["trainer.accelerator=gpuu", "'cpu'"]),
    "negative seed": ("seed=-1", ["seed=-1"]),
    "missing key": ("~seed", ["seed: is missing"]),
    "no root": ("dataset=folder", ["dataset.root: has no value", "dataset.root=VALUE"]),
    "root not there": (
        "dataset=busi",
        ["dataset.root=data/busi", "there is no such folder", "kaggle.com", "benign", "set dataset.root=FOLDER"],
    ),
    "monitor": ("monitor=val/acuracy", ["monitor=val/acuracy", "did you mean 'val/accuracy'?", "val/auroc_macro"]),
    "positive": ("dataset.positive=organ", ["dataset.positive=organ", "organ_present"]),
    "new entry": ("dataset.splits.folders={dev:val}", ["+dataset.splits.folders.NAME=VALUE"]),
    "shares": ("dataset.splits.val=0.9", ["dataset.splits.val=0.9", "no image for training"]),
    "pattern": ("dataset.group_pattern='('", ["dataset.group_pattern=(", "not a regular expression"]),
    "weights": ("model.weights=nowhere.pth", ["model.weights=nowhere.pth", "no such file"]),
    "loss for the other activation": (
        "loss=binary_cross_entropy",
        ["loss=binary_cross_entropy: does not fit model.activation=softmax", "set model.activation=sigmoid"],
    ),
    "activation for the other loss": (
        "model.activation=sigmoid",
        ["loss=cross_entropy: does not fit model.activation=sigmoid", "loss=binary_cross_entropy"],
    ),
    "class weight": (
        "loss.class_weights={organ_presnt: 2}",
        ["loss.class_weights.organ_presnt", "did you mean 'organ_present'?"],
    ),
    "weight of nothing": (
        "loss.class_weights=balanced",
        ["loss.class_weights=balanced: must be none, auto, or a weight above 0"],
    ),
    "unfreezing after the end": ("model.unfreeze_at=25", ["model.unfreeze_at=25", "trainer.max_epochs=25"]),
    "loss": ("loss=crossentropy", ["did you mean 'cross_entropy'?"]),
    "scheduler": ("scheduler=cosin", ["did you mean 'cosine'?"]),
    "head": ("model/head=mpl", ["did you mean 'mlp'?"]),
    "grammar": ("root=a/epoch=1.ckpt", ["root=a/epoch=1.ckpt: cannot be read", "quotes"]),
    "sweep without -m": ("model=cnn,resnet18", ["--multirun"]),
    "resume": ("resume=nowhere", ["resume=nowhere: is not a run folder"]),
    "output": ("ouput=run", ["ouput: there is no such key", "did you mean 'output'?"]),
    "file for a folder": ("output=run.csv", ["output=run.csv: names a folder", "use output=run"]),
    "added output": ("+output=run", ["+output=run: must be output=FOLDER"]),
    "several outputs": ("output=a,b", ["output=a,b: names one folder", "quotes"]),
    "dashes": ("--output=run", ["--output=run: options are typed as key=value: output=run"]),
    "dashes and the last part of a key": ("--batch-size=4", ["key=value: dataset.batch_size=4"]),
    "unknown after dashes": ("--zzz", ["--zzz: options are typed as key=value; --help lists them"]),
    "flag without its value": ("--config-dir", ["--config-dir/-cd: expected one argument"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_named_and_mended(train, tmp_path, mistake):
    argument, expected = MISTAKES[mistake]
    answer = train(argument)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    for words in expected:
        assert words in answer.err
    assert "Traceback" not in answer.text
    assert not any(tmp_path.iterdir()), "a mistake left something behind"


def test_two_mistakes_are_said_together(train):
    answer = train("dataset.batch_size=0", "seed=-1")
    assert "dataset.batch_size=0" in answer.err
    assert "seed=-1" in answer.err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--cfg", "job"], 0),
        (["model=resnt18"], 2),
        (["sed=1"], 2),
        (["dataset.batch_size=0"], 2),
        (["dataset=busi"], 2),
        (["dataset=folder", "dataset.root=images", "dataset.batch_size=1000"], 2),
    ],
)
def test_answers_without_importing_torch(tmp_path, arguments, code):
    write_classes(tmp_path / "images", {"a": 5, "b": 5})
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "IMPORTED []" in done.stdout
    assert done.returncode == code


def test_help_lists_the_choices(train):
    answer = train("--help")
    assert answer.code == 0
    for words in ("dataset:", "phantom", "resnet101", "flip_rotate_autocontrast", "dataset.root=FOLDER", "resume=RUN"):
        assert words in answer.out


def test_wrong_value_of_a_sweep_stops_it_before_its_first_job(train, tmp_path):
    answer = train("-m", "model=cnn,resnt18", "seed=0,1", *TINY_PHANTOM)
    assert answer.code == 2
    assert "did you mean 'resnet18'?" in answer.err
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["hydra.run.dir=used"], ["-m", "seed=0,1", "hydra.sweep.dir=used"]])
def test_used_folder_is_refused(train, tmp_path, arguments):
    used = tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine", encoding="utf-8")
    answer = train(*arguments)
    assert answer.code == 2
    assert "overwrites nothing" in answer.err
    assert [path.name for path in used.iterdir()] == ["notes.txt"]


def test_flags_may_stand_among_the_overrides(train, tmp_path):
    own = tmp_path / "own" / "dataset"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [base]\nname: mine\nroot: nowhere\n", encoding="utf-8")
    answer = train("seed=7", "--config-dir", str(tmp_path / "own"), "dataset=mine", "--cfg", "job", "output=run")
    assert answer.code == 0, answer.err
    assert "seed: 7\n" in answer.out and "name: mine\n" in answer.out


def test_own_config_folder(train, tmp_path):
    own = tmp_path / "own" / "dataset"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("defaults: [base]\nname: mine\nroot: nowhere\n", encoding="utf-8")
    answer = train("--config-dir", str(tmp_path / "own"), "dataset=mine")
    assert "dataset.root=nowhere" in answer.err


def test_run_from_an_installed_wheel(tmp_path):
    """conf/ travels inside the wheel: the configuration is found outside the checkout."""
    checkout = Path(__file__).parents[2]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels, site, elsewhere = tmp_path / "wheels", tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    build = ["wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(wheels), str(checkout)]
    subprocess.run([*pip, *build], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel)], check=True)
    code = "import medclf, sys; sys.exit(not medclf.__file__.startswith(sys.argv[1]))"
    env = {"PYTHONPATH": str(site), "PATH": ""}
    subprocess.run([sys.executable, "-c", code, str(site)], cwd=elsewhere, env=env, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "medclf.train", "--cfg", "job", "dataset=busi", "model=resnet50"],
        cwd=elsewhere, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "name: busi" in done.stdout
    assert "name: resnet50" in done.stdout
    (script,) = (path for path in site.rglob("medclf*") if path.parent.name in ("bin", "Scripts"))
    same = [script, "train", "--cfg", "job", "dataset=busi", "model=resnet50"]
    assert (
        subprocess.run(same, cwd=elsewhere, env=env, capture_output=True, text=True, check=True).stdout == done.stdout
    )
