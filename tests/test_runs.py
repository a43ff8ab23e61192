import json

import pytest

from medclf.errors import ConfigError, DataError
from medclf.runs import Run, write_json


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
        facts["images"] = 7
    record = json.loads(run.record.read_text(encoding="utf-8"))
    assert (record["status"], record["images"]) == ("finished", 7)
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
