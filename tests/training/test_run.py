"""What a finished run leaves, and that its figures are what they are said to be."""

import csv
import gc
import io
import json
import math
import signal

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import TINY, TINY_PHANTOM
from helpers.images import write_classes
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from PIL import Image
from sklearn.metrics import accuracy_score, balanced_accuracy_score, roc_auc_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from torch.utils.data import DataLoader

from medclf.config.schema import TrainConfig, validate_config
from medclf.metric_registry import headline_names, metric_names
from medclf.training.module import ClassifierModule
from medclf.training.run import without_worker_traceback
from medclf.utils.errors import DataError


@pytest.fixture(scope="module")
def events(finished):
    accumulator = EventAccumulator(str(finished[0]), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def predictions(folder):
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_everything_promised_is_in_the_run_folder(finished):
    names = {path.relative_to(finished[0]).as_posix() for path in finished[0].rglob("*")}
    assert {
        "config.yaml", "splits.csv", "predictions.csv", "metrics.json", "metrics.csv", "run.json", "train.log",
        ".hydra/config.yaml", "checkpoints/best.ckpt", "checkpoints/last.ckpt", "history.csv", "report.html",
        "model_card.md", "figures/confusion_matrix_test.png", "figures/data/roc_curve.csv",
    } <= names  # fmt: skip
    assert not any("=" in name for name in names)


def test_the_output_ends_with_the_test_table_and_where_to_look(finished):
    folder, answer = finished
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    test = content["test"]
    for name in headline_names(2):
        shown = "NaN" if test[name] is None else f"{test[name]:.4f}"
        interval = [f"[{low:.3f}, {high:.3f}]" for low, high in [test["interval_95"].get(name, (0, 0))] if high]
        line = " ".join([name, shown, *interval, str(test["n_of"][name])])
        assert line in [" ".join(line.split()) for line in answer.out.splitlines()]
    assert f"Run folder:  runs/phantom/cnn/{folder.name}" in answer.out
    assert "tensorboard --logdir runs" in answer.out
    assert "Tested once" in (folder / "train.log").read_text(encoding="utf-8")


def test_the_log_says_what_became_of_the_published_validation_part(finished):
    assert "its validation part is the test split, our own is cut from train" in finished[1].out


def test_splits(finished):
    table = pd.read_csv(finished[0] / "splits.csv")
    assert list(table) == ["path", "class", "group", "split"]
    assert table["split"].value_counts().to_dict() == {"train": 34, "test": 16, "val": 6}
    assert set(table[table["split"] == "test"]["path"].str.split("/").str[0]) == {"validation"}


def test_predictions(finished):
    rows = predictions(finished[0])
    assert list(rows[0]) == [
        "path", "group", "split", "fold", "true_class", "predicted_class", "prob_organ_absent", "prob_organ_present",
    ]  # fmt: skip
    splits = pd.read_csv(finished[0] / "splits.csv").set_index("path")
    assert {row["path"] for row in rows} == set(splits[splits["split"] != "train"].index)
    assert len(rows) == 22
    for row in rows:
        absent, present = float(row["prob_organ_absent"]), float(row["prob_organ_present"])
        assert absent + present == pytest.approx(1, abs=1e-12)
        assert row["predicted_class"] == ("organ_present" if present > absent else "organ_absent")
        assert row["true_class"] == splits.loc[row["path"], "class"]
        assert row["split"] == splits.loc[row["path"], "split"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_metrics_are_those_of_the_predictions(finished, split):
    rows = [row for row in predictions(finished[0]) if row["split"] == split]
    truth = [row["true_class"] for row in rows]
    called = [row["predicted_class"] for row in rows]
    score = [float(row["prob_organ_present"]) for row in rows]
    content = json.loads((finished[0] / "metrics.json").read_text(encoding="utf-8"))[split]
    assert content["n"] == len(rows)
    assert content["accuracy"] == pytest.approx(accuracy_score(truth, called), abs=1e-6)
    assert content["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, called), abs=1e-6)
    positive = [label == "organ_present" for label in truth]
    assert content["auroc_macro"] == pytest.approx(roc_auc_score(positive, score), abs=1e-6)
    undefined = {name for name, value in content.items() if value is None}
    assert undefined <= set(content["not_defined"])
    assert set(content["not_defined"]) - undefined == set(content["n_of"]) - undefined - set(content["interval_95"])


def test_the_checkpoint_alone_gives_the_predictions(finished):
    """It loads with weights_only, without Hydra, and holds nothing but plain data."""
    folder = finished[0]
    module = ClassifierModule.load_from_checkpoint(folder / "checkpoints" / "best.ckpt", weights_only=True).eval()
    assert module.classes == ["organ_absent", "organ_present"]
    config = OmegaConf.load(folder / "config.yaml")
    from medclf.data.image_io import decode_image
    from medclf.data.preprocessing import preprocess

    root = folder.parents[3] / config.dataset.root
    for row in predictions(folder)[:5]:
        image = torch.from_numpy(
            preprocess(decode_image(root, row["path"], grey=True), validate_config(config, TrainConfig).dataset)
        )
        with torch.no_grad():
            probability = module(image[None]).double().softmax(1)[0]
        assert probability[1].item() == pytest.approx(float(row["prob_organ_present"]), abs=1e-5)


def test_the_best_checkpoint_is_the_best_epoch_of_validation(finished, events):
    content = json.loads((finished[0] / "metrics.json").read_text(encoding="utf-8"))
    curve = [event.value for event in events.Scalars("val/auroc_macro")]
    assert len(curve) == 2
    assert content["monitor_value"] == pytest.approx(max(curve))
    assert content["epoch"] == int(np.argmax(curve))
    assert content["val"]["auroc_macro"] == pytest.approx(max(curve))


def test_record(finished):
    record = json.loads((finished[0] / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "finished"
    assert record["training_seconds"] > 0
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert "seed=0" in record["command"]


def test_resolved_config(finished):
    config = OmegaConf.load(finished[0] / "config.yaml")
    assert config.dataset.root == "data/phantom/40+16_32px_seed0"
    assert config.callbacks.best_checkpoint.monitor == "val/auroc_macro"
    assert config.optimizer._target_ == "torch.optim.AdamW"


def test_tensorboard_scalars(events):
    tags = events.Tags()["scalars"]
    for stage in ("train", "val"):
        for name in ("loss", *metric_names(2)):
            assert f"{stage}/{name}" in tags
            assert len(events.Scalars(f"{stage}/{name}")) == 2
    assert "test/accuracy" in tags
    assert "hp_metric" not in tags


def test_tensorboard_images(finished, events):
    drawn = {f"evaluation/{path.stem}" for path in (finished[0] / "figures").glob("*.png")}
    assert {"evaluation/confusion_matrix_test", "evaluation/roc_curve", "evaluation/learning_curves"} <= drawn
    assert set(events.Tags()["images"]) == drawn | {"samples/train"}
    for tag in events.Tags()["images"]:
        (image,) = events.Images(tag)
        assert min(image.width, image.height) > 200
        assert (image.width, image.height) == Image.open(io.BytesIO(image.encoded_image_string)).size
        if tag in drawn:
            file = finished[0] / "figures" / f"{tag.removeprefix('evaluation/')}.png"
            assert image.encoded_image_string == file.read_bytes()


def test_tensorboard_hyperparameters_with_final_metrics(finished, events):
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert values["model"].string_value == "cnn"
    assert values["seed"].number_value == 0
    assert values["lr"].number_value == pytest.approx(0.001)
    final = json.loads((finished[0] / "metrics.json").read_text(encoding="utf-8"))["val"]
    assert events.Scalars("val_best/accuracy")[-1].value == pytest.approx(final["accuracy"])


def only_run(folder):
    (run,) = (path.parent for path in folder.rglob("run.json"))
    return run


def same_weights(first, second):
    states = [torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"] for run in (first, second)]
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_same_seed_same_figures(train, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train(*TINY_PHANTOM, f"seed={seed}", f"hydra.run.dir={name}").code == 0
    a, b, c = (tmp_path / name for name in "abc")
    assert same_weights(a, b)
    assert (a / "predictions.csv").read_bytes() == (b / "predictions.csv").read_bytes()
    assert (a / "metrics.json").read_bytes() == (b / "metrics.json").read_bytes()
    assert not same_weights(a, c)
    assert (a / "splits.csv").read_bytes() == (c / "splits.csv").read_bytes()


def test_three_classes_in_colour(train, tmp_path):
    write_classes(tmp_path / "images", {"a": 20, "b": 20, "c": 20})
    answer = train("dataset=folder", "dataset.root=images", *TINY, "monitor=val/loss", "callbacks=early_stopping")
    assert answer.code == 0, answer.text
    content = json.loads((only_run(tmp_path / "runs") / "metrics.json").read_text(encoding="utf-8"))
    assert content["monitor"] == "val/loss"
    assert content["test"]["n"] == 9
    assert "sensitivity" not in content["test"]
    curve = EventAccumulator(str(only_run(tmp_path / "runs")))
    curve.Reload()
    assert content["monitor_value"] == pytest.approx(min(event.value for event in curve.Scalars("val/loss")))


@pytest.mark.parametrize("arguments", [["model=resnet18"], ["model=resnet18", "model.frozen=true"], ["optimizer=sgd"]])
def test_models_and_optimizers(train, tmp_path, arguments):
    answer = train(*TINY_PHANTOM, *arguments, "trainer.max_epochs=1")
    assert answer.code == 0, answer.text
    assert ("the head learns from a random backbone" in answer.out) == ("model.frozen=true" in arguments)


def test_fast_dev_run_keeps_nothing(train, tmp_path):
    answer = train(*TINY_PHANTOM, "trainer.fast_dev_run=true")
    assert answer.code == 0, answer.text
    assert "nothing is kept" in answer.out
    assert not list(tmp_path.rglob("*.ckpt"))


def test_garbage_is_collected_while_training_and_after(train, monkeypatch):
    collected = []
    monkeypatch.setattr("medclf.training.run.train_and_test", lambda *_: collected.append(gc.isenabled()))
    assert train(*TINY_PHANTOM).code == 0
    assert collected == [True]
    assert gc.isenabled()


def test_diverged_training_stops_with_a_word(train, tmp_path):
    answer = train(*TINY_PHANTOM, "optimizer.lr=1000", "trainer.max_epochs=5")
    assert answer.code == 2
    assert "loss of epoch 1 is" in answer.err
    assert "training has diverged" in answer.err
    run = only_run(tmp_path / "runs")
    assert json.loads((run / "run.json").read_text(encoding="utf-8"))["status"] == "failed"
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert all(math.isfinite(value.double().sum().item()) for value in last.values())


class InterruptOnce(Callback):
    """Ctrl-C in the second batch of the first epoch, the first time."""

    done = False

    def on_train_batch_end(self, *_: object) -> None:
        if not InterruptOnce.done:
            InterruptOnce.done = True
            raise KeyboardInterrupt


def test_interrupted_in_the_first_epoch_and_gone_on_with(train, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    try:
        answer = train(*TINY_PHANTOM, f"+callbacks.stop._target_={__name__}.InterruptOnce", "trust_code=true")
    finally:
        signal.signal(signal.SIGINT, before)
    assert answer.code == 130
    run = only_run(tmp_path / "runs")
    assert not (run / "checkpoints").exists()
    answer = train(f"resume={run}", "trust_code=true")
    assert answer.code == 0, answer.text
    assert "it starts from the beginning" in answer.out
    assert train(*TINY_PHANTOM, "hydra.run.dir=whole").code == 0
    assert json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test"]["n"] == 16
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    whole = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    assert (last["epoch"], last["global_step"]) == (whole["epoch"], whole["global_step"])
    assert all(torch.equal(value, last["state_dict"][name]) for name, value in whole["state_dict"].items())


def test_unreadable_image_is_named_before_the_first_epoch(train, tmp_path):
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    (tmp_path / "images" / "b" / "broken.png").write_bytes(b"no image")
    answer = train("dataset=folder", "dataset.root=images", *TINY)
    assert answer.code == 2
    assert "b/broken.png: not an image of a known kind" in answer.err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_no_end_but_a_time(train, tmp_path):
    endless = [*TINY_PHANTOM, "trainer.max_epochs=-1", "trainer.max_time=00:00:00:02", "monitor=val/loss"]
    assert "scheduler=cosine: needs an end of training" in train(*endless).err
    answer = train(*endless, "scheduler=none")
    assert answer.code == 0, answer.text
    assert len(list(tmp_path.rglob("metrics.json"))) == 1


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("trainer=gpu", "trainer: "),
        ("trainer.strategy=nothing", "nothing"),
        ("+callbacks.mine._target_=lightning.pytorch.callbacks.Nothing", "callbacks.mine._target_"),
        ("+callbacks.mine._target_=torch.nn.Identity", "is not a Lightning callback"),
        ("optimizer._target_=torch.optim.Nothing", "optimizer._target_=torch.optim.Nothing: cannot be imported"),
        ("+optimizer.momentun=1", "momentun"),
        ("+model.head.out_features=5", "with 2 classes needs 2"),
        (
            "model.backbone._target_=medclf.models.Nothing",
            "medclf.models.Nothing: cannot be imported: module 'medclf.models' has no",
        ),
    ],
)
def test_what_only_torch_knows_is_still_one_message(train, argument, words):
    if argument == "trainer=gpu" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    answer = train(*(item for item in TINY_PHANTOM if item != "trainer=cpu"), "trust_code=true", argument)
    assert answer.code == 2
    assert words in answer.err
    assert "Traceback" not in answer.err


def test_an_error_of_a_worker_process_is_shown_without_its_traceback():
    def fail(*_):
        raise DataError("store.npy: was removed\nwhile it was in use")

    loader = DataLoader([1, 2], num_workers=1, collate_fn=fail)
    with pytest.raises(DataError, match="Traceback") as caught:
        next(iter(loader))
    assert without_worker_traceback(str(caught.value)) == "store.npy: was removed\nwhile it was in use"
    assert without_worker_traceback("Caught up; another message") == "Caught up; another message"
