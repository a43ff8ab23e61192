"""Several processes: what is refused beforehand, and what those leave out that are not the first."""

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from medclf.config.messages import format_value
from medclf.utils.errors import ConfigError

FOLLOWER = (
    "hydra.output_subdir=null",
    "~hydra.job_logging.handlers.file",
    "hydra.job_logging.root.handlers=[console]",
    "+hydra.job_logging.handlers.console.level=ERROR",
)
"""Overrides by which a process that is not the first writes no log and says nothing that the first says too."""
COPYING = ("ddp_spawn", "ddp_fork", "ddp_notebook")
"""Beginnings of Lightning's strategies that copy a process and bring back what the first copy has found, alone."""
DIFFERS = re.compile(r"\$\{(now|medclf\.token):")
"""What two processes that make a folder's name put into it differently."""

SOCKET = "/pymp-12345678/listener-12345678"
"""Name of a socket that a worker process makes in the temporary folder; a path to one has at most 107 characters."""


class Launcher(NamedTuple):
    """What has started this process together with others, how many in all, and how many a machine."""

    name: str
    processes: int
    each: int


def validate_devices(trainer: Mapping[str, Any], multirun: bool = False, folder: str | None = None) -> None:
    """Refuse what several processes cannot do, as far as the configuration and the environment tell.

    Args:
        trainer: the config of group ``trainer``.
        multirun: whether it is a job of a sweep.
        folder: value of ``output`` as it was typed; None: it was not.

    Raises:
        ConfigError: naming key, value and remedy.
    """
    strategy = str(trainer.get("strategy", "auto"))
    if strategy.startswith(COPYING):
        raise ConfigError(
            f"trainer.strategy={strategy}: the predictions of all processes but the first would be lost; set "
            "trainer.strategy=ddp"
        )
    processes, starter = count_processes(trainer), detect_launcher()
    if trainer.get("accelerator") == "cpu" and processes is not None:
        validate_cores(processes // int(trainer.get("num_nodes", 1)))
    if multirun:
        _check_multirun(trainer, processes, starter)
        return
    if starter is not None:
        _check_starter(starter, trainer, processes)
    _check_folder(starter, trainer, processes, folder)


def count_processes(trainer: Mapping[str, Any]) -> int | None:
    """Return the number of processes of a run on all machines; None if it depends on the GPUs found."""
    each = _device_count(trainer.get("devices", "auto"), str(trainer.get("accelerator", "auto")))
    return None if each is None else each * int(trainer.get("num_nodes", 1))


def detect_launcher() -> Launcher | None:
    """Return what started this process: torchrun, SLURM, or None for a person or Lightning.

    SLURM is where Lightning sees it: in a job that is no interactive shell.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Launcher("torchrun", int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"]))
    if "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        tasks = int(env["SLURM_NTASKS"])
        return Launcher("SLURM", tasks, max(1, tasks // int(env.get("SLURM_NNODES", 1))))
    return None


def is_started_by_lightning() -> bool:
    """Return whether Lightning started this process, whose parent has made the checks."""
    return "LOCAL_RANK" in os.environ and "TORCHELASTIC_RUN_ID" not in os.environ


def validate_workers(workers: int | None) -> None:
    """Raise if processes that augment images could not be reached: their sockets lie in the temporary folder.

    Args:
        workers: processes that augment images; None or 0 for none.

    Raises:
        ConfigError: with the length that a path may have.
    """
    folder = tempfile.gettempdir() if workers else ""
    most = (107 if sys.platform == "linux" else 103) - len(SOCKET)
    if os.name != "nt" and len(os.fsencode(folder)) > most:
        raise ConfigError(
            f"TMPDIR={format_value(folder)}: is too long for processes that augment images ({len(os.fsencode(folder))} "
            f"characters, at most {most}); set a shorter one, such as TMPDIR=/tmp, or dataset.num_workers=0"
        )


def validate_cores(processes: int) -> None:
    """Refuse more processes on the CPU than it has cores: each takes memory and makes the others wait.

    Two are allowed on one core, for those who try out how several processes do.

    Raises:
        ConfigError: with the number of cores.
    """
    most = max(2, os.cpu_count() or 1)
    if processes > most:
        raise ConfigError(
            f"trainer.devices={processes}: on the CPU each is a process, and this machine has {os.cpu_count()} cores; "
            f"set trainer.devices={most} or less"
        )


def validate_worker_shares(processes: int, images: Mapping[str, int]) -> None:
    """Refuse more processes than a split has images: each must have one, or the others wait for it forever.

    Args:
        processes: of the run.
        images: how many each split has.

    Raises:
        ConfigError: with the most processes there can be.
    """
    for part, count in images.items():
        if count < processes:
            raise ConfigError(
                f"trainer.devices: {processes} processes cannot share the {count} images of the {part} split; use "
                f"{count} or fewer (trainer.devices times trainer.num_nodes)"
            )


def _device_count(devices: object, accelerator: str) -> int | None:
    """What Lightning makes of ``trainer.devices``; None: all GPUs that there are."""
    if isinstance(devices, str) and "," in devices:
        return len([item for item in devices.split(",") if item.strip()])
    if isinstance(devices, str) and devices.strip().isdecimal():
        return int(devices)
    if isinstance(devices, int) and devices >= 0:
        return devices
    if isinstance(devices, list | tuple):
        return len(devices)
    return 1 if accelerator in ("cpu", "mps") else None


def _check_multirun(trainer: Mapping[str, Any], processes: int | None, starter: Launcher | None) -> None:
    if starter is not None and starter.name == "torchrun":
        raise ConfigError(
            "-m: torchrun would start the whole sweep in each of its processes; start it without torchrun"
        )
    if processes == 1:
        return
    raise ConfigError(
        f"trainer.devices={trainer.get('devices')}: a job of a sweep (-m) has one process, and this would be "
        f"{processes or 'as many as there are GPUs'}; set trainer=default trainer.devices=1 trainer.num_nodes=1, or "
        "start each combination by itself, without -m"
    )


def _check_starter(starter: Launcher, trainer: Mapping[str, Any], processes: int | None) -> None:
    """Lightning would wait for processes that nobody starts, or train the same network several times."""
    alone = processes == 1 and starter.name == "SLURM"  # a job may hold more tasks than the one that trains
    devices, nodes = starter.each, starter.processes // starter.each
    given = int(trainer.get("num_nodes", 1))
    if processes is None or alone or (processes, given) == (starter.processes, nodes):
        return
    raise ConfigError(
        f"trainer.devices={trainer.get('devices')}, trainer.num_nodes={given}: these are {processes} processes on "
        f"{given} machines, and {starter.name} has started {starter.processes} on {nodes}; set trainer=ddp "
        f"trainer.devices={devices} trainer.num_nodes={nodes}"
        + (", or ask SLURM for --ntasks-per-node=DEVICES and start with srun" if starter.name == "SLURM" else "")
    )


def _check_folder(
    starter: Launcher | None, trainer: Mapping[str, Any], processes: int | None, folder: str | None
) -> None:
    """Processes that Lightning does not start make up the folder's name each for itself: the time and the token."""
    together = starter is not None and starter.processes > 1 and processes != 1
    several = together or int(trainer.get("num_nodes", 1)) > 1
    if several and (folder is None or DIFFERS.search(folder)):
        example = "runs/job$SLURM_JOB_ID" if starter is not None and starter.name == "SLURM" else "runs/NAME"
        raise ConfigError(
            "output: the processes were started apart and must be told one run folder, in a place that all of "
            f"them see; name it without the time: output={example}"
        )
