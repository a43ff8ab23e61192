import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
import torch.distributed
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medclf.config.distributed import validate_workers
from medclf.config.schema import DatasetConfig
from medclf.data.augmentation_views import Views
from medclf.data.dataloader import BalancedSampler, ResumableLoader
from medclf.data.image_cache import ImageCache, open_image_cache
from medclf.data.image_table import PARTS, ImageTable

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_SD = (0.229, 0.224, 0.225)


class Batch(NamedTuple):
    """Images (uint8, (n, channels, size, size)), their classes and their rows in the split (int64, (n,)).

    Where a frozen backbone's features are at hand, ``images`` are those (float32, (n, features)).
    """

    images: Tensor
    target: Tensor
    row: Tensor


@dataclass(frozen=True)
class Features:
    """Features of a split's images, shape (views, images, features), and which view is seen next; None: the first."""

    values: NDArray[np.float32]
    views: Views | None = None

    def __getitem__(self, index: int) -> Tensor:
        """Those of one image, shape (features,)."""
        view = 0 if self.views is None else self.views.draw()
        return torch.from_numpy(np.array(self.values[view, index]))


class ImageDataset(Dataset[Batch]):
    """The images of one split; ``augment`` is applied each time one is asked for.

    ``features``, once they are set, are given in the place of images.

    Args:
        store: of all splits.
        rows: of the store, those of this split.
        target: the class of each, int64.
        augment: takes and gives one uint8 image of shape (channels, size, size).
    """

    def __init__(
        self, store: ImageCache, rows: list[int], target: Tensor, augment: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        self.store = store
        self.rows = rows
        self.target = target
        self.augment = augment
        self.features: Features | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        seen = self.image(index) if self.features is None else self.features[index]
        return Batch(seen, self.target[index], torch.tensor(index))

    def image(self, index: int) -> Tensor:
        """Return an augmented image."""
        image = self.store[self.rows[index]]
        return image if self.augment is None else self.augment(image)


class ImageDataModule(lightning.LightningDataModule):
    """Batches of the three splits of an image table; only training images are augmented.

    Args:
        table: the images and their splits.
        config: where they are, their size, batch size and number of workers.
        augment: takes and gives one uint8 image of shape (channels, size, size).
        progress: whether reading shows a bar.
        seed: of balanced sampling.
    """

    def __init__(
        self,
        table: ImageTable,
        config: DatasetConfig,
        augment: Callable[[Tensor], Tensor],
        progress: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.table = table
        self.config = config
        self.augment = augment
        self.progress = progress
        self.seed = seed
        self.keep_workers = True  # from epoch to epoch
        self.batch_size = config.batch_size  # where Lightning's Tuner changes it
        self.datasets: dict[str, ImageDataset] = {}
        self._position: dict[str, Any] | None = None

    def setup(self, stage: str | None = None) -> None:
        """Open the image store, or build it.

        Raises:
            DataError: for an image that cannot be read, and a disk that is full.
        """
        if self.datasets:
            return
        frame = self.table.frame
        store = open_image_cache(self.table, self.config, self.progress)
        target = torch.tensor([self.table.classes.index(label) for label in frame["class"]])
        for part in PARTS:
            rows = np.flatnonzero(frame["split"] == part).tolist()
            self.datasets[part] = ImageDataset(store, rows, target[rows], self.augment if part == "train" else None)

    def read_image(self, path: str) -> NDArray[np.uint8]:
        """Return an image of the table from the image cache, as the network sees it, (channels, size, size).

        Args:
            path: of the image, as the table has it.
        """
        return np.asarray(self.datasets["train"].store[self._row_of[path]])

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {str(path): row for row, path in enumerate(self.table.frame["path"])}

    def normalization(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel as the config says: ImageNet's, or of the training split."""
        if self.config.normalization == "dataset":
            train = self.datasets["train"]
            return train.store.statistics(train.rows)
        if self.config.channels == 3:
            return list(IMAGENET_MEAN), list(IMAGENET_SD)
        return [sum(IMAGENET_MEAN) / 3], [sum(IMAGENET_SD) / 3]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches; a last batch of one image, which BatchNorm cannot learn from, is left out."""
        dataset = self.datasets["train"]
        processes, rank = _place()
        sampler = None
        if self.config.balanced_sampling:
            sampler = BalancedSampler(dataset.target, processes, rank, self.seed)
        drop_last = math.ceil(len(dataset) / processes) % self.batch_size == 1
        loader = self._loader("train", sampler, shuffle=sampler is None, drop_last=drop_last)
        if self._position is not None:
            loader.load_state_dict(self._position)
            self._position = None
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Return the position within the epoch; Lightning's own record is read too late when steps are counted."""
        if self.trainer is None:
            return {}
        loader: Any = self.trainer.train_dataloader
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        if epochs.started == epochs.processed or not isinstance(loader, ResumableLoader):
            return {}
        return {"train": loader.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._position = state_dict.get("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Batches in the order of the table."""
        return self._loader("val", self._share("val"))

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches in the order of the table."""
        return self._loader("test", self._share("test"))

    def _share(self, part: str) -> Sampler[Any] | None:
        """The images that this process looks at: each is seen by one. Lightning's own choice sees some twice."""
        processes, rank = _place()
        if processes == 1:
            return None
        return UnrepeatedDistributedSampler(self.datasets[part], num_replicas=processes, rank=rank, shuffle=False)

    def _loader(
        self, part: str, sampler: Sampler[Any] | None = None, shuffle: bool = False, drop_last: bool = False
    ) -> ResumableLoader:
        workers = self._workers() if part == "train" else 0  # only augmentation is work for another process
        validate_workers(workers)
        return ResumableLoader(
            self.datasets[part],
            batch_size=self.batch_size,
            sampler=sampler,
            shuffle=shuffle,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0 and self.keep_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def _workers(self) -> int:
        if self.config.num_workers is not None:
            return self.config.num_workers
        if self.trainer is None or self.trainer.strategy.root_device.type == "cpu":
            return 0
        # of the cores that this process may use, which a cluster limits
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(1, min(8, cores // self.trainer.num_devices - 1))


def _place() -> tuple[int, int]:
    """How many processes train together, and which of them this one is."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 1, 0
    return torch.distributed.get_world_size(), torch.distributed.get_rank()
