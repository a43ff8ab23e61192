"""Where a command may write: not among its images, and into a folder whose name can be passed on."""

import errno
import os
from pathlib import Path

import pytest
from helpers.images import dataset, write_classes
from helpers.unfinished_files import locked

from medclf.audit import main as audit
from medclf.cli.output_folder_validation import (
    validate_cache_outside_images,
    validate_folder_name,
    validate_outside_images,
)
from medclf.utils import atomic_write
from medclf.utils.errors import ConfigError


@pytest.mark.parametrize("name", ["run", "a b", "it's", 'a "b"', "a=1", "[a]", "Gefäß", "a,b"])
def test_an_unusual_name_is_taken(tmp_path, name):
    validate_folder_name("hydra.run.dir", tmp_path / name)


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\x1bb", "a${b}", "a::b", "\udce4"])
def test_a_name_that_cannot_be_passed_on_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"in its name; name another: hydra\.run\.dir=FOLDER"):
        validate_folder_name("hydra.run.dir", tmp_path / name)


def test_a_quotation_mark_is_refused_only_where_several_processes_get_the_name(tmp_path):
    validate_folder_name("hydra.run.dir", tmp_path / 'a"b')
    with pytest.raises(ConfigError, match="several processes"):
        validate_folder_name("hydra.run.dir", tmp_path / 'a"b', several_processes=True)


@pytest.mark.parametrize("place", ["images/run", "images", "images/cat/run", "link/run"])
def test_a_folder_among_the_images_is_refused(two_classes, place):
    (two_classes.parent / "link").symlink_to(two_classes)
    with pytest.raises(ConfigError, match=r"lies in dataset\.root=.*such as hydra\.run\.dir=runs/"):
        validate_outside_images("hydra.run.dir", two_classes.parent / place, dataset(two_classes))


@pytest.mark.parametrize("place", ["run", "images2", "images/.runs/run"])
def test_a_folder_elsewhere_is_taken(two_classes, place):
    validate_outside_images("hydra.run.dir", two_classes.parent / place, dataset(two_classes))


def test_a_folder_beside_a_table_is_taken(two_classes):
    """Only what the table lists is read."""
    validate_outside_images("hydra.run.dir", two_classes / "run", dataset(two_classes, name="table"))


def test_a_store_that_would_be_a_class_is_refused(two_classes):
    config = dataset(two_classes).model_copy(update={"store": str(two_classes / "store")})
    with pytest.raises(ConfigError, match=r"would be taken for a class"):
        validate_cache_outside_images(config)
    validate_cache_outside_images(config.model_copy(update={"classes": ["cat", "dog"]}))
    (two_classes / "train").mkdir()
    validate_cache_outside_images(config)


@pytest.mark.parametrize("words", [["hydra.run.dir=images/run"], ["-m", "seed=0", "hydra.sweep.dir=images/sweep"]])
def test_a_command_refuses_it_before_anything_is_made(train, tmp_path, words):
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    answer = train(*words, "dataset=folder", "dataset.root=images", "dataset.batch_size=4")
    assert answer.code == 2
    assert "lies in dataset.root=images" in answer.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["a", "b"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["output=used"], "output=used: already holds something"),
        (["hydra.run.dir=used"], "hydra.run.dir=used: already holds something"),
        (["-m", "output=used"], "output=used: already holds something"),
        (["-m", "hydra.sweep.dir=used"], "hydra.sweep.dir=used: already holds something"),
        (["output=a", "hydra.run.dir=b"], "output=a and hydra.run.dir=b: name the output folder more than once"),
        (["-m", "output=a", "hydra.sweep.dir=b"], "output=a and hydra.sweep.dir=b: name the output folder more than"),
        (["output=a", "output=b"], "output=a and output=b: name the output folder more than once"),
        (["output=images/run"], "such as output=runs/run"),
        (["output=run.zip"], "output=run.zip: names a folder, and this is the name of a file; use output=run"),
        (["hydra.run.dir=run.csv"], "hydra.run.dir=run.csv: names a folder, and this is the name of a file"),
        (["output='a"], "output='a: cannot be read"),
        (["output="], "output=: must be a path"),
    ],
)
def test_a_message_names_the_folder_as_it_was_typed(command, words, said):
    write_classes(Path("images"), {"a": 20, "b": 20})
    Path("used").mkdir()
    Path("used/notes.txt").touch()
    answer = command(audit, *words, "dataset=folder", "dataset.root=images", "dataset.batch_size=4")
    assert answer.code == 2
    assert said in answer.err
    assert sorted(path.name for path in Path().iterdir()) == ["images", "used"]


@pytest.mark.parametrize("name", ["run", "my run", "a=b", "'a,b'"])
def test_output_names_the_folder_of_a_run(command, name):
    write_classes(Path("images"), {"a": 20, "b": 20})
    words = ["dataset=folder", "dataset.root=images", "dataset.batch_size=4"]
    answer = command(audit, *words, f"output={name}" if name != "a=b" else "output='a=b'")
    assert answer.code == 0, answer.err
    assert Path(name.strip("'"), "audit.txt").is_file()
    assert not Path("runs").exists()


def test_output_names_the_folder_of_a_sweep(command):
    write_classes(Path("images"), {"a": 20, "b": 20})
    words = ["dataset=folder", "dataset.root=images", "dataset.batch_size=4", "output=both"]
    answer = command(audit, *words, "-m", "dataset.splits.seed=0,1")
    assert answer.code == 0, answer.err
    assert len(list(Path("both").rglob("audit.txt"))) == 2
    assert not Path("runs").exists()


def test_without_a_value_the_folder_is_the_default_one(command):
    write_classes(Path("images"), {"a": 20, "b": 20})
    words = ["dataset=folder", "dataset.root=images", "dataset.batch_size=4"]
    assert command(audit, *words, "output=null").code == 0
    assert len(list(Path("runs/audit").iterdir())) == 1


def test_the_second_of_two_runs_in_one_folder_changes_no_file(train, tmp_path):
    with locked(tmp_path / "run"):
        answer = train("hydra.run.dir=run")
    assert answer.code == 2
    assert "hydra.run.dir=run: another process is at work there" in answer.err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_made_is_one_message(command, tmp_path):
    (tmp_path / "file").touch()
    write_classes(tmp_path / "images", {"a": 20, "b": 20})
    answer = command(audit, "dataset=folder", "dataset.root=images", "hydra.run.dir=file/run")
    assert answer.code == 2
    assert answer.err == (
        "error: hydra.run.dir=file/run: cannot be written: a part of the path is a file; "
        "name another: hydra.run.dir=FOLDER\n"
    )


def test_a_disk_that_is_full_when_an_audit_is_written_is_one_message(command, monkeypatch):
    write_classes(Path("images"), {"a": 20, "b": 20})
    sync = os.fsync

    def full(handle):
        if Path("run/audit.txt").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(atomic_write.os, "fsync", full)
    answer = command(audit, "dataset=folder", "dataset.root=images", "dataset.batch_size=4", "output=run")
    assert answer.code == 2, answer.text
    assert answer.err.endswith("error: output=run: cannot be written: no space left; name another: output=FOLDER\n")
    assert not list(Path("run").glob("images.csv"))
