import pytest
import torch
from helpers.commands import TINY_PHANTOM
from omegaconf import OmegaConf

from medclf.inference import precision
from medclf.inference.precision import choose_precision, match_precision


@pytest.mark.parametrize(
    ("accelerator", "cuda", "mps", "gpu_bfloat16", "cpu_bfloat16", "expected"),
    [
        ("auto", True, False, True, False, "bf16-mixed"),
        ("auto", True, False, False, True, "32-true"),
        ("gpu", True, False, True, False, "bf16-mixed"),
        ("cpu", True, False, True, False, "32-true"),
        ("cpu", False, False, False, True, "bf16-mixed"),
        ("auto", False, False, False, False, "32-true"),
        ("auto", False, True, False, True, "32-true"),
        ("mps", False, True, False, True, "32-true"),
    ],
)
def test_the_machine_is_asked(monkeypatch, accelerator, cuda, mps, gpu_bfloat16, cpu_bfloat16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_bfloat16)
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: cpu_bfloat16)
    assert choose_precision(accelerator)[0] == expected


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("32-true", ("32-true", "as the run was trained")),
        (None, ("32-true", "as the run was trained")),
        ("bf16-mixed", ("bf16-mixed", "gpu has it")),
        ("16-mixed", ("bf16-mixed", "gpu has it")),
    ],
)
def test_a_trained_model_is_used_in_float32_where_it_was_trained_in_it(monkeypatch, own, expected):
    monkeypatch.setattr(precision, "choose_precision", lambda accelerator: ("bf16-mixed", f"{accelerator} has it"))
    assert match_precision(own, "gpu") == expected


def test_what_was_chosen_is_said_and_kept(train, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "medclf.training.run.choose_precision", lambda accelerator: ("bf16-mixed", f"{accelerator} has it")
    )
    words = [word for word in TINY_PHANTOM if not word.startswith("trainer.precision")]
    answer = train(*words, "hydra.run.dir=run")
    assert answer.code == 0, answer.text
    assert "Precision bf16-mixed: cpu has it." in answer.out
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").trainer.precision == "bf16-mixed"
    assert "Precision" not in train(*words, "trainer.precision=32-true", "hydra.run.dir=other").out
