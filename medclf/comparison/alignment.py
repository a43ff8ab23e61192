"""Only classifiers that saw the same test images of the same patients are compared, image by image."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medclf.evaluation.predictions import get_classes
from medclf.utils.errors import DataError, format_list


def align_predictions(tables: Mapping[str, pd.DataFrame], split: str = "test") -> dict[str, pd.DataFrame]:
    """Return the rows of one split of each table, with the images, classes and patient names of the first.

    Raises:
        DataError: where they are not the same images of the same patients under the same classes, each once: how
            they differ from the first table, with counts and examples.
    """
    tests = {label: table[table["split"] == split].set_index("path", drop=False) for label, table in tables.items()}
    first, *others = tests
    wrong = [
        f"{label}: {_images(twice)} occur more than once"
        for label, test in tests.items()
        if len(twice := test.index[test.index.duplicated()].unique())
    ]
    wrong = wrong or [f"{first} and {other}: {how}" for other in others for how in _unlike(tests, first, other)]
    if wrong:
        what = {"test": "test", "val": "validation"}[split]
        raise DataError("\n  ".join([f"these do not go together, their {what} images are not the same:", *wrong]))
    columns = [name for name in tests[first] if all(name in test for test in tests.values())]
    rows, groups = tests[first].index, tests[first]["group"]
    return {label: test.loc[rows, columns].assign(group=groups).reset_index(drop=True) for label, test in tests.items()}


def _unlike(tests: Mapping[str, pd.DataFrame], first: str, other: str) -> Iterator[str]:
    """How two tables differ."""
    one, two = tests[first], tests[other]
    classes = [get_classes(one), get_classes(two)]
    if set(classes[0]) != set(classes[1]):
        yield f"different classes: {format_list(classes[0])}; {format_list(classes[1])}"
    for label, alone in ((first, one.index.difference(two.index)), (other, two.index.difference(one.index))):
        if len(alone):
            yield f"{_images(alone)} of {len(tests[label])} only in {label}"
    paths = one.index.intersection(two.index)
    one, two = one.loc[paths], two.loc[paths]
    relabelled = paths[(one["true_class"] != two["true_class"]).to_numpy()]
    if len(relabelled):
        yield f"different true classes of {_images(relabelled)}"
    regrouped = paths[_regrouped(one["group"], two["group"])]
    if len(regrouped):
        yield f"different patients (column group): {_images(regrouped)} share theirs with other images"


def _regrouped(one: "pd.Series[str]", two: "pd.Series[str]") -> NDArray[np.bool_]:
    """Images that share their patient with more of the images in one table than in both; names do not matter."""
    both = one.groupby([one, two]).transform("size")
    return np.asarray((one.groupby(one).transform("size") != both) | (two.groupby(two).transform("size") != both))


def _images(paths: "pd.Index[str]") -> str:
    return f"{len(paths)} image{'s' if len(paths) > 1 else ''} ({format_list(paths, 3)})"
