"""Words of the form key=value: lists, words without a key, folders, and what is said of a mistake."""

from pathlib import Path

import pytest

from medclf.cli.key_value_arguments import format_help, parse_words, split_list
from medclf.config.command_schemas import CompareConfig, ExportConfig, PredictConfig, ReportConfig
from medclf.utils.errors import ConfigError


def compare(*words):
    return parse_words(CompareConfig, words, "runs")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_words_without_a_key_fill_the_list_wherever_they_stand():
    config = compare("a", "seed=7", "b c", "metrics=brier", "d,e")
    assert config.runs == ("a", "b c", "d,e")
    assert (config.seed, config.metrics) == (7, ("brier",))


def test_a_path_that_exists_may_have_an_equals_sign_and_a_key_is_never_taken_for_a_path():
    Path("lr=0.1").mkdir()
    Path("seed=1").mkdir()
    config = compare("lr=0.1", "b", "seed=1")
    assert (config.runs, config.seed) == (("lr=0.1", "b"), 1)
    with pytest.raises(ConfigError, match=r"^lr: there is no such key"):
        compare("lr=0.2", "b")
    assert compare("runs=[lr=0.2,b]").runs == ("lr=0.2", "b")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("a", ["a"]),
        ("a, b", ["a", "b"]),
        ("key=[a,b],c", ["key=[a,b]", "c"]),
        ("\"a,b\",'c'", ["a,b", "c"]),
        ("key={a: 1, b: 2}", ["key={a: 1, b: 2}"]),
        ("a,", ["a", ""]),
    ],
)
def test_a_list_is_split_outside_of_brackets_and_quotes(text, items):
    assert split_list(text) == items


def test_lists_of_a_report():
    words = ["all", "where=[model.name=cnn,x=[1,2]]", "columns=[seed,optimizer.lr]", "metrics=[brier]"]
    config = parse_words(ReportConfig, words, "folders")
    assert config.where == ("model.name=cnn", "x=[1,2]")
    assert config.columns == ("seed", "optimizer.lr")
    assert parse_words(ReportConfig, ["all", "where=model.name=cnn"], "folders").where == ("model.name=cnn",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "out"], "--output: options are typed as key=value: output=out"),
        (["--output=my out"], "--output=my out: options are typed as key=value: 'output=my out'"),
        (["-o", "out"], "-o: options are typed as key=value: output=out"),
        (["--out", "--seed"], "--out: options are typed as key=value: output=VALUE"),
        (["--resample", "200"], "--resample: options are typed as key=value: resamples=200"),
        (["--operating-point", "half"], "--operating-point: options are typed as key=value: operating_point=half"),
        (["--colour"], "--colour: options are typed as key=value; --help lists them"),
        (["ouput=x"], "ouput: there is no such key; did you mean 'output'?"),
        (["=x"], "=x: must be key=value"),
        (["seed=1", "seed=2"], "seed: is typed twice"),
        (["metrics=a", "metrics=b"], "metrics: is typed twice; write several in brackets: metrics=[A,B]"),
        (["seed=5000000000"], "seed=5000000000: must be at most 4294967295"),
        (["seed=x"], "seed=x: must be a whole number"),
        (["output=" + "a" * 300], "each part of it of at most 255 bytes"),
        (["metrics=[a,,b]"], "metrics=[a,,b]: has an empty entry"),
        (["metrics=a,b"], "metrics=a,b: write several in brackets: 'metrics=[a,b]'"),
        (["runs=c"], "runs: a is typed without this key"),
    ],
)
def test_a_mistake_is_named_with_what_to_type(words, message):
    with pytest.raises(ConfigError) as caught:
        compare("a", "b", *words)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["x.csv", "a/b.ONNX", "x.tar.gz", "x.png/", "model.pt2", "run.json"])
def test_the_name_of_a_file_is_no_output_folder(name):
    with pytest.raises(ConfigError) as caught:
        parse_words(PredictConfig, ["run=r", "input=i", f"output={name}"])
    folder = name.partition(".")[0]
    assert str(caught.value) == f"output={name}: names a folder, and this is the name of a file; use output={folder}"


@pytest.mark.parametrize("name", ["x", "resnet18.v2", "a.csv/b", ".csv", "2024.01.31", "x.gzz"])
def test_other_names_with_a_point_are_folders(name):
    assert parse_words(ExportConfig, ["run=r", f"output={name}"]).output == name


def test_help_shows_words_without_a_key_and_defaults():
    text = format_help(CompareConfig, "runs")
    assert "\n  RUN ... " in text and "runs=" not in text
    assert "\n  resamples=2000 " in text and "\n  metrics=null " in text
    assert "\n  where=[] " in format_help(ReportConfig, "folders")
