from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from medclf.utils.random_state import State, random_state, set_random_state


class ResumableLoader(DataLoader[Any]):
    """A DataLoader that goes on in the middle of an epoch, as Lightning asks one that can.

    The batches that were given before are drawn again as they were, and left out.
    """

    _given = 0
    _began: State | None = None
    _resumed: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """How many batches of the epoch were given, and the random numbers' state when it began."""
        return {"given": self._given, "began": self._began}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next epoch is the rest of that one."""
        self._resumed = state if state["given"] else None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """The batches of an epoch."""
        now, resumed, self._resumed = random_state(), self._resumed, None
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
