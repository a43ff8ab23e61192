from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler


class BalancedSampler(DistributedSampler[int]):
    """Draws rows with replacement so that each class comes up equally often; as many as there are rows, each epoch.

    A DistributedSampler, which Lightning leaves in place and tells the epoch: all processes make the same draw and take
    their turns in it, and a resumed run draws as it would have.

    Args:
        target: the class of each row, int64, shape (rows,).
        processes: that train together.
        rank: of this one, counted from 0.
        seed: of the draws.
    """

    def __init__(self, target: Tensor, processes: int = 1, rank: int = 0, seed: int = 0) -> None:
        super().__init__(range(len(target)), num_replicas=processes, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.weights = 1 / torch.bincount(target).double()[target]

    def __iter__(self) -> Iterator[int]:
        """The rows of this process in this epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        rows = torch.multinomial(self.weights, self.total_size, replacement=True, generator=generator)
        return iter(rows[self.rank :: self.num_replicas].tolist())
