"""The work of ``python -m medclf.export``."""

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from medclf.config.command_schemas import FormatName
from medclf.exporting.export_metadata import describe_export, describe_inputs
from medclf.exporting.graph import capture_graph
from medclf.exporting.samples import NOISE, collect_samples
from medclf.exporting.verify import Verified, verify_export
from medclf.inference.loading import Model
from medclf.inference.predictor import Predictor
from medclf.utils.errors import ConfigError, MedclfError
from medclf.utils.json_yaml import write_json
from medclf.utils.safe_terminal import print_message

SHOWN = 300
"""Letters of an exporter's reason; torch adds whole graphs."""


def export(model: Model, name: FormatName, files: Sequence[Path], folder: str | None, tolerance: float) -> Verified:
    """Write a model's files, verify them, and only then give them their names.

    Args:
        model: as it was loaded.
        name: of the format.
        files: as ``list_files`` returns them.
        folder: of images to verify on; None: the run's own.
        tolerance: the largest difference of a probability that is allowed.

    Raises:
        ConfigError: for a network that the format cannot express, and a folder that cannot be written to.
        DataError: for a file that differs from the model.
    """
    engine = Predictor(model, "cpu", "32-true")
    samples = collect_samples(engine, folder)
    inputs = describe_inputs(model.forms)
    content = describe_export(model.facts, inputs, name)
    with _aside(files[0].parent) as aside, _quiet():
        made = [aside / path.name for path in files]
        with _refused(name):
            writer: Any = import_module(f"medclf.exporting.{name}_export")
            writer.write(capture_graph(model), made[0], inputs, content)
            runner = writer.load(made[0])
            verified = verify_export(made[0], runner, engine, samples, tolerance)
        del runner  # a file that is open cannot be moved on Windows
        write_json(made[-1], {**content, "verified": vars(verified)})
        for path, target in reversed(list(zip(made, files, strict=True))):  # that which is to be loaded comes last
            path.replace(target)
    return verified


@contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """A folder for files in the making; folders that were made for it go again where nothing comes of it."""
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as aside:
            yield Path(aside)
    except OSError as error:
        raise ConfigError(
            f"output={folder}: cannot be written: {error.strerror or error}; name a folder elsewhere"
        ) from error
    finally:
        for place in absent:
            with suppress(OSError):  # what holds files stays
                place.rmdir()


@contextmanager
def _refused(name: FormatName) -> Iterator[None]:
    """One message of what an exporter has to say."""
    try:
        yield
    except (MedclfError, OSError):
        raise
    except Exception as error:  # whatever the exporters do with a user's forward
        raise ConfigError(f"format={name}: the network cannot be exported: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= SHOWN else text[:SHOWN] + ' ...'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters advise their makers, and print whole graphs."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def report_export(files: Sequence[Path], verified: Verified, name: FormatName) -> None:
    """Say what was written and how far it is from the model."""
    sizes = [f"{path} ({path.stat().st_size / 1e6:.1f} MB)" for path in files[:-1]]
    near = f" ({verified.undecided} too near a threshold or a tie to compare)" if verified.undecided else ""
    lines = [
        f"Written: {', '.join(sizes)}; what it says of itself: {files[-1]}",
        f"Verified on {verified.images} {verified.source}: probabilities differ by at most "
        f"{verified.largest_difference:.1e}, no predicted class differs{near}",
    ]
    if verified.source == NOISE:
        lines.append("The images of the run are not there; images=FOLDER names others to verify on")
    if name == "openvino":
        lines.append(
            "Compile it with INFERENCE_PRECISION_HINT=f32: OpenVINO computes in bfloat16 where the processor is built "
            "for it, and what was verified does not hold then"
        )
    print_message("\n".join(lines) + "\n")
