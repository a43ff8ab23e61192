"""Archives are extracted once, whole or not at all, and never elsewhere."""

import os
import shlex
import stat
import subprocess
import tracemalloc
import zlib
from collections import namedtuple
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

import pytest
from helpers.images import dataset, write_classes

from medclf.data.build_image_table import load_image_table
from medclf.data.sources import archive
from medclf.data.sources.discovery import extract_archive, find_images, image_root, is_extracted
from medclf.utils.errors import DataError

NAME = "RadImageNet - Hip MRI.zip"
CLASSES = {"normal": 3, "osseous_lesion": 2}
PATHS = [*(f"normal/image ({i}).png" for i in (1, 2, 3)), *(f"osseous_lesion/image ({i}).png" for i in (1, 2))]


def pack(path, classes=CLASSES, above="", compression=ZIP_DEFLATED):
    """A zip of class folders, in a folder that holds nothing else."""
    images = path.parent.parent / "images"
    write_classes(images, classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w", compression) as file:
        for image in sorted(images.rglob("*.png")):
            file.write(image, above + image.relative_to(images).as_posix())
    return images


def below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("above", ["", "Hip MRI/"])
def test_archive_in_root(tmp_path, above):
    images = pack(tmp_path / "hip" / NAME, above=above)
    config = dataset(tmp_path / "hip", name="hip_mri")
    assert not is_extracted(config)
    extract_archive(config)
    assert is_extracted(config)
    found = find_images(config)
    assert [(image.path, image.label) for image in found.images] == [(above + p, p.split("/")[0]) for p in PATHS]
    for path in PATHS:
        assert (image_root(config) / above / path).read_bytes() == (images / path).read_bytes()
    assert {path.name for path in (tmp_path / "hip").iterdir()} == {NAME, Path(NAME).stem}


def test_root_that_is_an_archive(tmp_path):
    pack(tmp_path / "hip" / "mri.v2.zip")
    config = dataset(tmp_path / "hip" / "mri.v2.zip", name="hip_mri")
    extract_archive(config)
    assert image_root(config) == tmp_path / "hip" / "mri.v2"
    assert [image.path for image in find_images(config).images] == PATHS


def test_table_of_an_archive(tmp_path):
    pack(tmp_path / "hip" / NAME, {"normal": 12, "osseous_lesion": 8})
    table = load_image_table(dataset(tmp_path / "hip", "dataset.batch_size=4", name="hip_mri"), progress=False)
    assert table.frame["class"].value_counts().to_dict() == {"normal": 12, "osseous_lesion": 8}
    assert (table.root / table.frame["path"][0]).is_file()


def test_folders_instead_of_the_archive(tmp_path):
    write_classes(tmp_path / "hip", CLASSES)
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    assert [image.path for image in find_images(config).images] == PATHS


def test_extracted_once(tmp_path):
    pack(tmp_path / "hip" / NAME)
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    paths = [image_root(config), *image_root(config).rglob("*")]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths}
    extract_archive(config)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in paths} == before


def extracted(folder):
    archive.extract_to(folder / NAME, folder / Path(NAME).stem)
    return folder / Path(NAME).stem


def refused(folder):
    """The message, after a look that nothing but the archive is there."""
    with pytest.raises(DataError) as error:
        extracted(folder)
    assert below(folder) == [NAME]
    assert {path.name for path in folder.parent.iterdir()} <= {"images", folder.name}
    return str(error.value)


@pytest.mark.parametrize(
    "member", ["../evil.png", "normal/../../evil.png", "/tmp/medclf_evil.png", "C:\\evil.png", "..\\evil.png", "C:evil"]
)
def test_member_that_leads_outside(tmp_path, member):
    pack(tmp_path / "hip" / NAME)
    with ZipFile(tmp_path / "hip" / NAME, "a") as file:
        file.writestr(member, b"evil")
    message = refused(tmp_path / "hip")
    assert "would be written outside" in message
    assert member in message
    assert not Path("/tmp/medclf_evil.png").exists()


def test_link(tmp_path):
    pack(tmp_path / "hip" / NAME)
    link = ZipInfo("normal/link.png")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with ZipFile(tmp_path / "hip" / NAME, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert "holds links or devices: normal/link.png" in refused(tmp_path / "hip")


def test_bomb(tmp_path):
    pack(tmp_path / "hip" / NAME)
    with ZipFile(tmp_path / "hip" / NAME, "a", ZIP_DEFLATED) as file:
        file.writestr("normal/zeros.png", bytes(30 * 2**20))
    assert "may be zip bombs: normal/zeros.png; nothing is extracted" in refused(tmp_path / "hip")


def zeros(path, count, size):
    """Members that each stay below the size from which their ratio is looked at."""
    with ZipFile(path, "a", ZIP_DEFLATED) as file:
        for at in range(count):
            file.writestr(f"normal/zeros {at}.txt", bytes(size))


def test_many_small_bombs(tmp_path, monkeypatch):
    pack(tmp_path / "hip" / NAME)
    zeros(tmp_path / "hip" / NAME, 80, 2**20)
    message = refused(tmp_path / "hip")
    assert "times its size, over 200, and may be a zip bomb; to allow it: export MEDCLF_MAX_ARCHIVE_RATIO=" in message
    monkeypatch.setenv("MEDCLF_MAX_ARCHIVE_RATIO", message.rpartition("=")[2])
    assert len(below(extracted(tmp_path / "hip"))) == 88


def changed(path, name, **fields):
    """Change what the directory of an archive says of a member."""
    places = {"crc": 16, "compress_size": 20, "file_size": 24}
    content = bytearray(path.read_bytes())
    entry = content.index(name.encode(), content.index(b"PK\x01\x02")) - 46
    for field, value in fields.items():
        content[entry + places[field] : entry + places[field] + 4] = value.to_bytes(4, "little")
    path.write_bytes(content)


def test_a_member_that_expands_to_more_than_the_directory_says(tmp_path):
    """Little of it is expanded; all of it took up to 2.9 GB."""
    path = tmp_path / "hip" / NAME
    pack(path)
    with ZipFile(path, "a", ZIP_DEFLATED) as file:
        file.writestr("normal/lie.png", bytes(50 * 2**20))
    changed(path, "normal/lie.png", file_size=1000, crc=zlib.crc32(bytes(1000)))
    tracemalloc.start()
    folder = extracted(tmp_path / "hip")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (folder / "normal/lie.png").stat().st_size == 1000
    assert peak < 10e6


def test_what_is_written_is_counted_whatever_the_directory_says(tmp_path, monkeypatch):
    pack(tmp_path / "hip" / NAME)
    zeros(tmp_path / "hip" / NAME, 80, 2**20)
    monkeypatch.setattr(archive, "validate_expansion", lambda *arguments: None)
    assert "expands to over 200 times its size" in refused(tmp_path / "hip")


def test_too_many_members(tmp_path, monkeypatch):
    pack(tmp_path / "hip" / NAME)
    monkeypatch.setenv("MEDCLF_MAX_ARCHIVE_MEMBERS", "4")
    message = refused(tmp_path / "hip")
    assert message.endswith("has 5 members, over 4; to allow it: export MEDCLF_MAX_ARCHIVE_MEMBERS=5")


@pytest.mark.parametrize("name", ["d/" * 40 + "a.png", "x" * 1001])
def test_paths_that_are_too_long_or_deep(tmp_path, name):
    pack(tmp_path / "hip" / NAME)
    with ZipFile(tmp_path / "hip" / NAME, "a") as file:
        file.writestr(name, b"")
    assert "paths in it have over 1000 characters or 32 folders" in refused(tmp_path / "hip")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("normal/image (1).png", "two members are named normal/image (1).png; nothing is extracted"),
        ("normal\\image (1).png", "two members are named normal/image (1).png; nothing is extracted"),
        ("./normal//image (1).png", "two members are named normal/image (1).png; nothing is extracted"),
        ("normal/image (1).png/x.png", "normal/image (1).png is both a file and a folder; nothing is extracted"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_would_replace_each_other(tmp_path, name, message):
    pack(tmp_path / "hip" / NAME)
    with ZipFile(tmp_path / "hip" / NAME, "a") as file:
        file.writestr(name, b"other")
    assert message in refused(tmp_path / "hip")


@pytest.mark.parametrize(
    ("name", "other"), [("Normal/x.png", "normal"), ("normal/IMAGE (1).PNG", "normal/image (1).png")]
)
def test_names_that_differ_in_case_where_the_file_system_ignores_it(tmp_path, monkeypatch, name, other):
    pack(tmp_path / "hip" / NAME)
    with ZipFile(tmp_path / "hip" / NAME, "a") as file:
        file.writestr(name, b"other")
    monkeypatch.setattr(archive, "_ignores_case", lambda path: True)
    assert f"{other} and {name.removesuffix('/x.png')} differ only in case" in refused(tmp_path / "hip")
    monkeypatch.undo()
    assert (extracted(tmp_path / "hip") / name).is_file()


def test_backslashes_separate_folders(tmp_path):
    path = tmp_path / "hip" / NAME
    images = pack(path)
    with ZipFile(path, "w") as file:
        for name in PATHS:
            file.writestr(name.replace("/", "\\"), (images / name).read_bytes())
        file.writestr("empty\\", b"")
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    assert [image.path for image in find_images(config).images] == PATHS
    path.unlink()
    pack(path)  # the same with slashes
    extract_archive(config)
    assert len(find_images(config).images) == 5


def test_an_archive_that_was_replaced_is_noticed(tmp_path):
    path = tmp_path / "hip" / NAME
    pack(path)
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    os.utime(path, (0, 0))  # touched, or copied: its content is the same
    assert is_extracted(config)
    with ZipFile(path, "a") as file:
        file.writestr("normal/another.png", b"image")
    for look in (is_extracted, extract_archive):
        with pytest.raises(DataError, match="was extracted from an archive that") as error:
            look(config)
    subprocess.run(shlex.split(str(error.value).rpartition(": ")[2]), check=True)
    extract_archive(config)
    assert (image_root(config) / "normal" / "another.png").is_file()


def test_a_folder_of_the_user_is_used_with_a_warning(tmp_path, caplog):
    pack(tmp_path / "hip" / NAME)
    config = dataset(tmp_path / "hip", name="hip_mri")
    write_classes(image_root(config), {"normal": 1, "osseous_lesion": 1})
    extract_archive(config)
    assert len(find_images(config).images) == 2
    assert f"is there already, so {NAME} is not extracted; to extract it again: rm -r '" in caplog.text


def test_truncated(tmp_path):
    path = tmp_path / "hip" / NAME
    pack(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "damaged" in refused(path.parent)


def test_text(tmp_path):
    path = tmp_path / "hip" / NAME
    path.parent.mkdir()
    path.write_text("no archive", encoding="utf-8")
    assert "damaged" in refused(path.parent)


@pytest.mark.parametrize("compression", [ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_damaged_content(tmp_path, compression):
    """Stored, the checksum does not fit; compressed, the stream itself is broken."""
    path = tmp_path / "hip" / NAME
    pack(path, compression=compression)
    with ZipFile(path) as file:
        last = file.infolist()[-1]
    content = bytearray(path.read_bytes())
    start = last.header_offset + 30 + len(last.filename)
    content[start : start + 200] = bytes([255]) * 200
    path.write_bytes(content)
    assert "damaged" in refused(path.parent)


def test_encrypted(tmp_path):
    path = tmp_path / "hip" / NAME
    pack(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag in the first entry of the directory
    path.write_bytes(content)
    message = refused(path.parent)
    assert f"{path}: its files are encrypted; extract it with its password, then name the folder: " in message


def test_full_disk(tmp_path, monkeypatch):
    pack(tmp_path / "hip" / NAME)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: usage(2**30, 2**30, 100))
    assert "0.0 GiB are free" in refused(tmp_path / "hip")


def interrupt_second(monkeypatch, error):
    """Let the second member end in an error."""
    write, calls = archive._write, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise error
        return write(*arguments)

    monkeypatch.setattr(archive, "_write", interrupted)


def test_interrupted(tmp_path, monkeypatch):
    pack(tmp_path / "hip" / NAME)
    interrupt_second(monkeypatch, KeyboardInterrupt())
    config = dataset(tmp_path / "hip", name="hip_mri")
    with pytest.raises(KeyboardInterrupt):
        extract_archive(config)
    assert below(tmp_path / "hip") == [NAME]
    monkeypatch.undo()
    extract_archive(config)
    assert len(find_images(config).images) == 5


def test_disk_that_fills_up(tmp_path, monkeypatch):
    pack(tmp_path / "hip" / NAME)
    interrupt_second(monkeypatch, OSError(28, "No space left on device"))
    assert "no space left" in refused(tmp_path / "hip")


def test_another_process_was_first(tmp_path, monkeypatch):
    """The folder that it made is kept."""
    pack(tmp_path / "hip" / NAME)
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    (image_root(config) / "normal" / "first").touch()
    archive.extract_to(tmp_path / "hip" / NAME, image_root(config))
    assert (image_root(config) / "normal" / "first").is_file()
    assert {path.name for path in (tmp_path / "hip").iterdir()} == {NAME, Path(NAME).stem}


def test_folders_can_be_read_by_others(tmp_path):
    pack(tmp_path / "hip" / NAME)
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    made = tmp_path / "made"
    made.mkdir()
    assert image_root(config).stat().st_mode == made.stat().st_mode


def test_highly_compressed_picture_is_no_bomb(tmp_path):
    """A blank picture of 1 MiB shrinks a thousand times and may."""
    pack(tmp_path / "hip" / NAME)
    with ZipFile(tmp_path / "hip" / NAME, "a", ZIP_DEFLATED) as file:
        file.writestr("normal/blank.bmp", bytes(2**20))
    config = dataset(tmp_path / "hip", name="hip_mri")
    extract_archive(config)
    assert (image_root(config) / "normal/blank.bmp").stat().st_size == 2**20
