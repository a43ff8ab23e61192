"""What is pasted from a message says the same to the shell and to Hydra."""

import shlex

import pytest

from medclf.config.overrides import parse_overrides
from medclf.utils.quoting import format_command, format_override

NAMES = [
    "runs/a", "a b", "it's", 'a "b"', "a=1", "[a]", "Gefäß", "a,b", "null", "TRUE", "1", "1e5", "1_000", "a\\b", "a\\",
    "a\\'b", "$HOME", "a#b", "-1", "~a", "{a: 1}", "x:y", "nan",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_survives_shell_and_hydra(name):
    *_, word = shlex.split(format_command("train", format_override("resume", name)))
    (read,) = parse_overrides([word])
    assert read.value() == name


def test_an_expression_is_not_resolved():
    from omegaconf import OmegaConf

    (read,) = parse_overrides([format_override("resume", "a${oc.env:HOME}")])
    assert OmegaConf.create({"resume": read.value()}).resume == "a${oc.env:HOME}"


def test_a_plain_name_is_not_quoted():
    assert format_command("train", format_override("resume", "runs/busi/cnn/seed0_1")) == (
        "python -m medclf.train resume=runs/busi/cnn/seed0_1"
    )
