from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler

from medclf.utils.random_state import State, get_random_state, set_random_state


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that goes on in the middle of an epoch, as Lightning asks one that can.

    The batches that were given before are drawn again as they were, and left out.
    """

    _given = 0
    _began: State | None = None
    _resumed: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of batches given in this epoch and the random state at its start."""
        return {"given": self._given, "began": self._began}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Make the next epoch the rest of the saved one."""
        self._resumed = state if state["given"] else None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches of an epoch."""
        now, resumed, self._resumed = get_random_state(), self._resumed, None
        self._began = now
        if resumed is not None:
            self._began = resumed["began"]
            set_random_state(resumed["began"])
        batches = super().__iter__()
        self._given = 0 if resumed is None else resumed["given"]
        if resumed is not None:
            for _ in range(self._given):
                next(batches)
            set_random_state(now)
        for batch in batches:
            self._given += 1
            yield batch


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
