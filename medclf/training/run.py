"""One run from its config to its results: the order of the rooms."""

import logging
import re
import time
from collections.abc import Sequence
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import SIGTERMException

from medclf.config.distributed import validate_cores, validate_worker_shares
from medclf.config.schema import TrainConfig
from medclf.config.trainer_validation import validate_batches
from medclf.data.audit import audit_findings
from medclf.data.augmentation import build_augmentation
from medclf.data.build_image_table import RunImages, load_run_images
from medclf.data.datamodule import ImageDataModule
from medclf.data.image_table import PARTS, ImageTable
from medclf.data.training_overlap import save_fingerprints
from medclf.evaluation.subgroups import validate_subgroups
from medclf.inference.precision import choose_precision
from medclf.training.checkpointing import find_whole_checkpoint
from medclf.training.feature_cache import plan_feature_reuse
from medclf.training.finalize import finalize_training
from medclf.training.log_filters import quieten
from medclf.training.module import ClassifierModule
from medclf.training.tensorboard import complete_events
from medclf.training.trainer import build_module, build_trainer
from medclf.training.tuner import run_tuner
from medclf.utils.errors import ConfigError, DataError, MedclfError
from medclf.utils.json_yaml import read_yaml, write_yaml
from medclf.utils.process_lifecycle import Terminated, keep_freed_memory
from medclf.utils.run_folder import Run, RunFacts, is_main_process

log = logging.getLogger(__name__)
RESTORING = (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError)
"""What Lightning raises when it restores a checkpoint that has other contents than it expects."""
TERMINATED = 143
"""Exit code after SIGTERM, as shells have it."""


def train_and_test(
    config: TrainConfig,
    folder: Path,
    images: RunImages | None = None,
    command: Sequence[str] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = True,
) -> float:
    """Train, choose the best checkpoint on validation, test it once, and leave everything in the run folder.

    Args:
        config: checked configuration of the run.
        folder: run folder, new or of the run that is resumed.
        images: scanned images of the run; None: they are scanned here.
        command: overrides that repeat the run, for its record; None: those of ``sys.argv``.
        callbacks: Lightning callbacks in addition to those of the configuration.
        progress: whether bars are shown while images are read.

    Returns:
        The best value of ``config.monitor``; NaN after ``trainer.fast_dev_run``, which keeps nothing.

    Raises:
        MedclfError: for what a user can mend; all but a diverging loss comes before the first epoch.
    """
    quieten()
    keep_freed_memory()
    run = Run(folder)
    resumed = config.resume is not None
    if resumed and not run.last_checkpoint.is_file():
        log.info("Nothing was trained in %s yet: it starts from the beginning.", run.shown)
        config = config.model_copy(update={"resume": None})
    if not is_main_process():
        log.setLevel(logging.WARNING)
        return _train_and_test(_with_precision(config, run), run, RunFacts(), images, callbacks, False)
    again = run.resume_command(config.trust_code)
    with run.at_work(resumed, again, command) as facts, complete_events(run.folder):
        return _train_and_test(_with_precision(config, run), run, facts, images, callbacks, progress)


def _with_precision(config: TrainConfig, run: Run) -> TrainConfig:
    """The config with the precision that the run began with, or that the machine is built for; if none was chosen."""
    if config.trainer.precision is not None:
        return config
    if config.resume is not None and run.config.is_file():
        precision, why = read_yaml(run.config)["trainer"].get("precision"), "as the run began"
    else:
        precision, why = choose_precision(config.trainer.accelerator)
    log.info("Precision %s: %s.", precision, why)
    return config.model_copy(update={"trainer": config.trainer.model_copy(update={"precision": precision})})


def _train_and_test(
    config: TrainConfig,
    run: Run,
    facts: RunFacts,
    images: RunImages | None,
    callbacks: Sequence[Callback],
    progress: bool,
) -> float:
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    augment = build_augmentation(config.augmentation, config.trust_code)
    reuse = plan_feature_reuse(config, augment)
    trainer = build_trainer(config, run, [*callbacks, *([] if reuse is None else [reuse])])
    _refuse_several_processes(config, trainer)
    if is_main_process() and config.resume is None:
        save_config(config, run)  # before images are read, so that a run that stops from here on can be resumed
    examined, table = images or load_run_images(config.dataset, progress)
    validate_subgroups(config.evaluation.subgroups, table.attributes)
    counts = {part: len(table.part(part)) for part in PARTS}
    validate_worker_shares(trainer.world_size, counts)
    if not config.tune.batch_size:
        validate_batches(config.trainer, config.dataset.batch_size, counts, trainer.world_size)
    if is_main_process():
        _note_images(run, table, config)
    _report_images(config, table)
    data = ImageDataModule(table, config.dataset, augment, progress, config.seed)
    data.keep_workers = config.model.unfreeze_at is None  # else what they hold changes on the way
    data.setup()
    config = run_tuner(config, data, run, trainer.loggers)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    module = build_module(config, data)
    if is_main_process():
        save_config(config, run)
        facts.files_sha256 = {run.splits.name: table.save(run.splits)}
        save_fingerprints(examined.prints, table, run.fingerprints)
    facts.device = str(trainer.strategy.root_device)
    facts.findings = audit_findings(examined, table, config.dataset)
    facts.training_seconds = _fit(trainer, module, data, config, run)
    if config.trainer.fast_dev_run:
        log.info("fast_dev_run: a trial of the code, nothing is kept and nothing tested.")
        return float("nan")
    if not run.best_checkpoint.is_file():
        raise MedclfError(f"monitor={config.monitor}: was not a number in any epoch, so no best checkpoint was chosen")
    return finalize_training(trainer, module, data, config, run, facts)


def save_config(config: TrainConfig, run: Run) -> None:
    """Write the resolved configuration as plain data."""
    write_yaml(run.config, config.model_dump(by_alias=True, mode="json"))


def _note_images(run: Run, table: ImageTable, config: TrainConfig) -> None:
    """Record which images and which split the run has; one that goes on must have them still."""
    facts = {"split_hash": table.digest(), "content_hash": table.content_digest()}
    before = run.read_record()
    for key, what in (("split_hash", "another split of the images, or other images"), ("content_hash", "other files")):
        if config.resume is not None and before.get(key, facts[key]) != facts[key]:
            raise DataError(
                f"dataset.root={config.dataset.root}: gives {what} than the run began with ({key} {facts[key]}, it had "
                f"{before[key]}; its images are in {run.splits}); resume={run.shown} needs the same"
            )
    run.note(**facts)


def _refuse_several_processes(config: TrainConfig, trainer: lightning.Trainer) -> None:
    processes = trainer.world_size
    if trainer.strategy.root_device.type == "cpu":
        validate_cores(trainer.num_devices)
    if processes > 1 and config.model.unfreeze_at is not None:
        raise ConfigError(
            f"model.unfreeze_at={config.model.unfreeze_at}: cannot be done by {processes} processes, which agree at "
            "the start on what learns; set trainer.devices=1, or train frozen first and go on from its best.pth"
        )
    if processes > 1 and (config.tune.lr or config.tune.batch_size):
        raise ConfigError(
            f"tune: searches with one process, and this run has {processes}; run it once with trainer=default "
            "trainer.devices=1 and type what it finds"
        )


def _fit(
    trainer: lightning.Trainer, module: ClassifierModule, data: ImageDataModule, config: TrainConfig, run: Run
) -> float:
    begin = time.perf_counter()
    checkpoint = None if config.resume is None else _checkpoint(run, config, module)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stop:  # Lightning's answer to Ctrl-C and SIGTERM
        log.info("Interrupted. To go on: %s", run.resume_command(config.trust_code))
        if isinstance(stop, SIGTERMException | Terminated):
            raise SystemExit(TERMINATED) from None
        raise KeyboardInterrupt from None
    except DataError as error:
        raise DataError(without_worker_traceback(str(error))) from error
    except RESTORING as error:
        if checkpoint is None or module.has_started:
            raise
        raise DataError(f"{checkpoint}: is damaged, so the run cannot be resumed; start it again") from error
    seconds = time.perf_counter() - begin
    log.info("Trained %d epochs in %.1f s.", trainer.current_epoch, seconds)
    return round(seconds, 3)


def _checkpoint(run: Run, config: TrainConfig, module: ClassifierModule) -> Path | None:
    if config.resume is None:
        return None
    return find_whole_checkpoint(run, config.resume_from, module, config.trainer.max_epochs)


def without_worker_traceback(message: str) -> str:
    """Return the message of an error from a worker process of a data loader, around which torch puts its traceback."""
    found = re.fullmatch(r"Caught \w+ in DataLoader worker.*\n[\w.]+Error: (.*?)\n?", message, re.DOTALL)
    return found[1] if found else message


def _report_images(config: TrainConfig, table: ImageTable) -> None:
    log.info(
        "Dataset %s from %s, split %s\n%s", config.dataset.name, config.dataset.root, table.digest(), table.counts()
    )
    for note in table.notes:
        log.info(note)
    if len(table.classes) == 2:
        log.info("The positive class is %s.", config.dataset.positive or table.classes[-1])
