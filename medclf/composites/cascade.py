"""The work of ``python -m medclf.cascade``."""

from pathlib import Path
from typing import Any

import pandas as pd

from medclf.comparison.conclusions import sentences
from medclf.composites.cohort import Judged, judged_images
from medclf.composites.ensemble import AGAIN, monitored
from medclf.composites.stage_comparison import Beside, beside_stages
from medclf.composites.stages import Stages
from medclf.config.run_files import digests
from medclf.config.schema import Evaluation as Config
from medclf.data.fingerprint import refuse_changed
from medclf.data.image_table import ImageTable
from medclf.data.preprocessing import seen_by_network
from medclf.data.training_overlap import join_fingerprints
from medclf.evaluation.evaluate import Evaluation, evaluate
from medclf.evaluation.operating_point import OperatingPoint
from medclf.evaluation.predictions import predictions_table, save_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.grad_cam import saved_maps
from medclf.inference.loading import load_model
from medclf.inference.metadata import FORMAT
from medclf.inference.model_files import facts_of, write_composite
from medclf.inference.precision import device_of
from medclf.inference.predictor import Predictor, probabilities_of
from medclf.inference.run_images import own_images
from medclf.reporting import comparison_report as comparison_report
from medclf.reporting.run_summary import About, about_run
from medclf.reporting.write import write_outcome
from medclf.utils.errors import ConfigError, DataError
from medclf.utils.file_digests import file_digest
from medclf.utils.file_limits import HIGHEST_MAX_MEGAPIXELS
from medclf.utils.plain_data import read_json, write_json, write_yaml
from medclf.utils.run_dir import Run
from medclf.utils.terminal import say
from medclf.utils.text_escaping import in_markdown
from medclf.utils.write_errors import reason

NOT_CHOSEN = OperatingPoint("most probable", None, "the threshold is not chosen yet")


def conclude_cascade(stages: Stages, folder: Path, target: float, accelerator: str, trust_code: bool = False) -> None:
    """Join two stages into one model, judge it, and leave in a folder what a run leaves.

    Args:
        stages: that fit together.
        folder: new or empty.
        target: the sensitivity that the first stage's threshold is to have on validation.
        accelerator: of Lightning.
        trust_code: whether the stages may be networks of the user's own code.

    Raises:
        ConfigError, DataError: for images that the cascade cannot be judged on, before the folder is made.
    """
    judged = judged_images(stages)
    root = _root(stages, judged)
    for stage in (stages.first, stages.second):
        load_model(stage.model, trust_code)
    device_of(accelerator)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output={folder}: cannot be made: {reason(error)}; name a folder elsewhere") from error
    run, config = Run(folder), _config(stages, target)
    with run.at_work(again=AGAIN) as facts:
        facts |= _save_images(stages, judged, run)
        write_yaml(run.config, config)
        name = config["dataset"]["name"]
        _save_model(stages, name, run)
        engine = Predictor(load_model(run.best_facts, trust_code), accelerator, max_megapixels=HIGHEST_MAX_MEGAPIXELS)
        facts["device"] = str(engine.device)
        table = _table(engine, root, judged.images, config)
        evaluation = evaluate(table, Config.model_validate(config["evaluation"]), gate=stages.gate)
        chosen = monitored(evaluation, config["monitor"])
        said = {**read_json(run.best_facts), **facts_of(evaluation, name, facts["split_hash"]), **chosen}
        write_json(run.best_facts, said)
        run.note(best_json_sha256=file_digest(run.best_facts))
        save_predictions(evaluation.decided(table), run.predictions)
        about = about_run(run, chosen, facts, beside_stages(stages, evaluation, judged.second))
        dataset = own_images(about.config)[0]
        seen = seen_by_network(root, dataset, dataset.max_megapixels)
        grad_cam = saved_maps(engine, root, evaluation, seen, run.grad_cam)
        write_outcome(evaluation, about, folder, seen, grad_cam=grad_cam)
        _save_beside(about, folder)
        facts |= digests(run)
    _say(evaluation, about, judged.notes, run)


def _root(stages: Stages, judged: Judged) -> Path:
    """The folder of the images, which are as they were."""
    dataset, root = own_images(stages.first.config)
    if not root.is_dir():
        raise DataError(
            f"dataset.root={dataset.root}: the images of {stages.first} are not there (looked for {root.absolute()}), "
            "and the cascade is judged on them; start where the run was started, or bring them back"
        )
    if stages.first.run.fingerprints.is_file():
        refuse_changed(root, list(judged.images["path"]), stages.first.run.fingerprints)
    return root


def _config(stages: Stages, target: float) -> dict[str, Any]:
    """What the first stage gives to the cascade, and who the stages are."""
    own, other = stages.first.config, stages.second.config
    model = {
        "name": f"cascade of {own['model']['name']} and {other['model']['name']}",
        "members": [stages.first.run.shown, stages.second.run.shown],
        "gate": stages.gate,
    }
    dataset = {**own["dataset"], "classes": stages.classes, "class_folders": None, "positive": None}
    evaluation = {**own["evaluation"], "operating_point": "sensitivity", "target": target}
    return {"monitor": own["monitor"], "seed": None, "dataset": dataset, "evaluation": evaluation, "model": model}


def _save_images(stages: Stages, judged: Judged, run: Run) -> dict[str, Any]:
    """Write the images judged, and the fingerprints of all that either stage has seen. Returns facts of the record."""
    images = ImageTable(judged.images, stages.classes, judged.notes)
    images.save(run.splits)
    join_fingerprints([stage.run.fingerprints for stage in (stages.first, stages.second)], run.fingerprints)
    return {"split_hash": images.digest(), "findings": judged.notes}


def _save_model(stages: Stages, dataset: str, run: Run) -> None:
    """Write the model, but for what is chosen with its own predictions."""
    facts = {
        "format": FORMAT,
        "classes": stages.classes,
        "positive": None,
        "operating_point": vars(NOT_CHOSEN),
        "temperature": 1.0,
        "dataset": dataset,
    }
    run.checkpoints.mkdir()
    write_composite(run.best_facts, "cascade", [stages.first.model, stages.second.model], facts)


def _table(engine: Predictor, root: Path, images: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    splits = config["dataset"]["splits"]
    fold = None if splits["folds"] is None else splits["fold"]
    probabilities = probabilities_of(engine, root, list(images["path"]))
    return predictions_table(images, probabilities, engine.model.classes, fold)


def _save_beside(about: About, folder: Path) -> None:
    for beside in about.beside:
        head = f"# {in_markdown(beside.title)}\n\n{in_markdown(beside.words)}"
        text = f"{head}\n\n{comparison_report.text(beside.comparison)}"
        comparison_report.save(beside.comparison, text, folder / beside.folder)


def _say(evaluation: Evaluation, about: About, notes: list[str], run: Run) -> None:
    parts = [*notes, f"Operating point: {evaluation.point.words}."]
    parts += [metrics_table(evaluation.metrics["test"], "test")]
    parts += [_beside_text(beside, run) for beside in about.beside]
    report = f"Report:  {run.shown}/report.html\n" if evaluation.config.pictures else ""
    parts.append(f"Folder:  {run.shown}\n{report}Model:   {run.shown}/checkpoints/{run.best_facts.name}\n")
    say("\n\n".join(parts))


def _beside_text(beside: Beside, run: Run) -> str:
    lines = "\n".join(sentences(beside.comparison.differences, 1))
    return f"{beside.title}\n{beside.words}\n{lines}\nMore: {run.shown}/{beside.folder}/comparison.md"
