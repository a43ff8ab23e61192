"""What all entry points share: check, then hand over to Hydra. An error is one message, no traceback."""

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from medclf.cli import resolvers
from medclf.cli.hydra_validation import parse_arguments, validate_flags, validate_hydra_node, validate_trust
from medclf.cli.output_folder_validation import (
    rename_output,
    validate_cache_outside_images,
    validate_folder_name,
    validate_outside_images,
)
from medclf.config import distributed
from medclf.config.composition import Composer
from medclf.config.conf_folder import conf_dir
from medclf.config.overrides import expand_jobs, get_key, parse_overrides
from medclf.config.resume import build_resumed_config, find_run_to_resume, load_first_process_config
from medclf.config.schema import Checked, StrictModel, TrainConfig, validate_config
from medclf.sweeps import sweep_jobs as sweep_jobs
from medclf.sweeps.search_space import add_search_space
from medclf.utils import safe_terminal
from medclf.utils.errors import ConfigError
from medclf.utils.quoting import format_override
from medclf.utils.run_folder import Run, is_main_process, is_used, lock_run
from medclf.utils.write_errors import find_write_error, format_unwritable

Task = Callable[..., float | None]
"""A command's work: takes the checked configuration and the run folder, returns the value that a sweep optimises.

That of training takes ``images`` too, where they have been scanned for the identity of a sweep's job.
"""


def run_hydra_command(task: Task, name: str, kind: type[Checked], check: Callable[[Checked], None]) -> None:
    """Run a command from ``sys.argv``. Every error that can be known beforehand comes before a folder is made.

    Args:
        task: the work.
        name: of the command's file in ``conf/``.
        kind: what its configuration must look like.
        check: raises what a user should mend, in the configuration and in the images that it names.
    """
    with safe_terminal.command_errors():
        resolvers.register_resolvers()
        # Hydra hands exceptions on instead of printing a traceback of its own
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")
        if not is_main_process():
            sys.argv += distributed.FOLLOWER
        arguments = parse_arguments(name)
        line = CommandLine(key=rename_output(arguments))
        if not distributed.is_started_by_lightning():  # else its parent has been checked
            line = _check_command_line(arguments, line.key, name, kind, check)
        main = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)
        with _claimed(line):
            _run_hydra(main(_as_hydra_task(task, kind, line.resumed)), line.sweep)


def _run_hydra(main: Callable[[], None], sweep: Path | None) -> None:
    if sweep is None:
        main()
        return
    sweep_jobs.begin_sweep(sweep)
    try:
        main()
    except ValueError:
        sweep_jobs.finish_sweep()  # Optuna's plugin asks for the best trial, also where none has ended well
        raise
    sweep_jobs.finish_sweep()


@contextmanager
def _claimed(line: "CommandLine") -> Iterator[None]:
    """Lock the run folder before Hydra writes into it, so that one of two runs started into one folder changes nothing.

    The name is passed on to Hydra as it was checked: time and token in it would differ when composed again.
    """
    if line.folder is None:
        yield
        return
    with lock_run(line.folder, line.key if line.resumed is None else "resume"):
        if line.resumed is None:
            _refuse_used(line.key, line.folder)
            sys.argv.append(format_override("hydra.run.dir", line.folder.as_posix()))
        try:
            yield
        except OSError as error:
            cause = find_write_error(error, line.folder)
            named = Path(str(getattr(cause, "filename", None) or line.folder)).absolute()
            if not isinstance(cause, OSError) or not named.is_relative_to(line.folder.absolute()):
                raise
            raise ConfigError(format_unwritable(line.key, Run(line.folder).shown, cause)) from error


def get_typed_keys(group: str) -> frozenset[str]:
    """Return the keys of a group that were typed for this job; ``GROUP`` itself if it was chosen as a whole."""
    names = [get_key(item) for item in parse_overrides(list(HydraConfig.get().overrides.task))]
    return frozenset(name.removeprefix(f"{group}.") for name in names if name == group or name.startswith(f"{group}."))


def _as_hydra_task(
    task: Task, kind: type[Checked], resumed: TrainConfig | None
) -> Callable[[DictConfig], float | None]:
    @functools.wraps(task)
    def hydra_task(node: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        if node.get("resume") is not None:
            return train(resumed or _resumed_with_parent(node), folder)
        config = validate_config(node, kind)
        if HydraConfig.get().mode is RunMode.MULTIRUN and isinstance(config, TrainConfig):
            identity, images = sweep_jobs.identify_job(node)
            return sweep_jobs.run_job(functools.partial(train, images=images), config, folder, identity)
        return task(config, folder)

    def train(config: TrainConfig, folder: Path, **scanned: Any) -> float | None:
        return task(config, folder, **scanned)

    return hydra_task


class CommandLine(NamedTuple):
    """What a checked command line asks for: the folder of a sweep of trainings, or of a run, and a run to resume.

    ``folder`` is None in processes that do not write, and in sweeps; ``key`` is the one it was typed with.
    """

    sweep: Path | None = None
    folder: Path | None = None
    resumed: TrainConfig | None = None
    key: str = "output"


def _check_command_line(
    arguments: Namespace, key: str, name: str, kind: type[Checked], check: Callable[[Checked], None]
) -> CommandLine:
    """Check what was typed; ``key`` is the one that names the folder."""
    composer = Composer(arguments.config_name or name, arguments.config_dir)
    if validate_flags(arguments, composer):
        return CommandLine(key=key)
    resumed = _resumed(arguments, composer, key) if kind is TrainConfig else None
    if resumed is not None:
        validate_hydra_node(composer.compose(arguments.overrides))
        distributed.validate_devices(resumed.trainer.model_dump(), folder=resumed.resume)
        check(resumed)  # type: ignore[arg-type]
        return CommandLine(folder=Path(str(resumed.resume)) if is_main_process() else None, resumed=resumed, key=key)
    sweep, folder = None, None
    words = (
        add_search_space(composer, arguments.overrides, arguments.multirun)
        if kind is TrainConfig
        else arguments.overrides
    )
    for overrides in expand_jobs(words, arguments.multirun):
        node = composer.compose(overrides)
        validate_hydra_node(node)
        validate_trust(node, overrides)
        config = validate_config(node, kind)
        _check_folder(key, node, config, arguments.multirun)
        if arguments.multirun:
            place = Path(node.hydra.sweep.dir)
            sweep = place if kind is TrainConfig else None
            if sweep is None or not sweep_jobs.is_sweep(sweep):
                _refuse_used(key, place, sweep=True)
        elif is_main_process():
            folder = Path(node.hydra.run.dir)
            _refuse_used(key, folder)
        if isinstance(config, TrainConfig):
            distributed.validate_devices(config.trainer.model_dump(), arguments.multirun, _typed_folder(overrides))
        check(config)
    return CommandLine(sweep, folder, key=key)


def _check_folder(key: str, node: DictConfig, config: StrictModel, multirun: bool) -> None:
    """Refuse a folder whose name causes trouble, and one among the images that the command reads."""
    folder = Path(node.hydra.sweep.dir if multirun else node.hydra.run.dir)
    several = isinstance(config, TrainConfig) and distributed.count_processes(config.trainer.model_dump()) != 1
    validate_folder_name(key, folder, several)
    dataset = getattr(config, "dataset", None)
    validate_outside_images(key, folder, dataset)
    validate_cache_outside_images(dataset)


def _typed_folder(overrides: list[str]) -> str | None:
    typed = {get_key(item): item for item in parse_overrides(overrides)}
    return str(typed["hydra.run.dir"].value()) if "hydra.run.dir" in typed else None


def _refuse_used(key: str, folder: Path, sweep: bool = False) -> None:
    if is_used(folder):
        name = folder.as_posix()
        go_on = f", or go on with the run there: resume={name}" if not sweep else ""
        raise ConfigError(
            f"{key}={name}: already holds something, and a run overwrites nothing; name a new folder{go_on}"
        )


def _resumed(arguments: Namespace, composer: Composer, key: str) -> TrainConfig | None:
    """The configuration of the run to be resumed, or None; sys.argv is left with no more than Hydra needs for it."""
    typed: list[str] = arguments.overrides
    parsed = {get_key(item): item for item in parse_overrides(typed)}
    if "resume" not in parsed or parsed["resume"].value() is None:
        return None
    if arguments.multirun:
        raise ConfigError("resume: resumes one run; leave out -m")
    run = find_run_to_resume(str(parsed["resume"].value()))
    folder = _typed_folder(typed)
    if folder is not None and Path(folder) != run.folder:
        raise ConfigError(f"{key}={folder}: a resumed run stays in its folder, {run.shown}; leave this out")
    config = build_resumed_config(run, typed, composer)
    place = run.folder.as_posix()
    # what Hydra wrote when the run began stays as it is
    kept = [text for text in typed if text.startswith(("hydra.", "trust_code="))]
    overrides = [
        *kept,
        format_override("resume", place),
        format_override("hydra.run.dir", place),
        "hydra.output_subdir=null",
    ]
    sys.argv = [sys.argv[0], *(item for item in sys.argv[1:] if item not in typed), *overrides]
    arguments.overrides = overrides
    return config


def _resumed_with_parent(node: DictConfig) -> TrainConfig:
    """The same in a process that Lightning started, whose parent has saved what was typed."""
    return load_first_process_config(find_run_to_resume(str(node.resume)), bool(node.trust_code))
