from helpers.run_folders import differences, table

from medclf.plots.comparison import differences_plot


def test_the_picture_has_a_panel_a_metric_and_a_row_a_pair():
    tables = {"a": table(0.3, 1), "b$x$": table(0.8, 2), "c": table(1.0, 3)}
    figure = differences_plot(differences(tables, ["accuracy", "brier", "mcc", "ppv"])).figure
    figure.canvas.draw()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["Accuracy", "Brier score (lower is better)", "MCC", "PPV", "", ""]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        r"b\$x\$" "\n- a",
        "c\n- a",
        "c\n- b" r"\$x\$",
    ]
