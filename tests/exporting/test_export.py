"""Files of each format in their own runtime, loaded as their users load them."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.export_models import CNN, RESNET, TEMPERATURE, calibrated, own_of, pictures, write_joint, write_model

import medclf
from medclf.config.schema import ImageSpecConfig
from medclf.export import main
from medclf.exporting.export_metadata import describe_inputs
from medclf.exporting.graph import MaxWindows

SUFFIX = {"onnx": ".onnx", "torch": ".pt2", "openvino": ".xml"}
FORMATS = pytest.mark.parametrize("name", list(SUFFIX))
SHAPES = [(32, "squash"), (32, "crop"), (64, "crop")]
HEALTHY, SICK = ["healthy", "ill"], ["benign", "malign", "healthy"]


@pytest.fixture
def export(command):
    return partial(command, main)


def in_onnx(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {name: pixels for name, pixels in images.items() if name in {node.name for node in session.get_inputs()}}
    content = session.get_modelmeta().custom_metadata_map
    assert {output.name: output.shape[0] for output in session.get_outputs()} == {
        "probabilities": "n",
        "predicted": "n",
    }
    return session.run(["probabilities", "predicted"], given), {key: read(text) for key, text in content.items()}


def in_torch(path, images):
    extra = {"medclf.json": ""}
    network = torch.export.load(path, extra_files=extra).module()
    return [output.numpy() for output in network(*map(torch.from_numpy, images.values()))], json.loads(
        extra["medclf.json"]
    )


def in_openvino(path, images):
    import openvino  # after the export, which has kept it from telling its maker

    core = openvino.Core()
    model = core.read_model(path)
    outputs = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)
    content = {key: read(value.astype(str)) for key, value in model.get_rt_info("medclf").astype(dict).items()}
    return [outputs["probabilities"], outputs["predicted"]], content


def read(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


LOADED = {"onnx": in_onnx, "torch": in_torch, "openvino": in_openvino}


@FORMATS
def test_a_resnet_of_colour_images_gives_calibrated_probabilities_for_any_number_of_images(export, tmp_path, name):
    network = write_model(tmp_path, ["a", "b", "c"], RESNET, channels=3)
    answer = export("model=best.pth", f"format={name}")
    assert answer.code == 0, answer.text
    file = tmp_path / "export" / f"täst_set_tiny{SUFFIX[name]}"
    for count in (1, 5):
        images = pictures(count, channels=3)
        (probabilities, predicted), _ = LOADED[name](file, {"images": images})
        assert (probabilities.dtype, predicted.dtype) == (np.float32, np.int64)
        own = own_of(network, images)
        np.testing.assert_allclose(probabilities, calibrated(own), atol=1e-5)
        assert predicted.tolist() == own.argmax(1).tolist()


@FORMATS
def test_the_threshold_is_inside_and_the_file_tells_of_itself(export, tmp_path, name):
    network = write_model(tmp_path, HEALTHY, activation="sigmoid", threshold=0.2)
    answer = export("model=best.pth", f"format={name}", "output=out")
    assert (answer.code, answer.err) == (0, ""), answer.text
    assert f"Written: out/täst_set_tiny{SUFFIX[name]} (" in answer.out
    assert "Verified on 32 pictures of noise: probabilities differ by at most " in answer.out
    assert "images=FOLDER names others to verify on" in answer.out
    images = pictures(40)
    file = tmp_path / "out" / f"täst_set_tiny{SUFFIX[name]}"
    (probabilities, predicted), content = LOADED[name](file, {"images": images})
    own = own_of(network, images)
    np.testing.assert_allclose(probabilities, calibrated(own), atol=1e-5)
    assert predicted.tolist() == (own[:, 1] >= 0.2).tolist()
    assert (predicted != probabilities.argmax(1)).any()
    beside = json.loads((tmp_path / f"out/{file.name}.json").read_text(encoding="utf-8"))
    verified = beside.pop("verified")
    assert content == beside
    assert verified["images"] == 32
    assert 0 <= verified["largest_difference"] < 1e-6
    assert (content["classes"], content["positive"], content["threshold"]) == (HEALTHY, "ill", 0.2)
    assert content["operating_point"]["rule"] == "youden"
    assert content["temperature"] == TEMPERATURE
    assert content["inputs"] == {"images": {"image_size": 32, "channels": 1, "resize": "squash", "clahe": None}}
    assert content["dataset"] == 'täst "<&>" set'
    assert content["versions"]["medclf"] == medclf.__version__
    assert "not a medical device" in content["warning"]
    here = str(Path(medclf.__file__).parent).encode()
    assert not [path for path in file.parent.iterdir() if here in path.read_bytes()]
    assert sorted(path.name for path in file.parent.iterdir()) == sorted(
        {f"{file.name}.json", file.name} | ({"täst_set_tiny.bin"} if name == "openvino" else set())
    )


@FORMATS
def test_a_cascade_of_an_ensemble_takes_its_images_in_each_form_and_decides_in_two_stages(export, tmp_path, name):
    first, twin = tmp_path / "members/0", "members/1"
    small = write_model(first / "members/0", ["ill", "healthy"])
    large = write_model(first / twin, ["ill", "healthy"], CNN, size=48, channels=3, seed=1)
    second = write_model(tmp_path / twin, SICK, seed=2)
    write_joint(first, "ensemble", ["members/0", twin], ["ill", "healthy"])
    write_joint(tmp_path, "cascade", ["members/0", twin], ["healthy", "malign", "benign"], 0.3, "healthy")
    answer = export("model=best.json", f"format={name}", "output=out")
    assert answer.code == 0, answer.text
    for count in (1, 40):
        images = {"images_32x1": pictures(count), "images_48x3": pictures(count, 48, 3)}
        (probabilities, predicted), content = LOADED[name](next(Path("out").glob(f"*{SUFFIX[name]}")), images)
        one = (own_of(small, images["images_32x1"]) + own_of(large, images["images_48x3"])) / 2
        two = own_of(second, images["images_32x1"])[:, [1, 0]]
        own = np.column_stack([one[:, 1], one[:, :1] * two / two.sum(1, keepdims=True)])
        np.testing.assert_allclose(probabilities, calibrated(own), atol=1e-5)
        assert predicted.tolist() == np.where(one[:, 0] >= 0.3, 1 + own[:, 1:].argmax(1), 0).tolist()
        assert list(content["inputs"]) == list(images)
    assert set(predicted.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("size", [5, (5, 3), (None, 4), (16, 20)])
def test_adaptive_pooling_as_slices_is_the_same(size):
    maps = torch.randn(2, 3, 16, 19)
    assert torch.equal(MaxWindows(size)(maps), torch.nn.AdaptiveMaxPool2d(size)(maps))


def test_forms_of_one_size_are_told_apart():
    squash, crop, large = (ImageSpecConfig(image_size=size, channels=1, resize=how, clahe=None) for size, how in SHAPES)
    assert describe_inputs([squash, large, crop]) == {
        "images_32x1": squash,
        "images_64x1": large,
        "images_32x1_2": crop,
    }


def test_torch_loads_its_file_without_medclf(export, tmp_path):
    write_model(tmp_path, HEALTHY)
    assert export("model=best.pth", "format=torch", "output=out").code == 0
    code = "import sys; sys.modules['medclf'] = None; import torch; network = torch.export.load(sys.argv[1]).module(); "
    code += "print([tuple(out.shape) for out in network(torch.zeros((3, 1, 32, 32), dtype=torch.uint8))])"
    done = subprocess.run(
        [sys.executable, "-c", code, "out/täst_set_tiny.pt2"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[(3, 2), (3,)]", done.stderr
