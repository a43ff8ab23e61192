"""The jobs of a sweep: each is skipped where it has finished, gone on with where it broke off, and breaks alone."""

import hashlib
import json
import logging
import math
import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from medclf.config.schema import NOT_OF_A_RUN, DatasetConfig, TrainConfig, to_plain_data
from medclf.utils.atomic_write import write_text
from medclf.utils.errors import ConfigError, MedclfError, format_list
from medclf.utils.json_yaml import read_json
from medclf.utils.run_folder import Run, lock_run
from medclf.utils.safe_terminal import escape_control, print_message
from medclf.utils.write_errors import format_unwritable

if TYPE_CHECKING:
    from medclf.data.build_image_table import RunImages  # pandas, which --help does not import

log = logging.getLogger(__name__)
JOBS = "MEDCLF_SWEEP"
"""Environment variable with the file in which a sweep's jobs, wherever they run, write down what becomes of them."""
BEGAN, BROKE = "began", "broke"
ELSEWHERE = {
    "": (*NOT_OF_A_RUN, "resume", "resume_from", "sweep", "trust_code"),
    "dataset": ("store", "num_workers"),
    "trainer": ("enable_progress_bar", "enable_model_summary"),
}
"""By group, what does not change a job's outcome."""


class _ImageSlot:
    """Holds the images of the job that starts next: Hydra asks for a job's identity before it calls the job."""

    def __init__(self) -> None:
        self._held: tuple[DatasetConfig, RunImages] | None = None

    def load(self, dataset: DatasetConfig) -> "RunImages":
        """Return the images of a dataset, which are scanned if they are not held."""
        from medclf.data.build_image_table import load_run_images

        if self._held is None or self._held[0] != dataset:
            self._held = dataset, load_run_images(dataset, progress=False)
        return self._held[1]

    def clear(self) -> None:
        """Hold nothing, so that the next job scans its images again: they may have changed meanwhile."""
        self._held = None


_slot = _ImageSlot()


def identify_job(node: DictConfig) -> tuple[str, "RunImages"]:
    """Return the identity of the job that starts now, and its images, which are scanned once for both.

    Raises:
        DataError, ConfigError: for images that cannot be used.
    """
    try:
        return _identify(node)
    finally:
        _slot.clear()


def compute_job_identity(*, _root_: DictConfig) -> str:
    """Eight hex digits of all that a job's outcome depends on: its configuration, its images and their split."""
    return _identify(_root_)[0]


def _identify(node: DictConfig) -> tuple[str, "RunImages"]:
    content = to_plain_data(node, without=ELSEWHERE[""])
    images = _slot.load(DatasetConfig.model_validate(content["dataset"]))
    for group, keys in ELSEWHERE.items():
        for key in keys:
            content.get(group, {}).pop(key, None)
    facts = json.dumps([content, images.table.digest(), images.table.content_digest()], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:8], images


def is_sweep(folder: Path) -> bool:
    """Return whether a folder holds jobs of a sweep."""
    return (folder / ".jobs").is_dir()


def begin_sweep(folder: Path) -> None:
    """Open the list of a sweep's jobs, which processes that are started from here find.

    Raises:
        ConfigError: for a folder that cannot be written.
    """
    path = folder.absolute() / ".jobs" / f"{datetime.now():%Y%m%d-%H%M%S}_{token_hex(3)}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise ConfigError(format_unwritable("output", Run(folder).shown, error)) from error
    os.environ[JOBS] = str(path)


def finish_sweep() -> None:
    """Print the leaderboard of the jobs.

    Raises:
        MedclfError: naming the jobs that broke.
    """
    from medclf.overview.runs import read_runs
    from medclf.overview.tables import leaderboard

    lines = Path(os.environ[JOBS]).read_text(encoding="utf-8").splitlines()
    told = [line.split("\t") for line in lines]
    runs = [Run(Path(folder)) for folder in dict.fromkeys(folder for _, folder in told)]
    found = read_runs(runs)
    print_message(f"\n{leaderboard(found)}\n")
    broke = {folder for word, folder in told if word == BROKE}
    broken = [one.run.shown for one in found if str(one.run.folder) in broke or one.status != "finished"]
    if broken:
        raise MedclfError(
            f"{len(broken)} of {len(runs)} jobs did not finish: {format_list(broken)}; typed again, the sweep "
            "goes on with them"
        )


def _tell(word: str, folder: Path) -> None:
    with Path(os.environ[JOBS]).open("a", encoding="utf-8") as file:
        file.write(f"{word}\t{folder}\n")


def run_job(
    task: Callable[[TrainConfig, Path], float | None], config: TrainConfig, folder: Path, identity: str
) -> float | None:
    """Do one job, if it is not done.

    Args:
        task: the work.
        config: of the job.
        folder: its own.
        identity: of the job; a folder of another one is not taken for it.

    Returns:
        The value that the sweep optimises; NaN where the job broke, unless ``sweep.fail_fast``.
    """
    run = Run(folder)
    _tell(BEGAN, folder)
    try:
        with lock_run(folder, "output"), _traceback_kept(run):
            return _done(task, config, run, identity)
    except Exception as error:
        _tell(BROKE, folder)
        known = isinstance(error, MedclfError)
        said = f"{'' if known else f'{type(error).__name__}: '}{error}\n  in full: {run.shown}/error.txt"
        if config.sweep.fail_fast:
            log.error("This job broke, and sweep.fail_fast ends the sweep: %s", said)
            raise SystemExit(2 if known else 1) from error  # Hydra would go on with the others after any other error
        log.error("This job broke, the others go on: %s", said)
        return math.nan


@contextmanager
def _traceback_kept(run: Run) -> Iterator[None]:
    try:
        yield
    except Exception:
        with suppress(OSError):
            write_text(run.folder / "error.txt", escape_control(traceback.format_exc()))
        raise


def _done(
    task: Callable[[TrainConfig, Path], float | None], config: TrainConfig, run: Run, identity: str
) -> float | None:
    mark = run.folder / ".job"
    if mark.is_file() and mark.read_text(encoding="utf-8") != identity:
        raise ConfigError(
            f"hydra.sweep.subdir: gives {run.shown} to two different jobs; leave it out, or put ${{medclf.identity:}} "
            "into it"
        )
    write_text(mark, identity)
    if run.status == "finished":
        log.info("Finished before, and skipped: %s", run.shown)
        return float(read_json(run.metrics)["monitor_value"])
    if run.status is not None:
        log.info("Gone on with: %s", run.shown)
        config = config.model_copy(update={"resume": str(run.folder)})
    return task(config, run.folder)
