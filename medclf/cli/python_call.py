"""From overrides given in Python to a checked configuration: what a command does before its work, without sys.argv."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

from medclf.cli.hydra_validation import SUBFOLDER, validate_trust
from medclf.cli.output_folder_validation import (
    validate_cache_outside_images,
    validate_folder_name,
    validate_outside_images,
)
from medclf.cli.resolvers import register_resolvers
from medclf.config import distributed
from medclf.config.composition import Composer
from medclf.config.messages import format_value
from medclf.config.overrides import get_key, parse_overrides
from medclf.config.resume import build_resumed_config, find_run_to_resume
from medclf.config.schema import Checked, TrainConfig, validate_config
from medclf.utils.errors import ConfigError
from medclf.utils.quoting import format_override
from medclf.utils.run_folder import Run, is_used
from medclf.utils.write_errors import format_unwritable

SWEEPS = ("hpo", "hpo/space", "launcher", "sweep")
"""Groups and keys that only a sweep of the command line reads."""


class TrainingCall(NamedTuple):
    """A training that was asked for: its configuration, its folder, and the overrides that repeat it.

    ``node`` is the composed configuration; None where a run is resumed, whose folder has it already.
    """

    config: TrainConfig
    folder: Path
    command: list[str]
    node: DictConfig | None


@contextmanager
def keep_hydra_state() -> Iterator[None]:
    """Set aside what Hydra and OmegaConf keep for the whole process, and put it back after this block."""
    kinds = (GlobalHydra, HydraConfig, VersionBase)
    instances: dict[Any, Any] = Singleton._instances
    before = {kind: instances.pop(kind) for kind in kinds if kind in instances}
    resolvers = dict(BaseContainer._resolvers)
    try:
        register_resolvers()
        yield
    finally:
        for kind in kinds:
            instances.pop(kind, None)
        instances.update(before)
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(resolvers)


def check_words(overrides: Sequence[str], refused: dict[str, str]) -> list[str]:
    """Return the overrides as a list.

    Args:
        overrides: as the command line takes them, without quotes for a shell.
        refused: what to do instead, by key of an override that has no meaning in the call; a key that ends with a dot
            stands for all that begin with it.

    Raises:
        ConfigError: for what is not a list of text, cannot be read, or is refused.
    """
    if isinstance(overrides, str):
        raise ConfigError(f"overrides={format_value(overrides)}: is a single text; pass a list: [{overrides!r}]")
    words = list(overrides)
    for word in words:
        if not isinstance(word, str):
            raise ConfigError(f"overrides: {format_value(str(word))} is {type(word).__name__}; pass text: 'key=value'")
    for item in parse_overrides(words):
        key = get_key(item)
        remedy = next((text for name, text in refused.items() if key == name or _begins(key, name)), None)
        if remedy is not None:
            raise ConfigError(f"{item.input_line}: has no meaning in a call from Python; {remedy}")
        if item.is_sweep_override():
            raise ConfigError(f"{item.input_line}: has several values; pass one, or sweep by python -m medclf.train -m")
    return words


def _begins(key: str, name: str) -> bool:
    return name.endswith(".") and key.startswith(name)


def compose_config(command: str, words: list[str], kind: type[Checked]) -> Checked:
    """Return the checked configuration of a command.

    Args:
        command: name of its file in ``conf/``.
        words: overrides.
        kind: schema of the configuration.

    Raises:
        ConfigError: naming key, value and remedy.
    """
    with keep_hydra_state():
        return _compose(Composer(command), words, kind)[1]


def _compose(composer: Composer, words: list[str], kind: type[Checked]) -> tuple[DictConfig, Checked]:
    node = composer.compose(words)
    validate_trust(node, words)
    return node, validate_config(node, kind)


def compose_training(
    overrides: Sequence[str], output: Path | None, trust_code: bool, check: Callable[[TrainConfig], None]
) -> TrainingCall:
    """Check what is to be trained, as the command does; nothing is written. To be called in ``keep_hydra_state``.

    Hydra's own settings of logging are not tried, since no logging is set up by them.

    Args:
        overrides: of the configuration; ``resume=RUN`` resumes a run.
        output: run folder, new or empty; None: the one that the configuration says.
        trust_code: whether classes of the user's own may be imported and run.
        check: raises for what cannot be trained.

    Raises:
        ConfigError, DataError: naming key, value and remedy.
    """
    refused = {"hydra.": "leave it out; output=FOLDER names the run folder", "hydra": "leave it out"}
    refused |= dict.fromkeys(SWEEPS, "leave it out, or sweep by python -m medclf.train -m")
    refused["sweep."] = refused["sweep"]
    words = check_words(overrides, refused)
    typed = {get_key(item): item.value() for item in parse_overrides(words)}
    if trust_code and "trust_code" not in typed:
        words.append("trust_code=true")
    if typed.get("resume") is not None:
        return _compose_resumed(words, str(typed["resume"]), output, check)
    composed = [*words, *([] if output is None else [format_override("hydra.run.dir", output.as_posix())])]
    node, config = _compose(Composer("train"), composed, TrainConfig)
    folder = Path(node.hydra.run.dir)
    _validate_folder(folder, config)
    _validate_trainer(config)
    check(config)
    return TrainingCall(config, folder, [*words, format_override("hydra.run.dir", folder.as_posix())], node)


def _compose_resumed(
    words: list[str], name: str, output: Path | None, check: Callable[[TrainConfig], None]
) -> TrainingCall:
    if output is not None:
        raise ConfigError(f"output={output}: a run is resumed in its own folder; leave out output")
    run = find_run_to_resume(name)
    config = build_resumed_config(run, words, Composer("train"))
    _validate_trainer(config)
    check(config)
    return TrainingCall(config, run.folder, words, None)


def _validate_folder(folder: Path, config: TrainConfig) -> None:
    validate_folder_name("output", folder)
    validate_outside_images("output", folder, config.dataset)
    validate_cache_outside_images(config.dataset)
    refuse_used(folder)


def refuse_used(folder: Path) -> None:
    """Raise ConfigError if a run folder holds something."""
    if is_used(folder):
        shown = Run(folder).shown
        raise ConfigError(
            f"output={shown}: already holds something, and a run overwrites nothing; name a new folder, or resume the "
            f"run there: resume={shown}"
        )


def _validate_trainer(config: TrainConfig) -> None:
    trainer = config.trainer.model_dump()
    if config.trainer.fast_dev_run:
        raise ConfigError(
            f"trainer.fast_dev_run={str(config.trainer.fast_dev_run).lower()}: keeps no results to return; leave it "
            "out, or use it with python -m medclf.train"
        )
    distributed.validate_devices(trainer)
    if distributed.count_processes(trainer) != 1:
        raise ConfigError(
            f"trainer.devices={trainer['devices']}: a call from Python trains in its own process alone; set "
            "trainer.devices=1 trainer.num_nodes=1, or use several by python -m medclf.train"
        )


def save_overrides(call: TrainingCall) -> None:
    """Write the files in which Hydra keeps the configuration and the overrides of a run.

    Raises:
        ConfigError: where the folder cannot be written.
    """
    if call.node is None:
        return
    folder = call.folder / SUBFOLDER
    contents = {
        "config.yaml": OmegaConf.masked_copy(call.node, [str(key) for key in call.node if key != "hydra"]),
        "hydra.yaml": OmegaConf.masked_copy(call.node, ["hydra"]),
        "overrides.yaml": call.node.hydra.overrides.task,
    }
    try:
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            OmegaConf.save(content, folder / name)
    except OSError as error:
        raise ConfigError(format_unwritable("output", Run(call.folder).shown, error)) from error
