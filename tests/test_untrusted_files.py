"""Files of runs and models from a stranger: nothing in them is resolved, imported, opened or created.

Hostile strings are put into every value of every file that is read, and an audit hook of Python watches what happens.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from medclf.comparison.sources import read_sources
from medclf.composites.ensemble import _config
from medclf.composites.stages import read_stages
from medclf.config import component_registry
from medclf.config.composition import Composer
from medclf.config.resume import build_resumed_config, find_run_to_resume, validate_same_setup
from medclf.config.schema import TrainConfig, validate_config
from medclf.evaluation.predictions_io import load_predictions
from medclf.inference.composite_model_files import validate_model
from medclf.inference.loading import load_model
from medclf.inference.model_metadata import find_model_file, read_metadata
from medclf.inference.training_run_images import load_run_dataset
from medclf.overview.runs import read_runs
from medclf.reporting.run_description import summarize_run
from medclf.training.checkpointing import find_whole_checkpoint
from medclf.training.trainer import build_trainer
from medclf.utils.errors import MedclfError
from medclf.utils.json_yaml import read_json, write_json
from medclf.utils.run_folder import Run
from medclf.web_demo.headline_metrics import get_headline_metrics

SENTINEL = "medclf_attack"
"""Name of the module that payloads would import, and of the file that they would create."""
PATH = f"${{oc.create:{{_target_:pathlib.Path,_args_:[{SENTINEL}]}}}}"
CREATE = f"${{oc.create:{{_target_:pathlib.Path.touch,_args_:[{PATH}]}}}}"
PAYLOADS = [
    CREATE,
    f"${{oc.env:{SENTINEL}}}",
    f"${{oc.decode:'${{oc.create:{{_target_:{SENTINEL}.run}}}}'}}",
    "${medclf.identity:}",
    f"!!python/object/apply:builtins.open [{SENTINEL}, w]",
    f"{SENTINEL}.run",
    f"hydra.run.dir={SENTINEL}",
    f"=HYPERLINK({SENTINEL})",
    {"_target_": f"{SENTINEL}.run"},
    {"_target_": "builtins.open", "file": SENTINEL, "mode": "w"},
    {"_target_": "pathlib.Path.touch", "_args_": [SENTINEL], "_partial_": False},
    {"_target_": "torch.nn.Sequential", "module": {"_target_": f"{SENTINEL}.run"}},
]
READ = (
    "checkpoints/best.json", "run.json", "config.yaml", "metrics.json", ".hydra/config.yaml", ".hydra/overrides.yaml",
    ".hydra/hydra.yaml", "hparams.yaml", "predictions.csv", "splits.csv", "fingerprints.csv", "history.csv",
    "checkpoints/last.ckpt",
)  # fmt: skip


WATCHED = ("import", "open", "os.mkdir", "os.rename", "os.system", "subprocess.Popen", "exec", "compile")
"""Events of Python's audit hooks (PEP 578)."""


class Watch:
    """Notes each import, open, process and evaluation that names the sentinel, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._look)  # for good: Python removes none

    def _look(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.on and event in WATCHED and SENTINEL in str(arguments)[:2000]:
            self.seen.append(f"{event}: {str(arguments)[:200]}")

    def find_spec(self, name: str, *_: object) -> None:
        """Note an import, of which importlib raises no event."""
        if SENTINEL in name:
            self.seen.append(f"import: {name}")

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        self.seen, self.on = [], True
        sys.meta_path.insert(0, self)
        try:
            yield self.seen
        finally:
            self.on = False
            sys.meta_path.remove(self)


WATCH = Watch()


@pytest.fixture(scope="module")
def run(tabled, tmp_path_factory):
    """A finished run with one of every file."""
    folder = tmp_path_factory.mktemp("stranger") / "run"
    shutil.copytree(tabled, folder)
    assert not [name for name in READ if not (folder / name).is_file() and name != "hparams.yaml"]
    return folder


def places(content, path=()):
    """Every string in nested data, names of entries included."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield (*path, ("key", key))
            yield from places(value, (*path, key))
    elif isinstance(content, list):
        for at, value in enumerate(content):
            yield from places(value, (*path, at))
    elif isinstance(content, str) or content is None:
        yield path


def with_payload(content, path, payload):
    node = content
    for part in path[:-1]:
        node = node[part]
    last = path[-1] if path else None
    if isinstance(last, tuple):
        node[payload if isinstance(payload, str) else json.dumps(payload)] = node.pop(last[1])
    else:
        node[last] = payload
    return content


def load(path):
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".ckpt":
        return torch.load(path, weights_only=True)["hyper_parameters"]
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def save(path, content):
    if path.suffix == ".json":
        path.write_text(json.dumps(content), encoding="utf-8")
    elif path.suffix == ".ckpt":
        torch.save({**torch.load(path, weights_only=True), "hyper_parameters": content}, path)
    else:
        path.write_text(yaml.safe_dump(content), encoding="utf-8")


def poison(folder, name, draw):
    """Put one payload into one place of a file."""
    path, payload = folder / name, draw(st.sampled_from(PAYLOADS))
    if path.suffix == ".csv":
        rows = path.read_text(encoding="utf-8").splitlines()
        row = draw(st.integers(0, min(len(rows) - 1, 3)))
        cells = rows[row].split(",")
        cells[draw(st.integers(0, len(cells) - 1))] = f'"{str(payload).replace(chr(34), chr(39))}"'
        rows[row] = ",".join(cells)
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    elif draw(st.integers(0, 9)) == 0 and path.suffix in (".yaml", ".json"):
        path.write_text(str(payload), encoding="utf-8")  # nothing else
    else:
        content = load(path) if path.is_file() else {"a": "b"}
        place = draw(st.sampled_from(list(places(content)) or [("a",)]))
        save(path, with_payload(content, place, payload))


def as_if_written(folder):
    """Make the digests those of the changed files: whoever sends a run can do so too."""
    from medclf.utils.file_digests import file_digest, model_digests

    facts, record = folder / "checkpoints/best.json", folder / "run.json"
    for path, change in ((facts, {"sha256": model_digests(facts)}), (record, {"best_json_sha256": file_digest(facts)})):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if isinstance(content, dict):
            path.write_text(json.dumps({**content, **change}), encoding="utf-8")


def readers(folder):
    """What the commands do with a folder before, and while, they use it."""
    run = Run(folder)
    unfinished = Run(folder.with_name("unfinished"))
    shutil.rmtree(unfinished.folder, ignore_errors=True)
    shutil.copytree(folder, unfinished.folder)

    def resume():
        write_json(unfinished.record, {**read_json(unfinished.record), "status": "interrupted"})
        place = str(unfinished.folder)
        config = build_resumed_config(find_run_to_resume(place), [f"resume='{place}'"], Composer("train"))
        validate_same_setup(unfinished, config)
        build_trainer(config, unfinished)

    def model():
        loaded = load_model(find_model_file(str(folder), None))
        find_whole_checkpoint(run, "last", loaded.classifier.joint.network)

    yield lambda: validate_model(find_model_file(str(folder), None), trust_code=False)
    yield model
    yield lambda: get_headline_metrics(run.best_facts, read_metadata(run.best_facts))
    yield lambda: read_stages(str(folder), str(folder.with_name("unfinished")))
    yield lambda: read_runs([run])[0].setting_id
    yield lambda: read_sources([folder, unfinished.folder])
    yield lambda: _config([run, run])
    yield lambda: summarize_run(run, {})
    yield lambda: load_run_dataset(run)
    yield lambda: load_predictions(run.predictions)
    yield resume


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_no_string_in_any_file_of_a_run_does_anything(run, data, tmp_path_factory):
    name = data.draw(st.sampled_from(READ))
    folder = run.with_name("changed")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run, folder)
    poison(folder, name, data.draw)
    as_if_written(folder)
    with WATCH.watching() as seen:
        for read in readers(folder):
            try:
                read()
            except MedclfError:
                continue
    assert seen == []
    assert SENTINEL not in sys.modules
    assert not list(folder.parent.rglob(f"*{SENTINEL}*"))
    assert not Path(SENTINEL).exists()


def test_the_attack_works_where_a_file_is_given_to_omegaconf(tmp_path, monkeypatch):
    """So that the test above cannot pass for want of a working attack."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"key": CREATE}), encoding="utf-8")
    from hydra.utils import instantiate

    node = OmegaConf.load(tmp_path / "config.yaml")
    with WATCH.watching() as seen:
        instantiate(OmegaConf.create({"_target_": "builtins.open", "file": SENTINEL, "mode": "w"})).close()
        assert (tmp_path / SENTINEL).exists()
        (tmp_path / SENTINEL).unlink()
        OmegaConf.to_container(node, resolve=True)
    assert seen


def test_without_the_check_of_components_the_module_would_be_imported(run, monkeypatch):
    facts = json.loads((run / "checkpoints/best.json").read_text(encoding="utf-8"))
    node = {"backbone": facts["model"]["backbone"], "head": {"_target_": f"{SENTINEL}.run"}}
    monkeypatch.setattr(component_registry, "validate_component", lambda *_: None)
    with WATCH.watching() as seen, pytest.raises(MedclfError, match="cannot be imported"):
        component_registry.build_component("model.head", node["head"], {}, trust_code=False)
    assert any(line.startswith("import") for line in seen)


def test_typed_overrides_alone_pass_through_hydra(run, monkeypatch):
    """A saved configuration equals what was composed, and expressions in it stay text."""
    content = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    content["dataset"]["source"] = CREATE
    folder = run.with_name("resumed")
    shutil.copytree(run, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps({**record, "status": "interrupted"}), encoding="utf-8")
    typed = [f"resume='{folder}'", "trainer.max_epochs=7", "trainer=gpu"]
    config = build_resumed_config(Run(folder), typed, Composer("train"))
    assert config.dataset.source == CREATE
    assert (config.trainer.max_epochs, config.trainer.accelerator) == (7, "gpu")
    composed = validate_config(Composer("train").compose(["trainer=gpu"]), TrainConfig)
    assert config.trainer.model_dump().keys() == composed.trainer.model_dump().keys()
