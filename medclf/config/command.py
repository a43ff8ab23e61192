"""What all entry points share: check, then hand over to Hydra. An error is one message, no traceback."""

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from medclf import sweeps
from medclf.config import devices, resolvers
from medclf.config.compose import Composer, jobs, parse, quoted
from medclf.config.flags import check_flags
from medclf.config.hydra_checks import check_hydra, check_trust
from medclf.config.paths import conf_dir
from medclf.config.resuming import resumed_config, run_to_resume
from medclf.config.schema import Checked, Config, validated
from medclf.errors import ConfigError, MedclfError
from medclf.runs import is_main_process, is_used
from medclf.search.space import with_space

Task = Callable[[Checked, Path], float | None]
"""A command's work: takes the checked configuration and the run folder, returns the value a sweep optimises."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def run(task: Task[Checked], name: str, kind: type[Checked], check: Callable[[Checked], None]) -> None:
    """Run a command from ``sys.argv``. Every error that can be known beforehand comes before a folder is made.

    Args:
        task: the work.
        name: of the command's file in ``conf/``.
        kind: what its configuration must look like.
        check: raises what a user should mend, in the configuration and in the images that it names.
    """
    resolvers.register()
    # Hydra hands exceptions on instead of printing a traceback of its own
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    if not is_main_process():
        sys.argv += devices.FOLLOWER
    try:
        sweep, resumed = None, None
        if not devices.is_started_by_lightning():  # else its parent has been checked
            sweep, resumed = _check_command_line(name, kind, check)
        if sweep is not None:
            sweeps.begin(sweep)
        main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
        try:
            main(_as_hydra_task(task, kind, resumed))()
        except ValueError:
            if sweep is not None:
                sweeps.conclude()  # Optuna's plugin asks for the best trial, also where none has ended well
            raise
        if sweep is not None:
            sweeps.conclude()
    except MedclfError as error:
        _fail(error)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(INTERRUPTED)


def typed_keys(group: str) -> frozenset[str]:
    """The keys of a group that were typed for this job; ``GROUP`` itself where it was chosen as a whole."""
    names = [item.get_key_element() for item in parse(list(HydraConfig.get().overrides.task))]
    return frozenset(name.removeprefix(f"{group}.") for name in names if name == group or name.startswith(f"{group}."))


def _as_hydra_task(
    task: Task[Checked], kind: type[Checked], resumed: Config | None
) -> Callable[[DictConfig], float | None]:
    @functools.wraps(task)
    def hydra_task(node: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        if node.get("resume") is not None:
            return train(resumed or _resumed_with_parent(node), folder)
        config = validated(node, kind)
        if HydraConfig.get().mode is RunMode.MULTIRUN and isinstance(config, Config):
            return sweeps.job(train, config, folder, sweeps.identity(_root_=node))
        return task(config, folder)

    def train(config: Config, folder: Path) -> float | None:
        return task(config, folder)  # type: ignore[arg-type]

    return hydra_task


class CommandLine(NamedTuple):
    """What a checked command line asks for: the folder of a sweep of trainings, or a run to resume as configured."""

    sweep: Path | None = None
    resumed: Config | None = None


def _check_command_line(name: str, kind: type[Checked], check: Callable[[Checked], None]) -> CommandLine:
    """Check what was typed."""
    arguments = get_args_parser().parse_args()
    composer = Composer(arguments.config_name or name, arguments.config_dir)
    if check_flags(arguments, composer):
        return CommandLine()
    resumed = _resumed(arguments, composer) if kind is Config else None
    if resumed is not None:
        check_hydra(composer.compose(arguments.overrides))
        devices.check_devices(resumed.trainer.model_dump(), folder=resumed.resume)
        check(resumed)  # type: ignore[arg-type]
        return CommandLine(resumed=resumed)
    sweep = None
    words = with_space(composer, arguments.overrides, arguments.multirun) if kind is Config else arguments.overrides
    for overrides in jobs(words, arguments.multirun):
        node = composer.compose(overrides)
        check_hydra(node)
        check_trust(node, overrides)
        config = validated(node, kind)
        if arguments.multirun:
            place = Path(node.hydra.sweep.dir)
            sweep = place if kind is Config else None
            if sweep is None or not sweeps.is_sweep(sweep):
                _refuse_used(place, "sweep")
        elif is_main_process():
            _refuse_used(Path(node.hydra.run.dir))
        if isinstance(config, Config):
            devices.check_devices(config.trainer.model_dump(), arguments.multirun, _typed_folder(overrides))
        check(config)
    return CommandLine(sweep)


def _typed_folder(overrides: list[str]) -> str | None:
    typed = {item.get_key_element(): item for item in parse(overrides)}
    return str(typed["hydra.run.dir"].value()) if "hydra.run.dir" in typed else None


def _refuse_used(folder: Path, kind: str = "run") -> None:
    if is_used(folder):
        name = folder.as_posix()
        go_on = f", or go on with the run there: resume={name}" if kind == "run" else ""
        raise ConfigError(
            f"hydra.{kind}.dir={name}: already holds something, and a run overwrites nothing; name a new folder{go_on}"
        )


def _resumed(arguments: Namespace, composer: Composer) -> Config | None:
    """The configuration of the run to be resumed, or None; sys.argv is left with no more than Hydra needs for it."""
    typed: list[str] = arguments.overrides
    parsed = {item.get_key_element(): item for item in parse(typed)}
    if "resume" not in parsed or parsed["resume"].value() is None:
        return None
    if arguments.multirun:
        raise ConfigError("resume: resumes one run; leave out -m")
    run = run_to_resume(str(parsed["resume"].value()))
    config = resumed_config(run, typed, composer)
    place = quoted(run.folder.as_posix())
    # what Hydra wrote when the run began stays as it is
    kept = [text for text in typed if text.startswith(("hydra.", "trust_code="))]
    overrides = [*kept, f"resume={place}", f"hydra.run.dir={place}", "hydra.output_subdir=null"]
    sys.argv = [sys.argv[0], *(item for item in sys.argv[1:] if item not in typed), *overrides]
    arguments.overrides = overrides
    return config


def _resumed_with_parent(node: DictConfig) -> Config:
    """The same in a process that Lightning started, whose parent has saved what was typed."""
    return resumed_config(run_to_resume(str(node.resume)), [f"trust_code={node.trust_code}"], Composer("train"))


def _fail(error: MedclfError) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)
