"""Files that are there whole or not at all; what killed processes left goes, what living ones write stays."""

import errno
import os
import time

import pytest
from helpers.unfinished_files import leave_unfinished, unfinished, writing

from medclf.utils import atomic_write
from medclf.utils.atomic_write import atomic_file, atomic_folder, remove_abandoned, write_text

posix = pytest.mark.skipif(os.name == "nt", reason="Windows does not remove a file that is open")


def test_a_failed_write_leaves_the_file_before_and_names_it(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(OSError, match=r"a\.txt") as caught, atomic_file(path) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text(encoding="utf-8") == "before"


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "set") as aside:
        (aside / "a.txt").touch()
        raise KeyboardInterrupt
    assert not any(tmp_path.iterdir())
    with atomic_folder(tmp_path / "set") as aside:
        (aside / "a.txt").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "a.txt"]


@posix
def test_what_a_killed_process_left_is_removed(tmp_path):
    left = leave_unfinished(tmp_path / "set_0.npy")
    assert remove_abandoned(tmp_path, r"other.*") == []
    assert remove_abandoned(tmp_path, r"set_\d\.npy") == [left]
    assert not any(tmp_path.iterdir())


@posix
def test_what_a_living_process_writes_stays_and_is_finished(tmp_path):
    target = tmp_path / "set_0.npy"
    process = writing(target)
    os.utime(unfinished(target), (0, 0))
    assert remove_abandoned(tmp_path, ".*") == []
    process.communicate()
    assert target.read_bytes() == b"half of it"
    assert [path.name for path in tmp_path.iterdir()] == ["set_0.npy"]


@posix
@pytest.mark.parametrize(("hours", "removed"), [(1, False), (25, True)])
def test_a_file_of_another_machine_is_removed_only_when_it_is_old(tmp_path, hours, removed):
    """Its locks may not be seen here."""
    left = tmp_path / ".set_0.npy-0123abcd-ab_12345"
    left.write_bytes(b"half")
    os.utime(left, (time.time() - 3600 * hours,) * 2)
    assert bool(remove_abandoned(tmp_path, ".*")) is removed
    assert left.exists() is not removed


@posix
def test_a_folder_that_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / f".phantom-{atomic_write._machine()}-ab_12345"
    (left / "train").mkdir(parents=True)
    assert remove_abandoned(tmp_path, "phantom") == [left]
    assert not left.exists()


def test_hidden_files_of_others_stay(tmp_path):
    for name in (".my-settings", ".gitignore", ".a-b", "set-0123abcd-ab_12345"):
        (tmp_path / name).touch()
    remove_abandoned(tmp_path, r"set.*")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("ä" * 120)
    write_text(path, "text")
    assert path.is_file()
