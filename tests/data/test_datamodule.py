import pickle
from types import SimpleNamespace

import pytest
import torch
from helpers.images import dataset, write_classes

from medclf.config.composition import Composer
from medclf.config.schema import TrainConfig, validate_config
from medclf.data.augmentation import build_augmentation
from medclf.data.build_image_table import load_image_table
from medclf.data.datamodule import ImageDataModule


def augmentation(name):
    return build_augmentation(
        validate_config(Composer("train").compose([f"augmentation={name}"]), TrainConfig).augmentation
    )


def module(root, *overrides, augment="none"):
    config = dataset(root, "dataset.image_size=16", "dataset.batch_size=8", *overrides)
    data = ImageDataModule(load_image_table(config, progress=False), config, augmentation(augment), progress=False)
    data.setup()
    return data


def test_batches(two_classes):
    data = module(two_classes)
    for part, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        batches = list(loader)
        rows = torch.cat([batch.row for batch in batches])
        assert rows.tolist() == list(range(len(data.table.part(part))))
        labels = [data.table.classes[index] for batch in batches for index in batch.target.tolist()]
        assert labels == list(data.table.part(part)["class"])
        assert batches[0].images.dtype == torch.uint8
        assert batches[0].images.shape[1:] == (3, 16, 16)


def test_training_batches_are_shuffled_and_complete(two_classes):
    loader = module(two_classes).train_dataloader()
    first, second = ([row for batch in loader for row in batch.row.tolist()] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(len(first)))
    assert first != second


def test_only_training_images_are_augmented(two_classes):
    plain, augmented = module(two_classes), module(two_classes, augment="flip")
    for part in ("val", "test"):
        rows = range(len(plain.datasets[part]))
        assert all(torch.equal(plain.datasets[part][i].images, augmented.datasets[part][i].images) for i in rows)
        assert augmented.datasets[part].augment is None
    image = plain.datasets["train"][0].images
    outcomes = {augmented.datasets["train"][0].images.numpy().tobytes() for _ in range(50)}
    assert outcomes == {image.numpy().tobytes(), image.flip(-1).contiguous().numpy().tobytes()}


@pytest.mark.parametrize("name", ["none", "flip", "flip_rotate_autocontrast"])
def test_augmentation_keeps_the_form_of_an_image(name):
    image = torch.randint(0, 255, (1, 20, 20), dtype=torch.uint8)
    outcome = augmentation(name)(image)
    assert outcome.dtype == torch.uint8
    assert outcome.shape == image.shape
    assert torch.equal(outcome, image) or name != "none"


def test_last_batch_of_one_image_is_left_out(tmp_path):
    for part, count in (("train", 17), ("val", 3), ("test", 3)):
        write_classes(tmp_path / part, {"a": count, "b": count - 1})
    assert [len(batch.row) for batch in module(tmp_path).train_dataloader()] == [8, 8, 8, 8]


def test_workers(two_classes):
    data = module(two_classes, "dataset.num_workers=2")
    assert sum(len(batch.row) for batch in data.train_dataloader()) == len(data.datasets["train"])
    # what a worker of Windows or macOS is sent
    assert len(pickle.loads(pickle.dumps(data.datasets["train"]))) == len(data.datasets["train"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    ("device", "devices", "cores", "expected"),
    [
        ("cpu", 1, 16, 0),
        ("cuda", 1, 16, 8),
        ("cuda", 1, 6, 5),
        ("cuda", 2, 8, 3),
        ("cuda", 4, 4, 1),
        ("mps", 1, 1, 1),
        ("mps", 1, None, 1),
    ],
)
def test_workers_that_are_not_chosen_are_one_a_core_that_training_does_not_need(
    two_classes, monkeypatch, device, devices, cores, expected
):
    if cores is None:  # a system that cannot be asked
        monkeypatch.delattr("medclf.data.datamodule.os.sched_getaffinity", raising=False)
        monkeypatch.setattr("medclf.data.datamodule.os.cpu_count", lambda: None)
    else:
        allowed = set(range(cores))
        monkeypatch.setattr("medclf.data.datamodule.os.sched_getaffinity", lambda _: allowed, raising=False)
    data = module(two_classes)
    assert data.config.num_workers is None
    assert data.train_dataloader().num_workers == 0
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device(device)), num_devices=devices)
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert [loader.num_workers for loader in loaders] == [expected, 0, 0]


def test_workers_that_are_chosen_are_taken_on_any_device(two_classes):
    data = module(two_classes, "dataset.num_workers=0")
    data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda")), num_devices=1)
    assert data.train_dataloader().num_workers == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_normalization(two_classes, channels):
    data = module(two_classes, f"dataset.channels={channels}")
    mean, sd = data.normalization()
    assert len(mean) == len(sd) == channels
    assert sum(mean) / channels == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    own = module(two_classes, f"dataset.channels={channels}", "dataset.normalization=dataset")
    pixels = torch.stack([own.datasets["train"].store[row] for row in own.datasets["train"].rows]).double() / 255
    mean, sd = own.normalization()
    assert mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert sd == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())
