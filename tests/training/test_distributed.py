"""Several processes: two of them on the CPU do what one does, and one of them writes it down."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import TINY, Answer, train_process
from helpers.images import write_image
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, roc_auc_score

from medclf.config import distributed
from medclf.config.composition import Composer
from medclf.config.schema import TrainConfig, validate_config
from medclf.data import datamodule
from medclf.data.build_image_table import load_image_table
from medclf.data.dataloader import BalancedSampler
from medclf.data.datamodule import ImageDataModule
from medclf.evaluation.evaluate import evaluate
from medclf.training.finalize import predict_splits
from medclf.training.module import ClassifierModule
from medclf.utils.errors import ConfigError
from medclf.utils.run_folder import is_main_process

TWO = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
SPLITS = {"train": {"cat": 29, "dog": 14}, "val": {"cat": 7, "dog": 4}, "test": {"cat": 8, "dog": 5}}
"""Two processes cannot share validation and test images evenly; a third of the training images are dogs."""
WORDS = [*TINY, "dataset=folder", "dataset.root=images", "dataset.splits.file=images/splits.csv", *TWO]
SPY = '''
import json
from pathlib import Path
from lightning.pytorch.callbacks import Callback

class Spy(Callback):
    """Writes down which images each process sees in each epoch."""

    def __init__(self):
        self.seen = {"train": [], "val": []}

    def on_train_epoch_start(self, trainer, pl_module):
        self.seen["train"].append([])

    def on_validation_epoch_start(self, trainer, pl_module):
        self.seen["val"].append([])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen["train"][-1] += batch.row.tolist()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen["val"][-1] += batch.row.tolist()

    def on_train_end(self, trainer, pl_module):
        Path(f"seen{trainer.global_rank}.json").write_text(json.dumps(self.seen))
'''


def workplace(folder: Path) -> Path:
    """A folder with images, their splits, and a spy."""
    lines = ["path,split"]
    for part, classes in SPLITS.items():
        for position, (name, count) in enumerate(classes.items()):
            for index in range(count):
                write_image(folder / "images" / name / f"{part}{index}.png", 80 + 30 * position)
                lines.append(f"{name}/{part}{index}.png,{part}")
    (folder / "images" / "splits.csv").write_text("\n".join(lines), encoding="utf-8")
    (folder / "spy.py").write_text(SPY, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """The run folder of two processes that Lightning started, a network with BatchNorm, and what they printed."""
    cwd = workplace(tmp_path_factory.mktemp("two"))
    words = ["model=resnet18", "dataset.balanced_sampling=true", "trainer.max_epochs=4"]
    answer = train_process(*WORDS, *words, "+callbacks.spy._target_=spy.Spy", "trust_code=true", cwd=cwd)
    assert answer.code == 0, answer.text
    (run,) = (path.parent for path in cwd.rglob("run.json"))
    return run, answer


@pytest.fixture(scope="module")
def torchrun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run folder of two processes that torchrun started, a frozen backbone, and what they printed."""
    cwd = workplace(tmp_path_factory.mktemp("torchrun"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = ["model.frozen=true", "augmentation=flip", "hydra.run.dir=run"]
    done = subprocess.run(
        [*launcher, "-m", "medclf.train", *WORDS, *words],
        cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return cwd / "run", done.stdout


def seen(run: Path, part: str) -> list[list[list[int]]]:
    """The rows that were seen, by process and epoch."""
    cwd = next(folder for folder in run.parents if (folder / "spy.py").is_file())
    return [json.loads((cwd / f"seen{rank}.json").read_text(encoding="utf-8"))[part] for rank in (0, 1)]


def files(run: Path) -> Counter[str]:
    """The files of a run folder; those of TensorBoard by kind."""
    names = (path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    return Counter("events" if "tfevents" in name else name for name in names)


def config_of(run: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.chdir(next(folder for folder in run.parents if (folder / "images").is_dir()))
    return validate_config(OmegaConf.load(run / "config.yaml"), TrainConfig)


@pytest.mark.parametrize("name", ["two", "torchrun"])
def test_every_image_is_predicted_once(name, request):
    run, _ = request.getfixturevalue(name)
    predictions = pd.read_csv(run / "predictions.csv")
    given = pd.read_csv(run / "splits.csv")
    assert Counter(predictions["path"]) == Counter(given[given["split"] != "train"]["path"])
    counts = predictions.groupby(["split", "true_class"]).size().to_dict()
    assert counts == {(part, name): SPLITS[part][name] for part in ("val", "test") for name in ("cat", "dog")}


@pytest.mark.parametrize("name", ["two", "torchrun"])
def test_probabilities_and_metrics_are_those_of_one_process(name, request, monkeypatch):
    run, _ = request.getfixturevalue(name)
    config = config_of(run, monkeypatch)
    data = ImageDataModule(load_image_table(config.dataset, progress=False), config.dataset, lambda image: image)
    data.setup()
    module = ClassifierModule.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    trainer = lightning.Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    alone, together = predict_splits(trainer, module, data).table, pd.read_csv(run / "predictions.csv")
    assert alone["path"].tolist() == together["path"].tolist()
    np.testing.assert_allclose(alone[["prob_cat", "prob_dog"]], together[["prob_cat", "prob_dog"]], atol=1e-6)
    written = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]
    expected = evaluate(alone, config.evaluation, config.dataset.positive).metrics["test"].overall
    assert len(expected) > 5
    for metric, found in expected.items():
        assert written[metric] == (None if np.isnan(found.value) else pytest.approx(found.value, abs=1e-6)), metric


@pytest.mark.parametrize("name", ["two", "torchrun"])
def test_the_metrics_of_an_epoch_are_of_all_validation_images_once(name, request):
    run, _ = request.getfixturevalue(name)
    predictions = pd.read_csv(run / "predictions.csv").query("split == 'val'")
    truth, dog = (predictions["true_class"] == "dog").astype(int), predictions["prob_dog"]
    epoch = json.loads((run / "checkpoints" / "best.json").read_text(encoding="utf-8"))["epoch"]
    logged = pd.read_csv(run / "history.csv").set_index("epoch").loc[epoch]
    assert logged["val/auroc_macro"] == pytest.approx(roc_auc_score(truth, dog), abs=1e-6)
    assert logged["val/accuracy"] == pytest.approx(accuracy_score(truth, dog > 0.5), abs=1e-6)
    assert logged["val/balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, dog > 0.5), abs=1e-6)
    assert logged["val/loss"] == pytest.approx(log_loss(truth, dog), abs=1e-5)


def test_two_processes_validate_each_image_once_in_each_epoch(two):
    first, second = seen(two[0], "val")
    assert len(first) == 4
    for mine, other in zip(first, second, strict=True):
        assert sorted(mine + other) == list(range(11))
        assert abs(len(mine) - len(other)) == 1


def test_balanced_sampling_over_two_processes_is_the_draw_of_one(two):
    given = pd.read_csv(two[0] / "splits.csv").query("split == 'train'")
    target = torch.tensor((given["class"] == "dog").to_numpy(), dtype=torch.int64)
    first, second = seen(two[0], "train")
    alone = BalancedSampler(target)
    for epoch, (mine, other) in enumerate(zip(first, second, strict=True)):
        alone.set_epoch(epoch)
        assert len(mine) == len(other) == 22
        taken_in_turns = [row for pair in zip(mine, other, strict=True) for row in pair]
        assert taken_in_turns[:43] == list(alone)[:43]
    drawn = target[[row for epoch in (*first, *second) for row in epoch]].double()
    assert 0.4 < drawn.mean() < 0.6  # of 176; a third of the images


@pytest.mark.parametrize(
    ("processes", "batch_size", "last"), [(1, 6, False), (1, 7, True), (2, 7, True), (2, 6, False)]
)
def test_a_last_batch_of_one_image_of_a_process_is_left_out(tmp_path, monkeypatch, processes, batch_size, last):
    """43 images are 7 batches of 6 and one image; for each of two processes 22, which are 3 batches of 7 and one."""
    monkeypatch.chdir(workplace(tmp_path))
    config = validate_config(
        Composer("train").compose([*WORDS, f"dataset.batch_size={batch_size}"]), TrainConfig
    ).dataset
    data = ImageDataModule(load_image_table(config, progress=False), config, lambda image: image)
    data.setup()
    monkeypatch.setattr(datamodule, "_place", lambda: (processes, 0))
    assert data.train_dataloader().drop_last is not (43 % batch_size != 1 if processes == 1 else not last)


@pytest.mark.parametrize("name", ["two", "torchrun"])
def test_one_process_writes(name, request, finished):
    run, _ = request.getfixturevalue(name)
    once = files(finished[0])
    depends = {"checkpoints/previous.ckpt", "report.html", "model_card.md"}  # on the time, and on evaluation=quick
    pictures = {name for name in once if name.startswith("figures/")}
    assert {*files(run)} - depends == {*once} - depends - pictures
    assert files(run)["events"] == once["events"]
    lines = [line for line in (run / "train.log").read_text(encoding="utf-8").splitlines() if line.startswith("[")]
    assert len(set(lines)) == len(lines)
    said = Counter(line.partition("INFO] ")[2] for line in lines)
    assert said["The positive class is dog."] == 1
    assert sum("GLOBAL_RANK" in line for line in lines) == 1


def test_what_is_printed_is_printed_once(two, torchrun):
    for text in (two[1].out, torchrun[1]):
        assert text.count("The positive class is dog.") == 1
        assert text.count("Tested once:") == 1
        assert text.count("GLOBAL_RANK") == 1


def test_torchrun_makes_one_folder(torchrun):
    run, _ = torchrun
    assert [path.parent for path in run.parent.rglob(".hydra")] == [run]
    assert not (run.parent / "runs").exists()
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "finished"


def test_a_frozen_backbones_features_are_computed_once_for_all_processes(torchrun):
    run, out = torchrun
    assert out.count("the features of each image are computed once") == 1
    features = [np.load(path) for path in (run.parent / "data" / "store").glob("features_*.npy")]
    assert sorted(len(values[0]) for values in features) == [11, 13, 43]


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to a console, not to processes")
def test_ctrl_c_and_sigterm_end_both_processes_and_both_go_on(tmp_path):
    run = workplace(tmp_path) / "run"
    words = [*WORDS, "hydra.run.dir=run", "trainer.max_epochs=10000", "callbacks.last_checkpoint.seconds=0"]
    code, out = stopped(words, run, signal.SIGINT)
    assert code == 130, out
    assert out.count("To go on: python -m medclf.train resume=run") == 1
    code, out = stopped(["resume=run"], run, signal.SIGTERM)
    assert code == 143, out
    assert "Restored all states" in out

    done = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"]
    answer = train_process("resume=run", f"trainer.max_epochs={done + 3}", cwd=tmp_path)
    assert answer.code == 0, answer.text
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].tolist() == list(range(done + 3))
    assert [path.parent for path in tmp_path.rglob("run.json")] == [run]
    assert {path.name for path in run.rglob("*.log")} == {"train.log"}
    assert Counter(pd.read_csv(run / "predictions.csv")["split"]) == {"val": 11, "test": 13}


def stopped(words: list[str], run: Path, by: signal.Signals) -> tuple[int, str]:
    """Train until a checkpoint is written, then send the signal; the exit code, and what was printed."""
    last = run / "checkpoints" / "last.ckpt"
    before = last.stat().st_mtime_ns if last.is_file() else 0
    process = subprocess.Popen(
        [sys.executable, "-m", "medclf.train", *words],
        cwd=run.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 200
        while not (last.is_file() and last.stat().st_mtime_ns > before) and time.monotonic() < deadline:
            time.sleep(0.1)
        # Ctrl-C goes to all processes of a terminal, what a cluster or a person kills may be the first alone
        (os.killpg if by is signal.SIGINT else os.kill)(process.pid, by)
        out, _ = process.communicate(timeout=200)
        assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "interrupted"
        assert_gone(process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out


def assert_gone(group: int) -> None:
    """No process of the group is left after a moment."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes of group {group} are left")


@pytest.fixture
def environment(monkeypatch):
    """Sets variables that torchrun or SLURM would set, and none else."""
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID")
    for name in (*names, *(name for name in os.environ if name.startswith("SLURM_"))):
        monkeypatch.delenv(name, raising=False)

    def set_variables(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return set_variables


ELASTIC = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2, "LOCAL_RANK": 0}
SLURM = {"SLURM_JOB_NAME": "train", "SLURM_JOB_ID": 7, "SLURM_NTASKS": 4, "SLURM_NNODES": 2, "SLURM_PROCID": 0}
REFUSED = {
    "spawn": ({"strategy": "ddp_spawn", "devices": 2}, {}, False, "run", ["ddp_spawn", "trainer.strategy=ddp"]),
    "sweep of two": ({"devices": 2}, {}, True, None, ["trainer.devices=2", "trainer.devices=1", "without -m"]),
    "sweep of nodes": ({"devices": 1, "num_nodes": 2}, {}, True, None, ["trainer.num_nodes=1"]),
    "sweep of a list": ({"devices": [0, 1]}, {}, True, None, ["trainer.devices=1"]),
    "sweep of text": ({"devices": "0,1"}, {}, True, None, ["trainer.devices=1"]),
    "sweep of all": ({"devices": "auto"}, {}, True, None, ["as many as there are GPUs", "trainer.devices=1"]),
    "sweep of all by number": ({"devices": -1}, {}, True, None, ["as many as there are GPUs"]),
    "sweep by torchrun": ({"devices": 1}, ELASTIC, True, None, ["-m", "without torchrun"]),
    "one of torchrun's": ({"devices": 1}, ELASTIC, False, "run", ["trainer.devices=2 trainer.num_nodes=2"]),
    "other than torchrun": ({"devices": 4}, ELASTIC, False, "run", ["trainer.devices=2 trainer.num_nodes=2"]),
    "torchrun's folder": ({"devices": 2, "num_nodes": 2}, ELASTIC, False, None, ["output=runs/NAME"]),
    "nodes without a folder": ({"devices": 2, "num_nodes": 2}, {}, False, None, ["output=runs/NAME"]),
    "time in the folder": ({"num_nodes": 2}, {}, False, "runs/${now:%H}", ["output", "without the time"]),
    "token in the folder": ({"num_nodes": 2}, {}, False, "x_${medclf.token:}", ["output", "without the time"]),
    "other than SLURM": ({"devices": 2}, SLURM, False, "run", ["trainer.devices=2 trainer.num_nodes=2", "srun"]),
    "SLURM's folder": ({"devices": 2, "num_nodes": 2}, SLURM, False, None, ["output=runs/job$SLURM_JOB_ID"]),
    "too few of SLURM": (
        {"devices": 2}, {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": 1}, False, "run",
        ["2 processes", "SLURM has started 1", "--ntasks-per-node"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_what_to_do(environment, case):
    trainer, variables, multirun, folder, words = REFUSED[case]
    environment(**variables)
    with pytest.raises(ConfigError) as caught:
        distributed.validate_devices(trainer, multirun, folder)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("trainer", "variables", "multirun", "folder"),
    [
        ({"devices": 1}, {}, True, None),
        ({"devices": "1"}, {}, True, None),
        ({"devices": [1]}, {}, True, None),
        ({"devices": "auto", "accelerator": "cpu"}, {}, True, None),
        ({"devices": 8}, {}, False, None),
        ({"devices": "auto"}, {}, False, None),
        ({"devices": 2, "num_nodes": 2}, ELASTIC, False, "runs/mine"),
        ({"devices": "auto", "num_nodes": 2}, ELASTIC, False, "runs/mine"),
        ({"devices": 2, "num_nodes": 2}, SLURM, False, "runs/mine"),
        ({"devices": 1}, SLURM, True, None),
        ({"devices": 1}, SLURM, False, None),
        ({"devices": 2}, {**SLURM, "SLURM_JOB_NAME": "bash"}, False, None),
    ],
)
def test_what_can_work_is_not_refused(environment, trainer, variables, multirun, folder):
    environment(**variables)
    distributed.validate_devices(trainer, multirun, folder)


@pytest.mark.parametrize(("cores", "most"), [(8, 8), (2, 2), (1, 2), (None, 2)])
def test_more_processes_than_cores_are_refused(monkeypatch, cores, most):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    distributed.validate_cores(most)
    with pytest.raises(ConfigError, match=rf"trainer.devices={most + 1}: .*trainer.devices={most} or less"):
        distributed.validate_cores(most + 1)


def test_more_processes_than_images_are_refused():
    distributed.validate_worker_shares(3, {"train": 40, "val": 3, "test": 5})
    with pytest.raises(ConfigError, match="4 processes cannot share the 3 images of the val split; use 3 or fewer"):
        distributed.validate_worker_shares(4, {"train": 40, "val": 3, "test": 5})


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"RANK": 0, "LOCAL_RANK": 0}, True),
        ({"RANK": 2, "LOCAL_RANK": 0, "GROUP_RANK": 1}, False),  # torchrun, the second machine
        ({"LOCAL_RANK": 1}, False),
        ({"NODE_RANK": 1}, False),
        ({"SLURM_PROCID": 3, "SLURM_LOCALID": 0}, False),
    ],
)
def test_one_process_of_all_machines_is_the_first(environment, variables, main):
    environment(**variables)
    assert is_main_process() is main


def test_devices_that_are_not_there_are_refused_before_an_image_is_read(train, tmp_path):
    answer = train(*WORDS, "trainer.devices=999", f"dataset.root={workplace(tmp_path) / 'images'}")
    assert answer.code == 2
    assert "trainer.devices=999" in answer.err
    assert "set trainer.devices=" in answer.err
    assert not list(tmp_path.rglob("fingerprints.sqlite"))


def test_a_sweep_of_two_processes_each_is_refused_before_a_folder_is_made(train, tmp_path):
    workplace(tmp_path)
    answer = train("-m", *WORDS, "seed=0,1")
    assert answer.code == 2
    assert "a job of a sweep (-m) has one process" in answer.err
    assert not (tmp_path / "runs").exists()
