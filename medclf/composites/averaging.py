"""The mean of several runs' predictions. Imports no torch."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from medclf.comparison.alignment import aligned
from medclf.evaluation.predictions import PROBABILITY, classes_of
from medclf.utils.errors import DataError, listed


def averaged(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The predictions table of an ensemble: of each image the mean of its members' probabilities.

    Lakshminarayanan et al., Simple and scalable predictive uncertainty estimation using deep ensembles, NeurIPS 2017.

    Args:
        tables: by label, predictions of the members for the same validation and test images.

    Raises:
        DataError: where their images, patients or classes are not the same, with how they differ.
    """
    splits = {label: tuple(sorted(table["split"].unique())) for label, table in tables.items()}
    if len(set(splits.values())) > 1:
        told = listed(f"{label}: {', '.join(names)}" for label, names in splits.items())
        raise DataError(f"these do not go together, they have not the same splits: {told}")
    parts = [aligned(tables, split) for split in ("val", "test") if split in next(iter(splits.values()))]
    return pd.concat([_mean(list(part.values())) for part in parts], ignore_index=True)


def _mean(members: list[pd.DataFrame]) -> pd.DataFrame:
    columns = [PROBABILITY + name for name in classes_of(members[0])]
    mean = np.mean([member[columns].to_numpy(np.float64) for member in members], axis=0)
    classes = np.asarray([column.removeprefix(PROBABILITY) for column in columns])
    plain = members[0].drop(columns=[name for name in members[0] if str(name).startswith("logit_")])
    return plain.assign(**dict(zip(columns, mean.T, strict=True)), predicted_class=classes[mean.argmax(1)])
