"""A CSV file with a row an image, and all that can be wrong in one."""

import csv

import pytest
from helpers.images import dataset, write_image

from medclf.data.sources.discovery import find_images
from medclf.utils.errors import DataError


def write_table(root, rows, columns=("path", "label"), encoding="utf-8", images=True):
    """The table, and the images that it names."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "table.csv").open("w", encoding=encoding, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(rows)
    for row in rows if images else []:
        write_image(root / row[0])


def found(root, *overrides):
    return find_images(dataset(root, *overrides, name="table"))


def refused(root, *overrides):
    with pytest.raises(DataError) as error:
        found(root, *overrides)
    return str(error.value)


def test_all_columns(tmp_path):
    rows = [
        ("b/2.png", "2", "patient 7", "test", "x"),
        ("a/1.png", "0", "patient 7", "Training", "y"),
        ("a/3.png", "1", "patient 8", "valid", "z"),
    ]
    write_table(tmp_path / "set", rows, ("file name", "grade", "patient_id", "part", "ignored"))
    images = found(
        tmp_path / "set",
        "dataset.table={path: 'file name', label: grade, group: patient_id, split: part}",
        "dataset.classes=[healthy,ill]",
        "dataset.class_folders={healthy:['0','1'],ill:'2'}",
    )
    assert images.classes == ["healthy", "ill"]
    assert [(image.path, image.label, image.group, image.split) for image in images.images] == [
        ("a/1.png", "healthy", "patient 7", "train"),
        ("a/3.png", "healthy", "patient 8", "val"),
        ("b/2.png", "ill", "patient 7", "test"),
    ]


def test_class_folders_as_the_config_file_shows_them(tmp_path):
    """conf/dataset/table.yaml: ``dataset.class_folders={healthy:[0,1],ill:[2]}``, without quotes."""
    write_table(tmp_path / "set", [("a.png", "0"), ("b.png", "1"), ("c.png", "2")])
    images = found(tmp_path / "set", "dataset.classes=[healthy,ill]", "dataset.class_folders={healthy:[0,1],ill:[2]}")
    assert [image.label for image in images.images] == ["healthy", "healthy", "ill"]


def test_only_path_and_label(tmp_path):
    write_table(tmp_path / "set", [("b.png", "x"), ("a.png", "y")])
    images = found(tmp_path / "set")
    assert images.classes == ["x", "y"]
    assert [(i.path, i.label, i.group, i.split) for i in images.images] == [
        ("a.png", "y", "a.png", None),
        ("b.png", "x", "b.png", None),
    ]


def test_group_of_the_file_name(tmp_path):
    write_table(tmp_path / "set", [("p1_a.png", "x"), ("p1_b.png", "y"), ("other.png", "y")])
    images = found(tmp_path / "set", r"dataset.group_pattern='^(p\d+)_'")
    assert [image.group for image in images.images] == ["other.png", "p1", "p1"]


def test_empty_group_is_the_image_itself(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x", "7"), ("b.png", "y", "")], ("path", "label", "patient"))
    images = found(tmp_path / "set", "dataset.table.group=patient")
    assert [image.group for image in images.images] == ["7", "b.png"]


def test_byte_order_mark(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")], encoding="utf-8-sig")
    assert [image.path for image in found(tmp_path / "set").images] == ["a.png", "b.png"]


@pytest.mark.parametrize("name", ["two words", 'a "quoted" one', "it's", "one, two", "Gefäß Übersicht", "x" * 196])
def test_names(tmp_path, name):
    write_table(tmp_path / "set", [(f"{name}.png", "Größe, klein"), (f"sub {name[:20]}/b.png", 'the "other"')])
    images = found(tmp_path / "set")
    assert sorted(image.path for image in images.images) == sorted([f"{name}.png", f"sub {name[:20]}/b.png"])
    assert set(images.classes) == {"Größe, klein", 'the "other"'}


def test_backslashes_and_spaces_around(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("sub/b.png", "y")])
    (tmp_path / "set" / "table.csv").write_text("path,label\n a.png , x \nsub\\b.png,y\n", encoding="utf-8")
    images = found(tmp_path / "set")
    assert [image.path for image in images.images] == ["a.png", "sub/b.png"]
    assert images.classes == ["x", "y"]


def test_missing_file(tmp_path):
    (tmp_path / "set").mkdir()
    message = refused(tmp_path / "set", "dataset.table.file=other.csv")
    assert "dataset.table.file=" in message
    assert "other.csv: there is no such file" in message


def test_file_that_is_no_text(tmp_path):
    write_table(tmp_path / "set", [("ä.png", "x"), ("b.png", "y")], encoding="latin-1")
    assert "is not UTF-8 text (byte 0xe4); save it as CSV UTF-8" in refused(tmp_path / "set")


def test_missing_column(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")], ("path", "labels"))
    message = refused(tmp_path / "set")
    assert "has no column 'label' (dataset.table.label); did you mean 'labels'? Columns: path, labels" in message


def test_empty_file(tmp_path):
    write_table(tmp_path / "set", [])
    assert "has a header but no rows" in refused(tmp_path / "set")


def test_unknown_label(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y"), ("c.png", "z")])
    assert "1 times a label that is no class: z" in refused(tmp_path / "set", "dataset.classes=[x,y]")


def test_unknown_split(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x", "train"), ("b.png", "y", "dev")], ("path", "label", "split"))
    assert "1 times a split that is none: dev" in refused(tmp_path / "set", "dataset.table.split=split")


def test_path_outside_root(tmp_path):
    write_image(tmp_path / "x.png")
    absolute = str(tmp_path / "x.png")
    write_table(tmp_path / "set", [("../x.png", "x"), (absolute, "y")], images=False)
    assert refused(tmp_path / "set").endswith(f"2 times a path outside root: ../x.png, {absolute}")


def test_link_that_leads_outside(tmp_path):
    write_image(tmp_path / "x.png")
    write_table(tmp_path / "set", [("b.png", "y")])
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "x.png")
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")], images=False)
    assert "1 times a path outside root: a.png" in refused(tmp_path / "set")


def test_file_that_is_not_there(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")])
    (tmp_path / "set" / "b.png").unlink()
    assert "1 times a file that is not there: b.png" in refused(tmp_path / "set")


@pytest.mark.parametrize("path", ["", "x" * 300 + ".png", "a\0b.png"])
def test_path_that_no_file_can_have(tmp_path, path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")])
    # written by hand: Python 3.10 writes and reads no NUL in a CSV file
    (tmp_path / "set" / "table.csv").write_text(f"path,label\na.png,x\nb.png,y\n{path},x\n", encoding="utf-8")
    assert "table.csv" in refused(tmp_path / "set")


def test_path_twice(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y"), ("a.png", "x")])
    assert "1 times a path named twice: a.png" in refused(tmp_path / "set")


def test_path_twice_in_other_words(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y"), ("./a.png", "x")])
    assert "path named twice" in refused(tmp_path / "set")


def test_class_without_an_image(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")])
    assert "1 times a class without an image: z" in refused(tmp_path / "set", "dataset.classes=[x,y,z]")


def test_all_in_one_message(tmp_path):
    rows = [(f"{index:02d}.png", "x", "train") for index in range(25)]
    rows += [("a.png", "wrong", "train"), ("b.png", "y", "dev"), ("b.png", "y", "train")]
    write_table(tmp_path / "set", rows, ("path", "label", "split"))
    for index in range(25):
        (tmp_path / "set" / f"{index:02d}.png").unlink()
    write_table(tmp_path / "set", [*rows, ("../c.png", "y", "test")], ("path", "label", "split"), images=False)
    message = refused(tmp_path / "set", "dataset.classes=[x,y]", "dataset.table.split=split")
    named = ", ".join(f"{index:02d}.png" for index in range(20))
    assert set(message.partition(": ")[2].splitlines()) == {
        f"25 times a file that is not there: {named} and 5 more",
        "1 times a label that is no class: wrong",
        "1 times a split that is none: dev",
        "1 times a path outside root: ../c.png",
        "1 times a path named twice: b.png",
    }


def known(root, columns, row, *overrides):
    write_table(root, [("a.png", "x", *row), ("b.png", "y", *row)], ("path", "label", *columns))
    return found(root, *overrides).images[0].attributes


def test_other_columns_are_kept_as_text(tmp_path):
    assert known(tmp_path / "set", ("sex", "age", "site"), ("f", "041", "")) == {"sex": "f", "age": "041", "site": ""}


def test_columns_that_the_config_names_are_none_of_them(tmp_path):
    columns, row = ("patient", "part", "sex"), ("7", "", "f")
    overrides = ("dataset.table.group=patient", "dataset.table.split=part")
    assert known(tmp_path / "set", columns, row, *overrides) == {"sex": "f"}


@pytest.mark.parametrize(
    "name", ["class", "group", "split", "fold", "true_class", "predicted_class", "prob_x", "logit_x", "prob_"]
)
def test_a_column_with_a_name_of_ours_gets_another(tmp_path, name):
    assert known(tmp_path / "set", (name,), ("1",)) == {f"table_{name}": "1"}


def test_path_is_a_column_like_another_where_the_paths_are_elsewhere(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x", "/old/a"), ("b.png", "y", "/old/b")], ("file", "label", "path"))
    images = found(tmp_path / "set", "dataset.table.path=file").images
    assert [image.attributes for image in images] == [{"table_path": "/old/a"}, {"table_path": "/old/b"}]


def test_a_column_without_a_name_is_left_out(tmp_path):
    assert known(tmp_path / "set", ("", "sex"), ("0", "f")) == {"sex": "f"}


def test_one_class_is_refused_before_a_run_begins(train, tmp_path):
    write_table(tmp_path / "set", [(f"{at}.png", "benign") for at in range(10)])
    answer = train("dataset=table", "dataset.root=set")
    assert answer.code == 2
    assert answer.err.startswith("error: dataset.root=set: only one class, benign; a classifier needs two or more; ")
    assert answer.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_rows_that_are_shifted_by_a_comma_are_refused(tmp_path):
    write_table(tmp_path / "set", [("a.png", "x"), ("b.png", "y")])
    (tmp_path / "set" / "table.csv").write_text("path,label\na.png,x, left\nb.png,y\n", encoding="utf-8")
    assert refused(tmp_path / "set").endswith(
        "set/table.csv: 1 row has 3 cells, the header has 2: row 2; put a value that holds a comma in double quotes"
    )


def test_renamed_columns_never_hide_another(tmp_path):
    assert known(tmp_path / "set", ("class", "table_class"), ("1", "2")) == {
        "table_table_class": "1",
        "table_class": "2",
    }
