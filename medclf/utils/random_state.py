"""The state of all random numbers of this process as plain data, which ``weights_only=True`` loads."""

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def get_random_state() -> State:
    """Return the random states of torch (on every GPU too), NumPy and Python."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(np.asarray(keys, np.int64)), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: State) -> None:
    """Go on from there; GPUs only where there are as many."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])
