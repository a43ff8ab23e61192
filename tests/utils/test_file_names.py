"""Whatever a class, a data set or an image is called, its file stays in its folder."""

from pathlib import Path

import pytest

from medclf.utils.file_names import LONGEST, distinct_file_names, safe_file_name

HARMLESS = [
    "benign",
    "osseous lesion",
    "Größe, klein",
    "肺炎",
    "a.b",
    "it's",
    "-1",
    "COVID-19",
    "x" * 200,
    "console",
    "(1)",
]


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_names_stay(name):
    assert safe_file_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../../evil", "_._.._.._evil"),
        ("/abs/name", "_abs_name"),
        ("C:\\x", "C__x"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("  ", "_"),
        (".hidden", "_hidden"),
        ("trailing. .", "trailing"),
        ("a\0b\x1b[31m\n", "a_b_[31m_"),
        ("half \ud800 pair", "half _ pair"),
        ("CON", "_CON"),
        ("nul.png", "_nul.png"),
        ("com1 .x", "_com1 .x"),
    ],
)
def test_harmful_names_are_changed(text, name):
    assert safe_file_name(text) == name


def test_words_only():
    assert safe_file_name("my set (2), new_cnn-1.5", words_only=True) == "my_set_2_new_cnn-1.5"


@pytest.mark.parametrize("text", ["ä" * 300, "x" * 5000])
def test_long_names_are_shortened_and_stay_different(text):
    names = {safe_file_name(text), safe_file_name(text + "y")}
    assert len(names) == 2
    assert all(len(name.encode()) <= LONGEST for name in names)


def test_names_stay_distinct():
    names = distinct_file_names(["a/b", "a_b", "A_B", "a:b", "a/b"])
    assert names == {"a/b": "a_b", "a_b": "a_b_2", "A_B": "A_B_3", "a:b": "a_b_4"}


def test_any_text_becomes_one_name_in_its_folder(tmp_path):
    for text in [*HARMLESS, *(chr(at) * 2 for at in range(256)), "../x", "a/../../b", "\\\\server\\share", "~"]:
        path = tmp_path / safe_file_name(text)
        assert path.resolve().parent == tmp_path.resolve()
        path.touch()
        assert Path(path.name).name == path.name
