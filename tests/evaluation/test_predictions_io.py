"""What is wrong with a predictions table is said once, with file, row and remedy."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from medclf.evaluation.predictions import get_attributes, get_classes, save_predictions, select_split
from medclf.evaluation.predictions_io import list_remarks, load_predictions
from medclf.utils.errors import DataError

HEAD = "path,true_class,prob_a,prob_b\n"
ROWS = "1.png,a,0.8,0.2\n2.png,b,0.3,0.7\n"


@pytest.fixture
def load(tmp_path):
    def load(content):
        path = tmp_path / "predictions.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_predictions(path)

    return load


@pytest.fixture
def refusal(load, tmp_path):
    def refusal(content):
        with pytest.raises(DataError) as error:
            load(content)
        file, _, message = str(error.value).partition(": ")
        assert file == str(tmp_path / "predictions.csv")
        return message

    return refusal


A_TABLE = "A predictions table has path, true_class and prob_<class> for each class. "


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "path,true_clas,prob_a,prob_b\n1.png,a,1,0\n",
            f"has no column 'true_class'; did you mean 'true_clas'? {A_TABLE}Columns: path, true_clas, prob_a, prob_b",
        ),
        (
            "file,true_class,prob_a,prob_b\n1.png,a,1,0\n",
            f"has no column 'path'; {A_TABLE}Columns: file, true_class, prob_a, prob_b",
        ),
        (
            "path;true_class;prob_a;prob_b\n1.png;a;1;0\n",
            f"has no column 'path'; {A_TABLE}Columns: path;true_class;prob_a;prob_b",
        ),
        (
            "path,true_class,a,b\n1.png,a,1,0\n",
            "has neither prob_<class> nor logit_<class> columns, one for each class. Columns: path, true_class, a, b",
        ),
        ("path,true_class,prob_a\n1.png,a,1\n", "has prob_a only; two classes or more need a column each"),
        (HEAD, "has a header but no rows"),
        (
            HEAD + ROWS + "3.png,a,nan,0.5\n",
            "1 of 3 rows have no number where a probability or logit should be: row 4 (3.png); mend or remove them",
        ),
        (
            HEAD + ROWS + "3.png,a,,0.5\n4.png,a,high,0.5\n5.png,a,inf,0\n",
            "3 of 5 rows have no number where a probability or logit should be: "
            "row 4 (3.png), row 5 (4.png), row 6 (5.png); mend or remove them",
        ),
        (
            HEAD + ROWS + "3.png,a\n4.png,a,0.5,0.5,extra\n",
            "1 row has 2 cells, the header has 4: row 4; 1 row has 5 cells, the header has 4: row 5; "
            "put a value that holds a comma in double quotes",
        ),
        ("path,true_class,prob_a,prob_a\n1.png,a,1,0\n", "column 'prob_a' occurs more than once; rename or remove one"),
        (
            HEAD + "0.png,a,-0.1,1.1\n" + ROWS,
            "1 of 3 rows have a probability below 0 or above 1: row 2 (0.png); mend or remove them",
        ),
        (
            HEAD + ROWS + "3.png,a,0.4,0.4\n",
            "1 of 3 rows have probabilities that do not sum to 1: row 4 (3.png); mend or remove them",
        ),
        (
            HEAD + ROWS + "3.png,A,0.4,0.6\n",
            "true_class 'A': there is no column prob_<class> of that name; Classes: a, b",
        ),
        (
            "path,true_class,prob_healthy,prob_ill\n1.png,heathy,1,0\n2.png,,1,0\n",
            "true_class '', 'heathy': there is no column prob_<class> of that name; Classes: healthy, ill",
        ),
        (
            "path,true_class,prob_healthy,prob_ill\n1.png,heathy,1,0\n",
            "true_class 'heathy': there is no column prob_<class> of that name; "
            "did you mean 'healthy'? Classes: healthy, ill",
        ),
        (
            HEAD + ROWS + "1.png,a,0.4,0.6\n",
            "1 of 3 rows have an image that occurs twice: row 4 (1.png); mend or remove them",
        ),
        (
            "path,true_class,split,prob_a,prob_b\n1.png,a,test,1,0\n2.png,a,Test,1,0\n3.png,a,holdout,1,0\n",
            "split 'Test', 'holdout': is none of train, val, test",
        ),
        ("path,true_class,split,prob_a,prob_b\n1.png,a,val,1,0\n", "has no row of split test"),
    ],
)
def test_what_is_wrong_is_said(refusal, content, message):
    assert refusal(content) == message


def test_many_wrong_rows_are_counted(refusal):
    rows = "".join(f"{at}.png,a,2,0\n" for at in range(30))
    message = refusal(HEAD + rows)
    assert message.startswith("30 of 30 rows have a probability below 0 or above 1: row 2 (0.png), ")
    assert message.endswith("row 6 (4.png) and 25 more; mend or remove them")


def test_a_bare_table(load):
    table = load(HEAD + ROWS)
    assert list(table) == ["path", "group", "split", "fold", "true_class", "predicted_class", "prob_a", "prob_b"]
    assert list(table["group"]) == list(table["path"]) == ["1.png", "2.png"]
    assert (table["split"] == "test").all()
    assert (table["fold"] == "").all()
    assert list(table["predicted_class"]) == ["a", "b"]
    assert select_split(table, "test").one_image_each


def test_logits(load):
    table = load("path,true_class,logit_a,logit_b,logit_c,sex\n1.png,a,-700,3.5,2,f\n2.png,c,800,-2,1e3,m\n")
    expected = softmax([[-700, 3.5, 2], [800, -2, 1e3]], axis=1)
    assert table[["prob_a", "prob_b", "prob_c"]].to_numpy() == pytest.approx(expected, abs=1e-15)
    assert get_attributes(table) == ["sex"]


def test_probabilities_come_before_logits(load):
    table = load("path,true_class,prob_a,logit_a,prob_b,logit_b\n1.png,a,0.8,5,0.2,7\n")
    assert table["prob_a"].tolist() == [0.8]
    assert get_classes(table) == ["a", "b"]
    assert get_attributes(table) == []


def test_few_digits(load):
    assert load("path,true_class,prob_a,prob_b,prob_c\n1.png,a,0.333,0.333,0.333\n")["prob_c"].tolist() == [0.333]


def test_an_image_may_be_in_several_folds_and_splits(load):
    rows = "".join(f"1.png,a,{split},{fold},1,0\n" for split in ("val", "test") for fold in (0, 1))
    assert len(load("path,true_class,split,fold,prob_a,prob_b\n" + rows)) == 4


@pytest.mark.parametrize("content", [HEAD + ROWS, (HEAD + ROWS).replace("\n", "\r\n")])
def test_a_byte_order_mark_and_windows_line_ends(load, content):
    assert load(b"\xef\xbb\xbf" + content.encode()).equals(load(HEAD + ROWS))


NAMES = ["NA", "null", 'with "quotes", commas', "ünïcödé 肺", " two  words ", "0"]


def test_a_file_loses_nothing(tmp_path):
    rng = np.random.default_rng(0)
    # every size of number, down to those that have few bits left
    probabilities = softmax(rng.normal(0, 200, (300, len(NAMES))), axis=1)
    probabilities[0] = np.eye(len(NAMES))[0]
    columns = {
        "path": [f'a "quoted", ü/{at}.png' for at in range(300)], "group": [f"0{at // 2}" for at in range(300)],
        "split": ["val", "test"] * 150, "fold": "", "true_class": rng.choice(NAMES, 300), "predicted_class": "NA",
    }  # fmt: skip
    table = pd.DataFrame(columns | {f"prob_{name}": probabilities[:, at] for at, name in enumerate(NAMES)})
    table = table.assign(sex=rng.choice(["NA", "", "f"], 300))
    save_predictions(table, tmp_path / "predictions.csv")
    again = load_predictions(tmp_path / "predictions.csv")
    assert list(again) == list(table)
    assert get_classes(again) == NAMES
    for name in table:
        if name.startswith("prob_"):
            assert again[name].to_numpy(float).tobytes() == table[name].to_numpy(float).tobytes()
        else:
            assert list(again[name]) == list(table[name])
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


def test_remarks(load):
    assert list_remarks(load(HEAD + ROWS)) == [
        "There are no validation images to choose by: the threshold is 0.5 and the temperature 1.",
        "Every image counts as a patient of its own.",
    ]
    head = "path,true_class,group,split,prob_a,prob_b\n"
    assert list_remarks(load(head + "1.png,a,x,val,1,0\n2.png,a,y,test,1,0\n")) == []
    assert list_remarks(load(head + "1.png,a,x,val,1,0\n2.png,a,x,test,1,0\n")) == [
        "Patients in more than one split, which flatters: 1 (x)."
    ]


def test_images_whose_patient_is_not_named_are_patients_of_their_own(load):
    table = load("path,true_class,group,prob_a,prob_b\n1.png,a,,1,0\n2.png,b,,0,1\n3.png,b,x,0,1\n")
    assert list(table["group"]) == ["1.png", "2.png", "x"]
