"""How often a model takes an image of its own kind for one that does not belong, in words."""

from medclf.evaluation.estimates import wilson
from medclf.inference.ood import Novelty


def novelty_words(novelty: Novelty) -> str:
    """The rule, and its false alarms on validation and test with Wilson's intervals."""
    return (
        f"An image is called unlike the training images where its distance from them is above {novelty.threshold:.4g} "
        "(Mahalanobis distance of the network's features). Of the images of the same dataset that it was not fitted "
        f"to, these are called so by mistake: {_share(novelty.false_alarms, novelty.validation, 'validation')}, on "
        f"which this was chosen, and {_share(novelty.test_alarms, novelty.test, 'test')}."
    )


def _share(count: int, n: int, part: str) -> str:
    low, high = wilson(count, n)
    return f"{count} of {n} {part} images ({count / n:.1%}, 95 % interval {low:.1%} to {high:.1%})"
