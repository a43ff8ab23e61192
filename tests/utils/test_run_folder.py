import errno
import json
import os
import shlex

import pytest
from helpers.unfinished_files import locked

from medclf.utils import atomic_write
from medclf.utils.errors import ConfigError, DataError
from medclf.utils.json_yaml import write_json
from medclf.utils.run_folder import Run, find_unfinished_runs, is_used, lock_run


def test_a_folder_has_one_run(tmp_path):
    with Run(tmp_path).at_work():
        assert Run(tmp_path).status == "running"
        with pytest.raises(ConfigError, match="another run has this folder"), Run(tmp_path).at_work():
            pass
    with pytest.raises(ConfigError, match="another run has this folder"), Run(tmp_path).at_work():
        pass


def test_record_of_a_finished_run(tmp_path):
    run = Run(tmp_path)
    with run.at_work() as facts:
        facts.device = "cpu"
    record = json.loads(run.record.read_text(encoding="utf-8"))
    assert (record["status"], record["device"]) == ("finished", "cpu")
    assert record["started"] <= record["ended"]
    with pytest.raises(ConfigError, match="has finished"), run.at_work(resumed=True):
        pass


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("bad"), "failed")])
def test_record_of_a_run_that_did_not_finish(tmp_path, error, status):
    run = Run(tmp_path)
    with pytest.raises(type(error)), run.at_work():
        raise error
    record = json.loads(run.record.read_text(encoding="utf-8"))
    assert record["status"] == status
    assert record.get("error") == ("ValueError: bad" if status == "failed" else None)
    with run.at_work(resumed=True):
        assert run.status == "running"
        assert "error" not in json.loads(run.record.read_text(encoding="utf-8"))


@pytest.mark.parametrize("content", ["{}", "[]", "7"])
def test_a_record_without_a_status_is_refused(tmp_path, content):
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"run\.json: "):
        print(Run(tmp_path).status)


def test_json_is_written_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "a.json", {"value": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"value": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.fixture
def full_disk(monkeypatch):
    """Nothing can be written as long as a run keeps some space for its record."""

    def fill(run):
        def sync(handle):
            if (run.folder / ".reserve").exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(atomic_write.os, "fsync", sync)

    return fill


@pytest.mark.parametrize("name", ["run", "it's a run"])
def test_a_full_disk_is_one_message_and_the_record_tells_how_the_run_ended(tmp_path, monkeypatch, full_disk, name):
    monkeypatch.chdir(tmp_path)
    run = Run(tmp_path / name)
    with pytest.raises(DataError) as caught, run.at_work():
        full_disk(run)
        atomic_write.write_text(run.folder / "report.html", "text")
    said, _, command = str(caught.value).partition(", then: ")
    assert said == f"{name}: cannot be written: no space left; free some"
    assert shlex.split(command)[:3] == ["python", "-m", "medclf.train"]
    record = json.loads(run.record.read_text(encoding="utf-8"))
    assert record["status"] == "failed"
    assert "no space left" in record["error"]
    assert sorted(path.name for path in run.folder.iterdir()) == [".lock", "run.json"]


def test_a_full_disk_is_recognised_behind_the_error_of_a_library(tmp_path):
    """As Lightning says it of a metric that TensorBoard could not write."""
    with pytest.raises(DataError, match="cannot be written: no space left"), Run(tmp_path / "run").at_work():
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ValueError("you tried to log 0.68 which is currently not supported") from error


def test_an_error_about_another_file_is_not_taken_for_a_failed_write(tmp_path):
    with pytest.raises(PermissionError), Run(tmp_path / "run").at_work():
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/images/a.png")


def test_a_damaged_record_is_left_out_of_the_unfinished_runs(tmp_path, capsys):
    for name in ("whole", "damaged"):
        with pytest.raises(KeyboardInterrupt), Run(tmp_path / name).at_work():
            raise KeyboardInterrupt
    (tmp_path / "damaged" / "run.json").write_text("{", encoding="utf-8")
    assert [run.folder.name for run in find_unfinished_runs(tmp_path)] == ["whole"]
    assert "damaged/run.json" in capsys.readouterr().err


def test_a_folder_of_another_process_is_refused_unchanged(tmp_path):
    folder = tmp_path / "run"
    said = pytest.raises(ConfigError, match=r"^hydra\.run\.dir=.*run: another process is at work there")
    with locked(folder), said, lock_run(folder, "hydra.run.dir"):
        pass
    with lock_run(folder, "hydra.run.dir"):
        assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_folder_below_a_file_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "file").touch()
    said = pytest.raises(ConfigError, match=r"cannot be written: a part of the path is a file; name another")
    with said, lock_run(tmp_path / "file" / "run", "hydra.run.dir"):
        pass


def test_the_lock_of_a_process_killed_at_its_start_does_not_use_up_a_folder(tmp_path):
    (tmp_path / ".lock").touch()
    assert not is_used(tmp_path)
    (tmp_path / "train.log").touch()
    assert is_used(tmp_path)
