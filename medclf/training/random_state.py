import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import Callback


class KeepRandomState(Callback):
    """Keeps the state of all random numbers in the checkpoints, so that a resumed run draws as it would have."""

    def state_dict(self) -> dict[str, Any]:
        """Plain data, which ``weights_only=True`` loads."""
        kind, keys, *rest = np.random.get_state()
        return {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
            "python": random.getstate(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set it at once: Lightning may draw the order of the first epoch's images before any later hook."""
        torch.set_rng_state(state_dict["torch"].cpu())
        if torch.cuda.is_available() and len(state_dict["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([one.cpu() for one in state_dict["cuda"]])
        kind, keys, *rest = state_dict["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
        random.setstate(state_dict["python"])
