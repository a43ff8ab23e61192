"""Every logger gets test results, hyperparameters and, where it supports them, images; nothing here uses a network."""

import io
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from helpers.commands import TINY_PHANTOM
from helpers.evaluations import CASES, evaluated
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from matplotlib.figure import Figure
from PIL import Image

from medclf.config.component_registry import LOGGERS, validate_component
from medclf.config.composition import Composer
from medclf.config.schema import TrainConfig, validate_config
from medclf.training.loggers import build_loggers, list_viewers, log_figure, log_results
from medclf.utils.errors import ConfigError
from medclf.utils.run_folder import Run

MLFLOW = "lightning.pytorch.loggers.MLFlowLogger"


class Client:
    """Records the calls of a client by name."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments, **named: self.calls.append((name, arguments, named))

    def called(self, name):
        return [(arguments, named) for called, arguments, named in self.calls if called == name]


class Recording:
    """The methods of both loggers that reach for their package, as records of the client."""

    def __init__(self):
        self.client = Client()

    @property
    def experiment(self):
        return self.client

    def log_metrics(self, metrics, step=None):
        self.client.log_metrics(metrics, step)

    def log_hyperparams(self, params):
        self.client.log_hyperparams(params)


class FakeMLFlow(Recording, MLFlowLogger):
    run_id = "run 1"


class FakeWandb(Recording, WandbLogger):
    def log_image(self, key, images, step=None):
        self.client.log_image(key, images, step)

    def log_table(self, key, columns=None, data=None, dataframe=None, step=None):
        self.client.log_table(key, columns, data, step)


def config(*overrides):
    return validate_config(Composer("train").compose(list(overrides)), TrainConfig)


def png():
    file = io.BytesIO()
    Image.new("L", (5, 3)).save(file, format="PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", [FakeMLFlow, FakeWandb])
def test_results_go_to_any_logger(kind):
    evaluation = evaluated(CASES["two"])
    logger = kind()
    log_results([logger], config(), evaluation.metrics, {"roc": png()}, step=7)
    client = logger.client
    (((metrics, step), _),) = client.called("log_metrics")
    assert step == 7
    assert metrics["test/accuracy"] == evaluation.metrics["test"].overall["accuracy"].value
    assert metrics["val_best/accuracy"] == evaluation.metrics["val"].overall["accuracy"].value
    (((hyperparameters,), _),) = client.called("log_hyperparams")
    assert (hyperparameters["model"], hyperparameters["lr"]) == ("cnn", 0.001)
    ((image, named),) = client.called("log_image")
    ((table, _),) = client.called("log_table")
    if kind is FakeMLFlow:
        assert (image[1].size, named) == ((5, 3), {"artifact_file": "evaluation/roc.png"})
        assert table[1]["metric"][0] == next(iter(evaluation.metrics["test"].overall))
        assert not client.called("finish")
    else:
        assert (image[0], image[1][0].size, image[2]) == ("evaluation/roc", (5, 3), 7)
        assert table[2][0][0] == next(iter(evaluation.metrics["test"].overall))
        assert client.called("finish") == [((), {})]


@pytest.mark.parametrize("kind", [FakeMLFlow, FakeWandb])
def test_a_figure_goes_to_loggers_that_support_images(kind):
    logger = kind()
    log_figure([logger], "samples/train", Figure(figsize=(1, 1)), 3)
    (((_, *rest), _),) = logger.client.called("log_image")
    image = rest[0][0] if kind is FakeWandb else rest[0]
    assert image.size == (100, 100)


def test_csv_and_tensorboard_together(train, tmp_path):
    answer = train(*TINY_PHANTOM, "logger=[csv,tensorboard]", "hydra.run.dir=runs/both")
    assert answer.code == 0, answer.text
    assert "Look at it:  tensorboard --logdir runs" in answer.out
    assert "Look at it:  runs/both/csv/*/metrics.csv" in answer.out
    folder = tmp_path / "runs" / "both"
    assert list(folder.glob("events*"))
    (file,) = folder.glob("csv/*/metrics.csv")
    frame = pd.read_csv(file)
    assert frame["val/loss"].notna().sum() == 2
    assert frame["test/accuracy"].notna().sum() == 1
    written = yaml.safe_load((file.parent / "hparams.yaml").read_text(encoding="utf-8"))
    assert (written["model"], written["max_epochs"]) == ("cnn", 2)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_named_with_its_extra(name):
    if find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    node = config(f"logger={name}").logger[name]
    with pytest.raises(ConfigError, match=rf"logger\.{name}\._target_=.*: needs {name}: .*'medclf\[{name}\]'"):
        validate_component(f"logger.{name}", node, LOGGERS, False)


@pytest.mark.parametrize(
    "uri", ["http://host", "https://host/x", "databricks", "file://host/x", "//host/x", "postgresql://h/x"]
)
def test_a_server_is_not_set_by_a_configuration(uri):
    with pytest.raises(ConfigError, match=r"tracking_uri=.*: must be a local folder or database.*MLFLOW_TRACKING_URI"):
        validate_component("logger.mlflow", {"_target_": MLFLOW, "tracking_uri": uri}, LOGGERS, False)


@pytest.fixture
def installed(monkeypatch):
    """Both packages as far as building a logger needs them."""
    finished = []
    wandb = SimpleNamespace(run=object(), finish=lambda: finished.append(True))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr("medclf.config.component_registry.find_spec", lambda name: object())
    built = {}
    for kind in (MLFlowLogger, WandbLogger):
        monkeypatch.setattr(kind, "__init__", lambda self, kind=kind, **given: built.update({kind.__name__: given}))
    return built, finished


def test_loggers_are_built_for_the_run_folder(installed, tmp_path, monkeypatch):
    built, finished = installed
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = Run(tmp_path / "seed0")
    loggers = build_loggers(config("logger=[mlflow,wandb]"), run)
    assert [type(one) for one in loggers] == [MLFlowLogger, WandbLogger]
    store = (tmp_path / "seed0" / "mlruns").as_uri()
    assert built["MLFlowLogger"] == {"experiment_name": "phantom", "tracking_uri": store, "run_name": "seed0"}
    assert built["WandbLogger"] == {
        "project": "medclf", "offline": True, "save_dir": str(run.folder), "name": "seed0",
    }  # fmt: skip
    assert finished  # the run of an earlier job of this process

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://tracking.example")
    build_loggers(config("logger=mlflow"), run)
    assert built["MLFlowLogger"]["tracking_uri"] == "https://tracking.example"
    build_loggers(config("logger=mlflow", "logger.mlflow.tracking_uri=sqlite:///runs.db"), run)
    assert built["MLFlowLogger"]["tracking_uri"] == "sqlite:///runs.db"


def test_the_viewer_fits_the_logger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = Run(tmp_path / "runs" / "one")
    assert list_viewers(config(), run) == ["tensorboard --logdir runs"]
    assert list_viewers(config(), Run(tmp_path / "a b")) == ["tensorboard --logdir 'a b'"]
    store = (tmp_path / "runs" / "one" / "mlruns").as_uri()
    assert list_viewers(config("logger=mlflow"), run) == [f"mlflow ui --backend-store-uri {store}"]
    assert list_viewers(config("logger=wandb"), run) == ["wandb sync runs/one/wandb/offline-run-*"]
    online = config("logger=wandb", "logger.wandb.offline=false", "logger.wandb.project=hips")
    assert list_viewers(online, run) == ["https://wandb.ai, project hips"]


def test_a_logger_of_ones_own_needs_trust():
    node = {"_target_": "my_module.MyLogger"}
    with pytest.raises(ConfigError, match=r"logger\.mine\._target_=my_module\.MyLogger: .*trust_code=true"):
        validate_component("logger.mine", node, LOGGERS, False)
