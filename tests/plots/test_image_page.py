import io

import numpy as np
import pytest

from medclf.plots.image_grids import image_page


@pytest.mark.parametrize("channels", [1, 3])
def test_a_page_has_a_title_over_each_image_and_nothing_in_the_places_left(channels):
    images = np.zeros((5, channels, 8, 8), dtype=np.uint8)
    figure = image_page(images, list("abcde"))
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", "d", "e", "", "", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 1, 1, 0, 0, 0]


def test_a_title_is_a_name_and_no_formula():
    figure = image_page(np.zeros((2, 1, 8, 8), dtype=np.uint8), [r"$\frac{", "a\x1b[31m"])
    figure.savefig(io.BytesIO())
    assert figure.axes[1].get_title() == r"a\x1b[31m"
