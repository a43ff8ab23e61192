"""A folder takes its name once it is whole, and what killed processes left is removed."""

import pytest
from filelock import FileLock

from medclf.staged_folder import LOCK, staged_folder


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    target = tmp_path / "set"
    with pytest.raises(ValueError, match="broken"), staged_folder(target) as aside:
        (aside / "a").touch()
        raise ValueError("broken")
    assert not list(tmp_path.iterdir())
    with staged_folder(target) as aside:
        (aside / "a").touch()
        assert not target.exists()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["set", "set/a"]


def test_what_a_killed_process_left_is_removed_and_what_another_is_filling_stays(tmp_path):
    with staged_folder(tmp_path / "set") as aside:
        killed = tmp_path / f"{aside.name[:-8]}killed00"
        alive = tmp_path / f"{aside.name[:-8]}alive000"
    for folder in (killed, alive):
        folder.mkdir()
        (folder / LOCK).touch()
    (tmp_path / ".set-of-the-user").mkdir()
    (tmp_path / "set" / "a").touch()
    with FileLock(alive / LOCK), staged_folder(tmp_path / "set"):
        pass
    assert not killed.exists()
    assert alive.is_dir()
    assert (tmp_path / ".set-of-the-user").is_dir()
    assert (tmp_path / "set" / "a").is_file()  # another process was first
