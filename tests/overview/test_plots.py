"""The pictures of few and of many settings: what they say, and that all of it is on the canvas."""

import warnings

import pytest
from helpers.overviews import make
from matplotlib.backends.backend_agg import FigureCanvasAgg

from medclf.overview.plots import MOST, draw_overview_plots
from medclf.overview.run_groups import group_runs
from medclf.overview.run_means import Resampler
from medclf.overview.runs import read_runs
from medclf.utils.run_folder import Run


def settings(root, count, seeds=1, **changes):
    runs = [
        make(root / f"{at}-{seed}", f"network{at % 3}", seed, 0.2 * (at % 9), 0.6 + 0.005 * at,
             optimizer__lr=0.001 * (at + 1), **changes)
        for at in range(count) for seed in range(seeds)
    ]  # fmt: skip
    return group_runs(read_runs([Run(run) for run in runs]), Resampler(["accuracy", "auroc_macro"], 100, 0))


@pytest.mark.parametrize(("count", "seeds"), [(1, 1), (2, 2), (MOST + 2, 1)])
def test_all_is_on_the_canvas(tmp_path, count, seeds):
    found = settings(tmp_path, count, seeds)
    pictures = draw_overview_plots(found, ["accuracy", "auroc_macro"])
    names = ["forest_livers", "validation_and_test_livers", "validation_curves_livers"]
    assert [picture.name for picture in pictures] == names
    for picture in pictures:
        canvas = FigureCanvasAgg(picture.figure)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            canvas.draw()
        width, height = picture.figure.get_size_inches()
        box = picture.figure.get_tightbbox(canvas.get_renderer())  # in inches
        assert box.x0 > -0.02 and box.x1 < width + 0.02
        assert box.y0 > -0.02 and box.y1 < height + 0.02
        axes = picture.figure.axes[0].get_window_extent()
        assert axes.width > 100 and axes.height > 20
    forest = pictures[0]
    labels = forest.figure.axes[0].get_yticklabels()
    assert len(labels) == min(count, MOST)
    assert labels[0].get_fontweight() == "bold"
    assert (f"the {MOST} best of {count} by validation" in forest.caption) == (count > MOST)
    assert len(forest.data) == 2 * count * (1 + seeds)
    assert pictures[1].data["run"].nunique() == count * seeds


def test_datasets_and_monitors_have_pictures_of_their_own(tmp_path):
    one = settings(tmp_path / "a", 2, dataset__name="two words")
    two = settings(tmp_path / "b", 1, dataset__name="two/words", monitor="val/loss")
    names = [picture.name for picture in draw_overview_plots([*one, *two], ["accuracy"])]
    assert names == [
        "forest_two_words", "validation_and_test_two_words", "validation_curves_two_words",
        "forest_two_words_", "validation_and_test_two_words_", "validation_curves_two_words_",
    ]  # fmt: skip
    (both,) = {setting.dataset for setting in settings(tmp_path / "c", 1)}
    mixed = settings(tmp_path / "d", 1) + settings(tmp_path / "e", 1, monitor="val/loss")
    names = [picture.name for picture in draw_overview_plots(mixed, ["accuracy"])]
    assert both == "livers"
    assert names[3:] == ["validation_and_test_livers_2", "validation_curves_livers_2"]


def test_without_histories_no_curves(tmp_path):
    found = settings(tmp_path, 1)
    (tmp_path / "0-0" / "history.csv").write_text("epoch\n")
    assert [picture.name.split("_livers")[0] for picture in draw_overview_plots(found, ["accuracy"])] == [
        "forest",
        "validation_and_test",
    ]
