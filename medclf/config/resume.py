"""Resuming a run: its saved configuration as plain data, with what was typed now on top."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from medclf.config.component_registry import EXPRESSION
from medclf.config.composition import Composer, suggest_key
from medclf.config.overrides import get_key, parse_overrides
from medclf.config.schema import TrainConfig, to_plain_data, validate_content
from medclf.utils.errors import ConfigError, DataError
from medclf.utils.json_yaml import read_json, read_yaml
from medclf.utils.run_folder import Run, find_unfinished_runs, validate_not_finished

SAME = {
    "dataset": ("image_size", "channels", "resize", "clahe", "normalization", "batch_size", "balanced_sampling"),
    "model": ("backbone", "head", "activation", "frozen", "unfreeze_at", "backbone_lr_scale"),
    "optimizer": ("_target_",),
    "scheduler": ("name",),
}
"""By group, what may not change under a network that has begun to learn."""
WHOLE_RECIPES = ("experiment", "hpo", "hpo/space", "launcher", "local")
"""Groups that set keys of all others, which a resumed run has already."""
Content = dict[str, Any]


def build_resumed_config(run: Run, typed: list[str], composer: Composer) -> TrainConfig:
    """Return the configuration of a run that is resumed.

    It is read as plain data: no expression in it is resolved. Only what was typed now passes through Hydra. A group
    that is typed again (``trainer=gpu``) replaces that group, and keys of it that were typed when the run began stay.

    Args:
        run: to resume.
        typed: overrides typed now, ``resume=`` among them.
        composer: of the command.

    Raises:
        ConfigError: for overrides that cannot be applied, and a configuration that is not valid.
        DataError: for a run whose files are damaged.
    """
    content = read_yaml(run.config)
    # about the command, not the run: what was saved does not count
    content |= {"resume": str(run.folder), "resume_from": "last", "trust_code": False}
    overrides = [item for item in parse_overrides(typed) if not get_key(item).startswith("hydra.")]
    overrides = [item for item in overrides if get_key(item) != "resume"]
    groups = _groups(overrides, composer)
    if groups:
        _replace_groups(content, groups, _typed_before(run), composer)
    for item in overrides:
        if item not in groups:
            _apply(content, item)
    try:
        return validate_content(content, TrainConfig)
    except ConfigError as error:
        raise ConfigError(f"{error}\n(the configuration of {run.shown} is read from {run.config})") from error


def load_first_process_config(run: Run, trust_code: bool) -> TrainConfig:
    """Return the configuration of a run that several processes resume, which the first of them has saved.

    Nothing is composed: Hydra is at work in this process already.

    Args:
        run: to resume.
        trust_code: whether it was typed now.

    Raises:
        ConfigError, DataError: as ``build_resumed_config``.
    """
    content = read_yaml(run.config) | {"resume": str(run.folder), "trust_code": trust_code}
    return validate_content(content, TrainConfig)


def validate_same_setup(run: Run, config: TrainConfig) -> None:
    """Raise if a run would be continued with another network, or with images in another form or order.

    Raises:
        ConfigError: with every key that differs, its value now and then.
    """
    if not run.config.is_file():  # it stopped before it had begun
        return
    before, now = read_yaml(run.config), config.model_dump(by_alias=True)
    tuned = {"dataset.batch_size"} if config.tune.batch_size else set()
    differs = [
        f"{group}.{key}={now[group].get(key)}: the run has {value}"
        for group, key, value in _fixed(before)
        if value != now[group].get(key) and f"{group}.{key}" not in tuned
    ]
    if before.get("seed") != now["seed"]:
        differs.insert(0, f"seed={now['seed']}: the run has {before.get('seed')}")
    if differs:
        raise ConfigError(
            "\n".join(differs) + f"\nresume={run.shown}: goes on as it began; leave these out, or start a new run"
        )


def _fixed(content: Content) -> Iterator[tuple[str, str, Any]]:
    """Group, key and value of what may not change."""
    for group, keys in SAME.items():
        node: Any = content.get(group)
        known = node if isinstance(node, dict) else {}
        for key in keys:
            if key in known:
                yield group, key, known[key]


def _groups(overrides: list[Override], composer: Composer) -> list[Override]:
    """The overrides that choose the config of a group."""
    choices: Any = composer.compose([]).hydra.runtime.choices
    known = {str(group) for group in choices}
    found = [item for item in overrides if get_key(item) in known and not isinstance(item.value(), dict)]
    for item in found:
        if get_key(item) in WHOLE_RECIPES:
            raise ConfigError(f"{item.input_line}: cannot be changed when a run is resumed; leave it out")
    return found


def _typed_before(run: Run) -> list[str]:
    """The keys that were typed when the run began."""
    try:
        words = read_json(run.record).get("command")
    except DataError:
        return []
    texts = words if isinstance(words, list) else []
    return [str(word).lstrip("+~").partition("=")[0] for word in texts]


def _replace_groups(content: Content, groups: list[Override], before: list[str], composer: Composer) -> None:
    composed = to_plain_data(composer.compose([str(item.input_line) for item in groups]))
    for item in groups:
        group = get_key(item).replace("/", ".")
        kept = {key: _get(content, key) for key in before if key.startswith(f"{group}.")}
        _set(content, group, _get(composed, group))
        for key, value in kept.items():
            if value is not None:
                _set(content, key, value)


def _apply(content: Content, item: Override) -> None:
    """Set, add or delete one value, as Hydra would."""
    key = get_key(item)
    if item.is_sweep_override():
        raise ConfigError(f"{item.input_line}: has several values, and one run is resumed; type one")
    if EXPRESSION in str(item.input_line):
        raise ConfigError(f"{item.input_line}: an expression cannot be typed when a run is resumed; type its value")
    exists = _has(content, key)
    is_argument = key.startswith("trainer.")  # checked with the whole configuration
    if not exists and not (item.is_add() or item.is_force_add() or is_argument):
        nearest = suggest_key(key, list(_keys(content)))
        raise ConfigError(f"{key}: there is no such key; {nearest}".rstrip("; "))
    if item.is_delete():
        _parent(content, key).pop(key.rpartition(".")[2])
        return
    _set(content, key, item.value())


def _has(content: Content, key: str) -> bool:
    return key.rpartition(".")[2] in _parent(content, key)


def _parent(content: Content, key: str) -> Content:
    """The mapping that a key is in; an empty one where there is none."""
    above = key.rpartition(".")[0]
    node = _get(content, above) if above else content
    return node if isinstance(node, dict) else {}


def _get(content: Content, key: str) -> Any:
    node: Any = content
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _set(content: Content, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = content
    for part in parents:
        if not isinstance(node.get(part), dict):
            node[part] = {}
        node = node[part]
    node[last] = value


def _keys(content: Content, prefix: str = "") -> Iterator[str]:
    for key, value in content.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def find_run_to_resume(name: str) -> Run:
    """Return the run that ``resume=NAME`` means; ``last`` is the unfinished run below runs/ that was last at work.

    Raises:
        ConfigError: for a folder that is no run, has finished, or stopped before its configuration was saved.
    """
    run = Run(_folder(name))
    if not run.folder.is_dir() or not (run.record.is_file() or run.config.is_file()):
        raise ConfigError(f"resume={name}: is not a run folder ({run.record} does not exist)")
    validate_not_finished(run)
    if not run.config.is_file():
        raise ConfigError(f"resume={name}: stopped before its configuration was saved; start the run again")
    return run


def _folder(name: str) -> Path:
    if name != "last" or Path(name).is_dir():
        return Path(name)
    waiting = find_unfinished_runs(Path("runs"))
    if not waiting:
        raise ConfigError("resume=last: no run below runs/ is unfinished; name one: resume=RUN")
    return waiting[0].folder
