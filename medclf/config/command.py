"""What all entry points share: check, then hand over to Hydra. An error is one message, no traceback."""

import functools
import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from medclf import sweeps
from medclf.config import devices, resolvers
from medclf.config.compose import Composer, jobs, parse
from medclf.config.flags import check_flags
from medclf.config.paths import conf_dir
from medclf.config.schema import Checked, Config, validated
from medclf.errors import ConfigError, MedclfError
from medclf.runs import Run, is_main_process, is_used, refuse_finished, unfinished
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
        sweep = None
        if not devices.is_started_by_lightning():  # else its parent has been checked
            sweep = _check_command_line(name, kind, check)
        if sweep is not None:
            sweeps.begin(sweep)
        try:
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=name)(_as_hydra_task(task, kind))()
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


def _as_hydra_task(task: Task[Checked], kind: type[Checked]) -> Callable[[DictConfig], float | None]:
    @functools.wraps(task)
    def hydra_task(node: DictConfig) -> float | None:
        config, folder = validated(node, kind), Path(HydraConfig.get().runtime.output_dir)
        if HydraConfig.get().mode is RunMode.MULTIRUN and isinstance(config, Config):
            return sweeps.job(train, config, folder, sweeps.identity(_root_=node))
        return task(config, folder)

    def train(config: Config, folder: Path) -> float | None:
        return task(config, folder)  # type: ignore[arg-type]

    return hydra_task


def _check_command_line(name: str, kind: type[Checked], check: Callable[[Checked], None]) -> Path | None:
    """Check what was typed. Returns the folder of a sweep of trainings; None where there is none."""
    arguments = get_args_parser().parse_args()
    composer = Composer(arguments.config_name or name, arguments.config_dir)
    if check_flags(arguments, composer):
        return None
    arguments.overrides = _with_resumed(arguments)
    sweep = None
    words = with_space(composer, arguments.overrides, arguments.multirun) if kind is Config else arguments.overrides
    for overrides in jobs(words, arguments.multirun):
        node = composer.compose(overrides)
        config = validated(node, kind)
        if arguments.multirun:
            place = Path(node.hydra.sweep.dir)
            sweep = place if kind is Config else None
            if sweep is None or not sweeps.is_sweep(sweep):
                _refuse_used(place, "sweep")
        elif getattr(config, "resume", None) is None and is_main_process():
            _refuse_used(Path(node.hydra.run.dir))
        if isinstance(config, Config):
            devices.check_devices(config.trainer.model_dump(), arguments.multirun, _typed_folder(overrides))
        check(config)
    return sweep


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


def _with_resumed(arguments: Namespace) -> list[str]:
    """The overrides of the run to be resumed, those typed now after them; sys.argv is set to say the same."""
    typed: list[str] = arguments.overrides
    parsed = {item.get_key_element(): item for item in parse(typed)}
    if "resume" not in parsed or parsed["resume"].value() is None:
        return typed
    if arguments.multirun:
        raise ConfigError("resume: goes on with one run; leave out -m")
    folder = _resumed(str(parsed["resume"].value()))
    saved = folder / ".hydra" / "overrides.yaml"
    if not saved.is_file():
        raise ConfigError(f"resume={folder}: is no run folder ({saved} is not there)")
    refuse_finished(Run(folder))
    if not saved.read_text(encoding="utf-8").strip():  # killed while Hydra wrote it
        raise ConfigError(f"{saved}: is empty, so what was typed is not known; start the run anew")
    before = [str(item) for item in OmegaConf.load(saved)]
    kept = [text for text, item in zip(before, parse(before), strict=True) if item.get_key_element() not in parsed]
    others = [text for text in typed if text != parsed["resume"].input_line]
    place = f"'{folder.as_posix()}'"
    overrides = [*kept, *others, f"resume={place}", f"hydra.run.dir={place}"]
    sys.argv = [sys.argv[0], *(item for item in sys.argv[1:] if item not in typed), *overrides]
    return overrides


def _resumed(name: str) -> Path:
    """The folder that is meant: ``last`` is the unfinished run below runs/ that was last at work."""
    if name != "last" or Path(name).is_dir():
        return Path(name)
    waiting = unfinished(Path("runs"))
    if not waiting:
        raise ConfigError("resume=last: no run below runs/ is unfinished; name one: resume=RUN")
    return waiting[0].folder


def _fail(error: MedclfError) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)
