"""What can be chosen of training, typed as a user would: it does what its name says."""

import json
import signal
from typing import ClassVar

import pytest
import torch
from helpers.commands import TINY_PHANTOM, train_process
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torchvision.models import resnet18


def finished_run(train, *arguments, name="run"):
    answer = train(*TINY_PHANTOM, *arguments, f"hydra.run.dir={name}")
    assert answer.code == 0, answer.text
    return answer


def checkpoint(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def curve(folder, tag):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["scheduler=cosine", "loss=focal", "loss.class_weights=auto", "trainer.gradient_clip_val=1"],
        ["scheduler=one_cycle", "loss.label_smoothing=0.1", "augmentation.mixup=0.2", "augmentation.cutmix=1"],
        ["scheduler=plateau", "loss.class_weights={organ_present: 3}", "dataset.balanced_sampling=true"],
        ["model.activation=sigmoid", "loss=binary_cross_entropy", "model/head=mlp", "model.head.hidden=[8,4]"],
        [
            "model=cnn_elu",
            "trainer.precision=bf16-mixed",
            "trainer.accumulate_grad_batches=2",
            "model.head.normalize=true",
        ],
        ["optimizer._target_=torch.optim.Adagrad", "scheduler=one_cycle"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_options_together(train, tmp_path, arguments):
    finished_run(train, *arguments)
    assert metrics(tmp_path / "run")["test"]["n"] == 16
    assert checkpoint(tmp_path / "run")["epoch"] == 1


def test_the_learning_rate_is_shown_and_follows_its_schedule(train, tmp_path):
    finished_run(train, "scheduler=cosine", "trainer.max_epochs=4", "model.backbone_lr_scale=0.5")
    head, backbone = (curve(tmp_path / "run", f"lr-AdamW/{name}") for name in ("head", "backbone"))
    assert head[-1] < 0.1 * max(head)
    assert backbone == pytest.approx([rate / 2 for rate in head])


def test_class_weights_change_the_loss_as_they_say(train, tmp_path):
    finished_run(train, "trainer.max_epochs=1", "optimizer.lr=1e-9", name="plain")
    finished_run(
        train, "trainer.max_epochs=1", "optimizer.lr=1e-9", "loss.class_weights={organ_absent: 3}", name="weighted"
    )
    rows = [line.split(",") for line in (tmp_path / "plain/predictions.csv").read_text(encoding="utf-8").splitlines()]
    val = [dict(zip(rows[0], row, strict=True)) for row in rows[1:] if row[rows[0].index("split")] == "val"]
    assert len(val) == 6
    losses = {"plain": [], "weighted": []}
    for row in val:
        nll = -torch.tensor(float(row[f"prob_{row['true_class']}"])).log().item()
        losses["plain"].append((nll, 1))
        losses["weighted"].append((nll, 3 if row["true_class"] == "organ_absent" else 1))
    for name, terms in losses.items():
        expected = sum(nll * weight for nll, weight in terms) / sum(weight for _, weight in terms)
        assert curve(tmp_path / name, "val/loss")[0] == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A state dict of ResNet-18 as torchvision saves it, with BatchNorm statistics that are not those of a new one."""
    torch.manual_seed(0)
    network = resnet18(num_classes=1000)
    network(torch.randn(4, 3, 64, 64))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(network.state_dict(), path)
    return path


def moved(before, after):
    return sorted(name for name in before if not name.startswith("fc.") and not torch.equal(before[name], after[name]))


def test_frozen_backbone_is_bit_identical_after_training(train, tmp_path, weights):
    answer = finished_run(train, "model=resnet18", "model.frozen=true", f"model.weights='{weights}'", "callbacks=ema")
    assert "the head starts anew" in answer.out
    before = torch.load(weights, weights_only=True)
    after = torch.load(tmp_path / "run/checkpoints/best.pth", weights_only=True)
    assert moved(before, after) == []
    last = checkpoint(tmp_path / "run")
    prefix = "network.backbone.network."
    now = {name.removeprefix(prefix): value for name, value in last["current_model_state"].items() if prefix in name}
    assert len(now) == 120
    assert moved({name: before[name] for name in now}, now) == []
    (group,) = last["optimizer_states"][0]["param_groups"]
    assert (group["name"], len(group["params"])) == ("head", 2)


def backbone_of(content):
    state = {name.removeprefix("network."): value for name, value in content["state_dict"].items()}
    return {name: value for name, value in state.items() if name.startswith("backbone.")}


class InterruptInEpoch(Callback):
    """Ctrl-C after the first batch of an epoch, the first time; in epoch -1: before any training."""

    done = False

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_fit_start(self, *_: object) -> None:
        if self.epoch < 0 and not InterruptInEpoch.done:
            InterruptInEpoch.done = True
            raise KeyboardInterrupt

    def on_train_batch_end(self, trainer, *_: object) -> None:
        if trainer.current_epoch == self.epoch and not InterruptInEpoch.done:
            InterruptInEpoch.done = True
            raise KeyboardInterrupt


def interrupted(train, epoch, *words):
    InterruptInEpoch.done = False
    before = signal.getsignal(signal.SIGINT)
    try:
        stop = f"+callbacks.stop={{_target_: {__name__}.InterruptInEpoch, epoch: {epoch}}}"
        assert train(*TINY_PHANTOM, *words, stop, "trust_code=true", "hydra.run.dir=run").code == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_was_stopped_before_its_first_step_begins_again(train, tmp_path):
    interrupted(train, -1)
    answer = train("resume=run", "trust_code=true")
    assert answer.code == 0, answer.text
    assert "Nothing was trained in run yet" in answer.out
    assert metrics(tmp_path / "run")["test"]["n"] == 16


@pytest.mark.parametrize("argument", ["model.unfreeze_at=1", "tune.lr=true"])
def test_what_several_processes_cannot_do_is_refused(train, argument):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    answer = train(*(item for item in TINY_PHANTOM if item != "trainer=cpu"), *two, argument)
    assert answer.code == 2
    assert argument.split(".")[0] in answer.err
    assert "trainer.devices=1" in answer.err


def test_backbone_learns_from_its_epoch_on_also_after_a_resume(train, tmp_path, finished):
    weights = finished[0] / "checkpoints/best.pth"
    each = "callbacks.last_checkpoint.seconds=0"
    interrupted(train, 2, "model.unfreeze_at=2", f"model.weights='{weights}'", "trainer.max_epochs=4", each)
    assert checkpoint(tmp_path / "run")["epoch"] == 2
    published, at_two = torch.load(weights, weights_only=True), backbone_of(checkpoint(tmp_path / "run"))
    assert len(at_two) == 6
    assert moved(at_two, published) == []
    answer = train("resume=run", "trust_code=true")
    assert answer.code == 0, answer.text
    assert "Epoch 2: the backbone learns too" in answer.out
    last = checkpoint(tmp_path / "run")
    assert len(moved(at_two, backbone_of(last))) == 6
    head, backbone = last["optimizer_states"][0]["param_groups"]
    assert backbone["lr"] == pytest.approx(0.1 * head["lr"])


def test_averaged_weights_are_what_is_validated_saved_and_tested(train, tmp_path):
    finished_run(train, "callbacks=ema", "callbacks.weight_averaging.decay=0.9", "monitor=val/loss")
    best = checkpoint(tmp_path / "run", "best.ckpt")
    name = "network.head.weight"
    assert not torch.equal(best["state_dict"][name], best["current_model_state"][name])
    shipped = torch.load(tmp_path / "run/checkpoints/best.pth", weights_only=True)
    assert torch.equal(shipped["head.weight"], best["state_dict"][name])
    rows = [line.split(",") for line in (tmp_path / "run/predictions.csv").read_text(encoding="utf-8").splitlines()]
    val = [dict(zip(rows[0], row, strict=True)) for row in rows[1:] if row[rows[0].index("split")] == "val"]
    loss = sum(-torch.tensor(float(row[f"prob_{row['true_class']}"])).log().item() for row in val) / len(val)
    assert metrics(tmp_path / "run")["monitor_value"] == pytest.approx(loss, rel=1e-4)


class KeepWeights(Callback):
    """The head's weights after each epoch's training."""

    kept: ClassVar[list[torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, *_: object) -> None:
        if trainer.is_last_batch:
            KeepWeights.kept.append(pl_module.network.head.weight.detach().clone())


def test_swa_is_the_mean_of_the_last_epochs(train, tmp_path):
    KeepWeights.kept.clear()
    keep = f"+callbacks.keep._target_={__name__}.KeepWeights"
    finished_run(
        train, "callbacks=swa", "callbacks.weight_averaging.start=0.5", "trainer.max_epochs=4", keep, "trust_code=true"
    )
    assert len(KeepWeights.kept) == 4
    mean = torch.stack(KeepWeights.kept[2:]).mean(0)
    last = checkpoint(tmp_path / "run")
    torch.testing.assert_close(last["state_dict"]["network.head.weight"], mean)
    torch.testing.assert_close(last["current_model_state"]["network.head.weight"], KeepWeights.kept[3])


def test_what_the_tuner_finds_is_as_if_it_had_been_typed(train, tmp_path):
    tune = ["tune.lr=true", "tune.batch_size=true", "tune.max_batch_size=4"]
    answer = finished_run(train, *tune, name="tuned")
    found = OmegaConf.load(tmp_path / "tuned/config.yaml")
    assert found.dataset.batch_size == 4
    assert found.optimizer.lr != 0.001
    assert f"optimizer.lr={found.optimizer.lr:.3g}" in answer.out
    assert (tmp_path / "tuned/figures/learning_rate_search.png").is_file()
    finished_run(train, "dataset.batch_size=4", f"optimizer.lr={found.optimizer.lr!r}", name="typed")
    first, second = (checkpoint(tmp_path / name)["state_dict"] for name in ("tuned", "typed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_of_ones_own(tmp_path):
    (tmp_path / "my_networks.py").write_text(
        "from torch import nn\n\n\n"
        "class Mine(nn.Sequential):\n"
        "    def __init__(self, in_channels: int, width: int) -> None:\n"
        "        super().__init__(nn.Conv2d(in_channels, width, 3), nn.ReLU())\n",
        encoding="utf-8",
    )
    words = ["model=custom", "model.backbone._target_=my_networks.Mine", "+model.backbone.width=5", "model/head=mlp"]
    answer = train_process(*TINY_PHANTOM, *words, "trust_code=true", "hydra.run.dir=run", cwd=tmp_path)
    assert answer.code == 0, answer.text
    state = torch.load(tmp_path / "run/checkpoints/best.pth", weights_only=True)
    assert state["backbone.0.weight"].shape == (5, 1, 3, 3)
    assert state["head.0.weight"].shape == (256, 5)
    description = json.loads((tmp_path / "run/checkpoints/best.json").read_text(encoding="utf-8"))
    assert description["model"]["backbone"] == {"_target_": "my_networks.Mine", "width": 5}
