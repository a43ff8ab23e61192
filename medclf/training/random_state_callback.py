from lightning.pytorch.callbacks import Callback

from medclf.utils.random_state import State, random_state, set_random_state


class KeepRandomState(Callback):
    """Keeps the state of all random numbers in the checkpoints, so that a resumed run draws as it would have."""

    def state_dict(self) -> State:
        """The state now."""
        return random_state()

    def load_state_dict(self, state_dict: State) -> None:
        """Set it at once: Lightning may ask for the first epoch's images before any later hook."""
        set_random_state(state_dict)
