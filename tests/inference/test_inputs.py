"""What predict takes as input, and what it refuses."""

import json
import os
import shutil
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers.prediction_inputs import NAMES, noise, probabilities, table_of, write_dicom, write_odd
from PIL import Image

from medclf.predict import main


@pytest.fixture
def predict(command, finished):
    return partial(command, main, f"run={finished[0]}", "output=out")


def zipped(path, *members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, content in members:
            file.writestr(name, content)


def test_every_kind_of_input_gives_the_same(command, finished, tmp_path):
    """Of the same pictures, by the same names."""
    root = write_odd(tmp_path / "images")
    zipped(tmp_path / "all.ZIP", *((name, (root / name).read_bytes()) for name in NAMES), (".x.png", b""))
    lines = "\n".join('"' + name.replace('"', '""') + '",1' for name in NAMES)
    (root / "table.csv").write_text(f"path,age\n{lines}\n", encoding="utf-8-sig")
    inputs = {"folder": "images", "zip": "all.ZIP", "table": "images/table.csv", "glob": "imag?s/**/*.png"}
    for name, typed in inputs.items():
        assert command(main, f"run={finished[0]}", f"input={typed}", f"output={name}").code == 0
    expected = probabilities(Path("folder"))
    assert len(expected) == len(NAMES)
    for name in inputs:
        found = probabilities(Path(name))
        assert found.keys() == expected.keys()
        assert all(np.allclose(found[image], expected[image], atol=1e-9) for image in found)
    assert list(table_of(Path("table"))["path"]) == list(table_of(Path("zip"))["path"]) == list(NAMES)
    for at, name in enumerate(NAMES):
        assert command(main, f"run={finished[0]}", f"input=images/{name}", f"output=one{at}").code == 0
        (only,) = probabilities(Path(f"one{at}")).values()
        assert np.allclose(only, expected[name.rpartition("/")[2]], atol=1e-9)


def test_dicom(predict, tmp_path):
    pixels = noise(3)
    pixels.flat[:2] = 0, 255  # scaled from the smallest to the largest value: these stay as they are
    (tmp_path / "images").mkdir()
    write_dicom(tmp_path / "images" / "a.dcm", pixels)
    Image.fromarray(pixels).save(tmp_path / "images" / "b.png")
    (tmp_path / "images" / "c.dcm").write_text("none")
    assert predict("input=images").code == 0
    found = probabilities(Path("out"))
    assert np.allclose(found["a.dcm"], found["b.png"], atol=1e-9)
    assert "no DICOM image" in table_of(Path("out"))["reason"][2]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pipes among files")
def test_dicom_as_scanners_name_it(predict, command, finished, tmp_path):
    """Without an end of the name, or by a UID; a DICOMDIR lists others, and other files may have no end either."""
    names = ("IM0001", "1.2.840.113619.2.55", "study/IM0002")
    root = tmp_path / "images"
    (root / "study").mkdir(parents=True)
    for seed, name in enumerate(names):
        write_dicom(root / name, noise(seed))
    shutil.copyfile(root / "IM0001", root / "DICOMDIR")
    shutil.copyfile(root / "IM0001", root / "notes.txt")
    (root / "LICENSE").write_text("none")
    os.mkfifo(root / "pipe")
    zipped(tmp_path / "all.zip", *((name, (root / name).read_bytes()) for name in (*names, "DICOMDIR", "LICENSE")))
    found = {}
    for at, typed in enumerate(("images", "all.zip", "images/**")):
        assert command(main, f"run={finished[0]}", f"input={typed}", f"output=out{at}").code == 0
        found[typed] = probabilities(Path(f"out{at}"))
        assert len(table_of(Path(f"out{at}"))) == len(names)
        assert all(np.array_equal(found[typed][name], found["images"][name]) for name in found["images"])
    assert predict("input=images/IM0001").code == 0
    assert np.allclose(probabilities(Path("out"))["IM0001"], found["images"]["IM0001"], atol=1e-9)
    answer = predict("input=images/LICENSE")
    assert answer.code == 2
    assert "DICOM without such an end by its content" in answer.err


def test_members_of_an_archive_that_cannot_be_read(predict, tmp_path):
    root = write_odd(tmp_path / "images")
    image = (root / NAMES[0]).read_bytes()
    zipped(tmp_path / "x.zip", ("../../up.png", image), ("a.png", image), ("b.png", b"none"), ("c.txt", b""))
    with zipfile.ZipFile(tmp_path / "x.zip", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(2**22))
        file.writestr("locked.png", image)
    content = bytearray((tmp_path / "x.zip").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 8] |= 1  # as if the last one were encrypted
    (tmp_path / "x.zip").write_bytes(content)
    answer = predict("input=x.zip", "grad_cam=true")
    assert answer.code == 0, answer.text
    table = table_of(Path("out")).set_index("path")
    assert list(table.index) == ["../../up.png", "a.png", "b.png", "bomb.png", "locked.png"]
    assert [flag == "unreadable" for flag in table["flag"]] == [False, False, True, True, True]
    assert table["reason"]["locked.png"] == "is encrypted"
    assert "a bomb?" in table["reason"]["bomb.png"]
    assert {path.name for path in Path("out/overlays").iterdir()} == {"000001_.._.._up.png", "000002_a.png"}
    assert not list(tmp_path.parent.glob("up.png"))


def test_a_table_names_what_is_not_there(predict, tmp_path):
    root = write_odd(tmp_path / "images")
    there = (root / NAMES[0]).absolute()
    (tmp_path / "x.csv").write_text(f"id,path\n1,{there}\n2,images\\deeper\\c.png\n3,\n4,gone.png\n5,\n6,images\n")
    write_odd(root, ("deeper/c.png",))
    assert predict("input=x.csv").code == 0
    table = table_of(Path("out"))
    assert list(table["path"]) == [str(there), "images\\deeper\\c.png", "", "gone.png", "", "images"]
    assert [flag == "unreadable" for flag in table["flag"]] == [False, False, True, True, True, True]
    assert list(table["reason"][2:]) == ["is no file", "there is no such file", "is no file", "is no file"]


@pytest.mark.skipif(sys.platform != "linux", reason="names elsewhere are Unicode")
def test_a_name_that_is_no_unicode(predict, tmp_path):
    write_odd(tmp_path / "images", ("a.png",))
    (tmp_path / "images" / "a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/images/\xff.png"))
    answer = predict("input=images", "sheet=1")
    assert answer.code == 0, answer.text
    assert list(table_of(Path("out"))["path"]) == ["\\udcff.png"]


def make_bad(root):
    (root / "scans" / "empty").mkdir(parents=True)
    (root / "scans" / "x.gif").touch()
    (root / "scans" / ".hidden.png").touch()
    (root / "damaged.zip").write_text("none")
    zipped(root / "texts.zip", ("a.txt", b""))
    (root / "paths.csv").write_text("Path,age\nx.png,3\n")
    (root / "none.csv").write_text("path\n")
    (root / "nothing.csv").touch()
    (root / "bytes.csv").write_bytes(b"path\n\xff\n")
    write_odd(root / "images")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "input=: must be a path"),
        ("scams", "input=scams: there is no such file or folder"),
        ("scams", "did you mean 'scans'?"),
        ("scans/emtpy/more", "did you mean 'empty'?"),
        ("a" * 300, "input=aaa"),
        ("scans", "input=scans: holds no image; looked in it and the folders below for .bmp, .dcm"),
        ("scans/x.gif", "input=scans/x.gif: is not read"),
        ("scans/*", "input=scans/*: matches 2 files or folders, but no image among them"),
        ("scans/*.png", "input=scans/*.png: matches nothing"),
        ("damaged.zip", "damaged.zip: is damaged or not a zip archive"),
        ("texts.zip", "input=texts.zip: the archive holds no image"),
        ("paths.csv", "has no column 'path'; did you mean 'Path'? Columns: Path, age"),
        ("none.csv", "input=none.csv: has a header but no rows"),
        ("nothing.csv", "input=nothing.csv: is empty"),
        ("bytes.csv", "input=bytes.csv: is not UTF-8 text"),
        (".", "output=out: lies where input=. looks for images"),
        ("*", "output=out: lies where input=* looks for images"),
        ("**/*.png", "output=out: lies where"),
        ("*/*.png", "output=out: lies where"),
    ],
)
def test_bad_input(predict, tmp_path, typed, said):
    make_bad(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    answer = predict(f"input={typed}")
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert said in answer.err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["output=images"], "output=images: lies where input=images looks for images"),
        (["output=images/deeper/out"], "lies where input=images looks"),
        (["output=images.txt"], "output=images.txt: names a folder, and this is the name of a file; use output=images"),
        (["output=taken"], "output=taken: already holds something, and nothing is overwritten"),
        (["output=images.txt/out"], "output=images.txt/out: cannot be written"),
        (["grad_cam=perhaps"], "grad_cam=perhaps"),
        (["batch_size=0"], "batch_size=0"),
        (["sheets=3"], "sheets: there is no such key; did you mean 'sheet'?"),
        (["tta=rotate"], "tta=rotate: must be one of 'none' or 'flip'"),
        (["precision=64-true"], "precision=64-true: must be one of"),
        (["accelerator=tpu"], "accelerator=tpu: there is no such device here"),
    ],
)
def test_bad_words(command, finished, tmp_path, words, said):
    write_odd(tmp_path / "images")
    (tmp_path / "images.txt").write_text("mine")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "predictions.csv").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    answer = command(main, f"run={finished[0]}", "input=images", *words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken" / "predictions.csv").read_text() == "mine"


def test_an_output_that_a_glob_does_not_look_into(command, finished, tmp_path):
    write_odd(tmp_path / "images")
    assert command(main, f"run={finished[0]}", "input=images/*.png", "output=images_out").code == 0
    assert command(main, f"run={finished[0]}", "input=*/*.png").code == 0
    (folder,) = Path("runs/predict").iterdir()
    assert json.loads((folder / "prediction.json").read_text())["counts"]["images"] == 2
