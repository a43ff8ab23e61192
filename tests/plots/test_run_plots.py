"""Every picture: what it says of itself, and that all of it is on the canvas."""

import io
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers.evaluations import CASES, evaluated, history, seen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from medclf.comparison.paired_tests import Difference
from medclf.evaluation import curves
from medclf.metric_registry import MAX_SHOWN_CLASSES
from medclf.plots.comparison import differences_plot
from medclf.plots.confusion import confusion_plot
from medclf.plots.image_grids import misclassified_gallery, prediction_grid
from medclf.plots.learning_curves import learning_curves_plot
from medclf.plots.run_plots import GradCam, draw_run_plots
from medclf.plots.style import escape_label, get_line_style, save_plots
from medclf.plots.subgroups import MOST, subgroup_plot
from medclf.utils.errors import DataError
from medclf.utils.npz_arrays import read_arrays


def maps(evaluation):
    paths = list(evaluation.test.table["path"][:6])
    right = (evaluation.test.predicted == evaluation.test.target)[:6].tolist()
    return GradCam(paths, right, np.random.default_rng(0).random((6, 16, 16)).astype(np.float32))


def drawn(picture):
    canvas = FigureCanvasAgg(picture.figure)
    canvas.draw()
    return canvas.get_renderer()


@pytest.mark.parametrize(("case", "only"), [*((case, None) for case in CASES), ("two", 0), ("fourteen long", 0)])
def test_nothing_is_outside_the_canvas_and_nothing_is_without_words(case, only):
    evaluation = evaluated(CASES[case], only)
    images = seen if "long" in case or case == "formulas" else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for picture in draw_run_plots(evaluation, images, history(), 1, maps(evaluation)):
            box = picture.figure.get_tightbbox(drawn(picture))
            width, height = picture.figure.get_size_inches()
            assert min(box.x0, box.y0) > -0.01, picture.name
            assert box.x1 < width + 0.01, picture.name
            assert box.y1 < height + 0.01, picture.name
            titles = [picture.figure.get_suptitle(), *(axes.get_title() for axes in picture.figure.axes)]
            assert any(titles), picture.name
            assert picture.caption.endswith(".")
            for axes in picture.figure.axes:
                if axes.axison and axes.get_label() != "<colorbar>" and picture.name != "learning_curves":
                    assert axes.get_xlabel() or axes.get_title()
                    assert axes.get_ylabel() or axes.get_title()


def names(picture):
    return {text.get_text() for legend in picture.figure.legends for text in legend.get_texts()}


@pytest.mark.parametrize("case", ["three", "fourteen long", "underscores"])
def test_the_legend_names_every_class_and_no_two_by_the_same_word(case):
    pictures = {picture.name: picture for picture in draw_run_plots(evaluated(CASES[case]))}
    shown = names(pictures["score_histogram"])
    assert len(shown) == len(CASES[case]) + (len(CASES[case]) == 2)
    for label in CASES[case]:
        assert any(text.startswith(escape_label(label)) for text in shown)


def test_the_data_of_a_picture_are_those_of_the_evaluation(tmp_path):
    evaluation = evaluated(["cat", "dog"], seed=3)
    test = evaluation.test
    files = save_plots(draw_run_plots(evaluation, seen, history(), 1, maps(evaluation)), tmp_path)
    expected = {
        "roc_curve": curves.roc_curve(test, 3),
        "precision_recall_curve": curves.precision_recall_curve(test, 3),
        "score_histogram": curves.score_histogram(test),
        "decision_curve": curves.decision_curve(evaluation.calibrated, 3),
        "learning_curves": history(),
    }
    for name, frame in expected.items():
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / f"data/{name}.csv", float_precision="round_trip"), frame)
    both = pd.read_csv(tmp_path / "data/reliability.csv", float_precision="round_trip")
    before = both[both["temperature"] == "before"].drop(columns="temperature")
    pd.testing.assert_frame_equal(before, curves.reliability_curve(test))
    after = both[both["temperature"] == "after"].drop(columns="temperature").reset_index(drop=True)
    pd.testing.assert_frame_equal(after, curves.reliability_curve(evaluation.calibrated))
    matrix = pd.read_csv(tmp_path / "data/confusion_matrix_test.csv", index_col="true_class")
    assert matrix.to_numpy().tolist() == curves.confusion_matrix(test).to_numpy().tolist()
    assert list(matrix) == list(matrix.index) == ["cat", "dog"]
    assert files["roc_curve"] == (tmp_path / "roc_curve.png").read_bytes()


def test_the_same_evaluation_gives_the_same_files():
    first, second = (
        {picture.name: picture.png() for picture in draw_run_plots(evaluated(["a", "b"]))} for _ in range(2)
    )
    assert first == second


def test_pictures_that_need_two_classes_or_something_to_show_are_left_out():
    two = {picture.name for picture in draw_run_plots(evaluated(["a", "b"]))}
    three = {picture.name for picture in draw_run_plots(evaluated(["a", "b", "c"]))}
    assert two - three == {"decision_curve"}
    assert not {"misclassified", "test_predictions", "learning_curves", "subgroups", "grad_cam_right"} & two
    assert misclassified_gallery(evaluated(["a", "b"]).test, seen, 0) is None
    assert prediction_grid(evaluated(["a", "b"]).test, seen, 0) is None
    assert learning_curves_plot(history(0), None) is None
    assert learning_curves_plot(pd.DataFrame({"epoch": [0], "val/other": [1.0]}), None) is None


def test_the_gallery_shows_the_most_confident_mistakes_first():
    evaluation = evaluated(["a", "b", "c"])
    picture = misclassified_gallery(evaluation.test, seen, 5)
    wrong = evaluation.test.predicted != evaluation.test.target
    confidence = np.sort(evaluation.test.probabilities.max(1)[wrong])[::-1][:5]
    assert picture.data["probability"].tolist() == pytest.approx(confidence)
    assert (picture.data["true_class"] != picture.data["predicted_class"]).all()
    title = picture.figure.get_suptitle()
    assert title == f"Misclassified: {wrong.sum()} of {len(wrong)} test images, the 5 most confident"
    shown = [axes.get_title() for axes in picture.figure.axes if axes.get_title()]
    first = picture.data.iloc[0]
    assert shown[0] == f"true: {first.true_class}\npredicted: {first.predicted_class} {first.probability:.2f}"
    assert len(shown) == 5


def test_an_image_that_cannot_be_had_is_a_grey_square():
    evaluation = evaluated(["a", "b"])
    picture = prediction_grid(evaluation.test, seen, 60)
    panels = [axes for axes in picture.figure.axes if axes.get_title()]
    for axes, path in zip(panels, picture.data["path"], strict=True):
        (image,) = axes.images
        values = np.asarray(image.get_array())
        if path.endswith("7.png"):
            assert (values == 235).all()
        else:
            assert values.tolist() == seen(path)[0].tolist()


def test_colour_images_are_shown_in_colour():
    evaluation = evaluated(["a", "b"])
    picture = prediction_grid(evaluation.test, lambda _: np.zeros((3, 8, 8), np.uint8), 3)
    assert picture.figure.axes[0].images[0].get_array().shape == (8, 8, 3)


def test_maps_come_back_from_their_file_as_they_are_drawn(tmp_path):
    first = maps(evaluated(["a", "b"]))
    first.save(tmp_path / "new" / "maps.npz")
    again = GradCam.load(tmp_path / "new" / "maps.npz")
    assert (again.paths, again.right) == (first.paths, first.right)
    assert np.abs(again.maps - first.maps).max() <= 0.5 / 255 + 1e-6
    again.save(tmp_path / "twice.npz")
    assert (GradCam.load(tmp_path / "twice.npz").maps == again.maps).all()


DAMAGED_MAPS = {
    "a text": lambda path, arrays: path.write_text("no archive"),
    "a part is missing": lambda path, arrays: np.savez(path, maps=arrays["maps"]),
    "other lengths": lambda path, arrays: np.savez(path, **{**arrays, "right": arrays["right"][:1]}),
    "other types": lambda path, arrays: np.savez(path, **{**arrays, "maps": arrays["maps"] * np.nan}),
    "objects": lambda path, arrays: np.savez(path, **{**arrays, "paths": np.array([{}] * 6, dtype=object)}),
    "cut": lambda path, arrays: path.write_bytes(path.read_bytes()[:-50]),
}


@pytest.mark.parametrize("how", DAMAGED_MAPS)
def test_damaged_maps_are_an_error_that_says_how_to_do_without_them(tmp_path, how):
    path = tmp_path / "maps.npz"
    maps(evaluated(["a", "b"])).save(path)
    DAMAGED_MAPS[how](path, dict(np.load(path)))
    with pytest.raises(DataError, match=r"maps\.npz: .*evaluation\.grad_cam=0"):
        GradCam.load(path)


def test_an_array_that_claims_to_be_huge_takes_no_memory(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "maps.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("claims.npy", header.getvalue())
        archive.writestr("zeros.npy", bytes(10**7))
    for name, problem in (("claims", "does not have the size"), ("zeros", "larger than any")):
        with pytest.raises(ValueError, match=problem):
            read_arrays(tmp_path / "maps.npz", {name: "u"}, 10**6)


def test_a_map_of_a_class_that_is_no_longer_predicted_is_not_shown():
    evaluation = evaluated(["a", "b"])
    found = maps(evaluation)
    other = GradCam(["gone.png", *found.paths[1:]], [not right for right in found.right], found.maps)
    pictures = draw_run_plots(evaluation, seen, grad_cam=other)
    assert not [picture for picture in pictures if picture.name.startswith("grad_cam")]


@pytest.mark.parametrize("long", [False, True])
def test_subgroups(long):
    value = "a hospital with a long name in " if long else ""
    sites = [f"{value}{'north' if at % 3 else 'south'}" for at in range(200)]
    evaluation = evaluated(["a", "b"], n=200, columns={"site": sites, "sex": ["f", "", "m", "m"] * 50})
    picture = subgroup_plot(evaluation.subgroups, 2)
    box = picture.figure.get_tightbbox(drawn(picture))
    assert box.x0 > -0.01
    assert box.x1 < picture.figure.get_size_inches()[0] + 0.01
    shown = {text.get_text() for text in picture.figure.findobj(Text)}
    assert "sex = missing (n = 50)" in shown
    assert "too few to judge" in shown or evaluation.subgroups["estimate"].notna().all()
    assert [axes.get_title() for axes in picture.figure.axes] == ["Accuracy", "Sensitivity", "Specificity", "AUROC"]
    assert picture.data.equals(evaluation.subgroups)


def test_a_column_with_a_value_for_each_patient_is_no_endless_picture():
    rows = [("id", f"p{at}", 1, 1, "accuracy", np.nan, np.nan, np.nan, "too few") for at in range(3000)]
    rows += [("sex", sex, 90, 90, "accuracy", 0.9, 0.8, 0.95, "") for sex in "fm"]
    names = ["column", "value", "n", "patients", "metric", "estimate", "low", "high", "note"]
    picture = subgroup_plot(pd.DataFrame(rows, columns=names))
    assert len(picture.figure.axes[0].get_yticks()) == 2
    assert len(picture.data) == 3002
    assert subgroup_plot(pd.DataFrame(rows[:3000], columns=names)) is None
    many = pd.DataFrame([(*rows[-1][:1], str(at), *rows[-1][2:]) for at in range(500)], columns=names)
    assert len(subgroup_plot(many).figure.axes[0].get_yticks()) == MOST


def test_learning_curves_draw_the_epochs_that_there_are():
    frame = history(4)
    frame.loc[[0, 2], "val/loss"] = np.nan
    picture = learning_curves_plot(frame, 2)
    panels = {axes.get_title(): axes for axes in picture.figure.axes if axes.get_title()}
    assert list(panels) == ["Loss", "Accuracy", "Sensitivity"]
    train, validation, best = panels["Loss"].lines
    assert train.get_xdata().tolist() == [0, 1, 2, 3]
    assert validation.get_xdata().tolist() == [1, 3]
    assert validation.get_ydata().tolist() == frame["val/loss"].dropna().tolist()
    assert best.get_xdata()[0] == 2


def test_of_many_classes_plots_show_the_most_frequent_and_their_data_all():
    evaluation = evaluated([f"class {at}" for at in range(60)], n=300)
    for picture in draw_run_plots(evaluation):
        width, height = picture.figure.get_size_inches()
        assert width < 25 and height < 25, picture.name
        if picture.name in ("roc_curve", "precision_recall_curve", "score_histogram"):
            assert len(names(picture)) == MAX_SHOWN_CLASSES
            assert picture.data["class"].nunique() == 60
        if picture.name != "reliability":
            assert "The 20 most frequent of 60 classes" in picture.caption
    confusion = confusion_plot(evaluation.test, "test")
    assert confusion.data.shape == (60, 60)
    assert len(confusion.figure.axes[0].get_yticks()) == MAX_SHOWN_CLASSES


def test_a_comparison_of_many_pairs_is_no_endless_picture():
    rows = [Difference("accuracy", "a", "x" * 300 if at else "$y$", 0.8, 0.9, 0.1, 9, 0.0, 0.2) for at in range(3000)]
    figure = differences_plot(rows).figure
    assert max(figure.get_size_inches()) < 25
    drawn(differences_plot(rows[:2]))


def test_a_plain_name():
    assert escape_label("a\x1b[31m\u202eb") == "a\ufffd[31m\ufffdb"

    assert escape_label("cat") == "cat"
    assert escape_label("two\n words") == "two words"
    assert escape_label("x" * 100, 9) == "xxxx…xxxx"
    assert len(escape_label("abcdefghij", 9)) == 9
    assert escape_label("$x$") == r"\$x\$"
    assert not escape_label("_x").startswith("_")


def test_lines_differ_for_28_classes():
    assert len({tuple(get_line_style(at).values()) for at in range(28)}) == 28
