import signal
from types import FrameType

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities.exceptions import SIGTERMException


class EndTogether(Callback):
    """Ends several processes on SIGTERM, by which a cluster tells that it ends a job.

    Lightning's own handler talks to the other processes from wherever it was called, and waits forever where these were
    talking already. Here the first process ends, and with it the others, which do not listen.
    """

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the place of Lightning's handler."""
        self._listen(trainer)

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Likewise."""
        self._listen(trainer)

    def _listen(self, trainer: lightning.Trainer) -> None:
        def end(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            launcher = trainer.strategy.launcher
            if isinstance(launcher, _SubprocessScriptLauncher):
                launcher.kill(signal.SIGKILL)
            raise SIGTERMException

        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, end if trainer.is_global_zero else signal.SIG_IGN)
