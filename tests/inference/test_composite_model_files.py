"""Models that are made of others, as files."""

import json
import shutil
from pathlib import Path

import pytest

from medclf.inference.composite_model_files import copy_model, validate_model, write_composite
from medclf.inference.model_metadata import read_metadata
from medclf.utils.errors import ConfigError, DataError


@pytest.fixture
def network(tabled, tmp_path):
    """The best.json of a network, beside its weights."""
    folder = tmp_path / "network"
    folder.mkdir()
    for name in ("best.json", "best.pth", "novelty.npz"):
        shutil.copyfile(tabled / "checkpoints" / name, folder / name)
    return folder / "best.json"


def changed(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_of_models_is_copied_whole(network, tmp_path):
    facts = json.loads(network.read_text(encoding="utf-8"))
    inner, outer = tmp_path / "inner/best.json", tmp_path / "outer/best.json"
    write_composite(inner, "ensemble", [network, network], facts)
    write_composite(outer, "cascade", [network, inner], facts)
    copy_model(outer, tmp_path / "copy")
    assert files(tmp_path / "copy") == files(tmp_path / "outer")
    assert files(tmp_path / "copy") == {
        "best.json", "novelty.npz", "members/0/best.json", "members/0/best.pth", "members/0/novelty.npz",
        "members/1/best.json", "members/1/novelty.npz",
        *(f"members/1/members/{at}/{name}" for at in range(2) for name in ("best.json", "best.pth", "novelty.npz")),
    }  # fmt: skip
    for name in files(tmp_path / "copy"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "outer" / name).read_bytes()
    read = read_metadata(tmp_path / "copy/best.json")
    assert (read.kind, read.members) == ("cascade", ["members/0/best.json", "members/1/best.json"])
    (tmp_path / "copy/members/1/members/0/best.pth").unlink()
    with pytest.raises(DataError, match=r"members/1/members/0/best\.pth: is missing"):
        validate_model(tmp_path / "copy/best.json")


def test_the_precision_is_mixed_where_that_of_every_member_is(network, tmp_path):
    facts = json.loads(network.read_text(encoding="utf-8"))
    other = tmp_path / "other"
    copy_model(network, other)
    for precision in ("mixed", "float32"):
        changed(other / "best.json", lambda content, value=precision: content.update(precision=value))
        changed(network, lambda content: content.update(precision="mixed"))
        path = tmp_path / precision / "best.json"
        write_composite(path, "ensemble", [network, other / "best.json"], facts)
        assert read_metadata(path).precision == precision


@pytest.mark.parametrize("name", ["../network/best.json", "/etc/best.json", "members/../../network/best.json"])
def test_members_outside_are_refused(network, tmp_path, name):
    path = tmp_path / "both/best.json"
    write_composite(path, "ensemble", [network, network], json.loads(network.read_text(encoding="utf-8")))
    changed(path, lambda content: content.update(members=[name]))
    with pytest.raises(DataError, match="lies outside the model's own folder"):
        copy_model(path, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "backbone",
    [
        {"_target_": "mine.Network"},
        {"_target_": "torch.nn.init.os.system"},
        {"_target_": "medclf.models.weights.torch.hub.load_state_dict_from_url"},
    ],
)
def test_code_that_is_not_ours_needs_the_word_of_the_user_wherever_it_stands(network, backbone):
    changed(network, lambda content: content["model"].update(backbone=backbone))
    with pytest.raises(ConfigError, match="if you trust it, add trust_code=true"):
        validate_model(network, trust_code=False)
    validate_model(network, trust_code=True)


def test_a_model_of_an_older_release_is_said_to_be_one(network):
    def older(content):
        content["format"] = 1

    with pytest.raises(DataError, match=r"the model is of format 1, written by medclf .* train the model again"):
        validate_model(changed(network, older))


def test_a_copy_is_no_model_before_all_else_is_there(network, tmp_path, monkeypatch):
    copied = []
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, target: copied.append(Path(target).name) or replace(self, target))
    copy_model(network, tmp_path / "copy")
    assert copied == ["novelty.npz", "best.pth", "best.json"]
