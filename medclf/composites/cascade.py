"""The work of ``python -m medclf.cascade``."""

from pathlib import Path
from typing import Any

import pandas as pd

from medclf.comparison.conclusions import format_conclusions
from medclf.composites.cascade_test_images import CascadeCohort, select_cohort
from medclf.composites.cascade_vs_stages import compare_stages
from medclf.composites.ensemble import AGAIN, get_monitored_value, make_folder
from medclf.composites.stages import Stages
from medclf.config.run_file_schemas import compute_run_digests
from medclf.config.schema import EvaluationConfig
from medclf.data.image_fingerprints import validate_unchanged_images
from medclf.data.image_table import ImageTable
from medclf.data.preprocessing import read_network_input
from medclf.data.training_overlap import join_fingerprints
from medclf.evaluation.evaluate import Evaluation, evaluate
from medclf.evaluation.operating_point import OperatingPoint
from medclf.evaluation.predictions import predictions_table, save_predictions
from medclf.evaluation.summary import metrics_table
from medclf.inference.batch_predict import predict_probabilities
from medclf.inference.composite_model_files import build_metadata, write_composite
from medclf.inference.grad_cam import save_model_grad_cam
from medclf.inference.loading import load_model
from medclf.inference.model_metadata import FORMAT
from medclf.inference.precision import choose_device
from medclf.inference.predictor import Predictor
from medclf.inference.training_run_images import find_run_images
from medclf.reporting import comparison_report as comparison_report
from medclf.reporting.run_description import RunSummary, StageComparison, build_run_summary
from medclf.reporting.write_results import write_outcome
from medclf.utils.errors import DataError
from medclf.utils.file_digests import file_digest
from medclf.utils.file_limits import HIGHEST_MAX_MEGAPIXELS
from medclf.utils.json_yaml import read_json, write_json, write_yaml
from medclf.utils.run_folder import Run
from medclf.utils.safe_terminal import print_message
from medclf.utils.text_escaping import escape_markdown

NOT_CHOSEN = OperatingPoint("most probable", None, "the threshold is not chosen yet")


def build_cascade(stages: Stages, folder: Path, target: float, accelerator: str, trust_code: bool = False) -> None:
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
    judged = select_cohort(stages)
    root = _root(stages, judged)
    for stage in (stages.first, stages.second):
        load_model(stage.model, trust_code)
    choose_device(accelerator)
    make_folder(folder)
    run, config = Run(folder), _config(stages, target)
    with run.at_work(again=AGAIN) as facts:
        facts.split_hash, facts.findings = _save_images(stages, judged, run), judged.notes
        write_yaml(run.config, config)
        name = config["dataset"]["name"]
        _save_model(stages, name, run)
        engine = Predictor(load_model(run.best_facts, trust_code), accelerator, max_megapixels=HIGHEST_MAX_MEGAPIXELS)
        facts.device = str(engine.device)
        table = _table(engine, root, judged.images, config)
        evaluation = evaluate(table, EvaluationConfig.model_validate(config["evaluation"]), gate=stages.gate)
        chosen = get_monitored_value(evaluation, config["monitor"])
        said = {**read_json(run.best_facts), **build_metadata(evaluation, name, facts.split_hash), **chosen}
        write_json(run.best_facts, said)
        run.note(best_json_sha256=file_digest(run.best_facts))
        save_predictions(evaluation.decided(table), run.predictions)
        record = {**run.read_record(), **facts.known()}
        beside = compare_stages(stages, evaluation, judged.second)
        about = build_run_summary(config, record, judged.images, chosen, beside=beside)
        dataset = find_run_images(about.config)[0]
        seen = read_network_input(root, dataset, dataset.max_megapixels)
        grad_cam = save_model_grad_cam(engine, root, evaluation, seen, run.grad_cam)
        write_outcome(evaluation, about, folder, seen, grad_cam=grad_cam)
        _save_beside(about, folder)
        facts.files_sha256 = compute_run_digests(run)
    _say(evaluation, about, judged.notes, run)


def _root(stages: Stages, judged: CascadeCohort) -> Path:
    """The folder of the images, which are as they were."""
    dataset, root = find_run_images(stages.first.config)
    if not root.is_dir():
        raise DataError(
            f"dataset.root={dataset.root}: the images of {stages.first} are not there (looked for {root.absolute()}), "
            "and the cascade is judged on them; start where the run was started, or bring them back"
        )
    if stages.first.run.fingerprints.is_file():
        validate_unchanged_images(root, list(judged.images["path"]), stages.first.run.fingerprints)
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


def _save_images(stages: Stages, judged: CascadeCohort, run: Run) -> str:
    """Write the images judged, and the fingerprints of all that either stage has seen. Returns the split's digest."""
    images = ImageTable(judged.images, stages.classes, judged.notes)
    images.save(run.splits)
    join_fingerprints([stage.run.fingerprints for stage in (stages.first, stages.second)], run.fingerprints)
    return images.digest()


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
    probabilities = predict_probabilities(engine, root, list(images["path"]))
    return predictions_table(images, probabilities, engine.model.classes, fold)


def _save_beside(about: RunSummary, folder: Path) -> None:
    for beside in about.beside:
        head = f"# {escape_markdown(beside.title)}\n\n{escape_markdown(beside.words)}"
        text = f"{head}\n\n{comparison_report.format_comparison(beside.comparison)}"
        comparison_report.save_comparison(beside.comparison, text, folder / beside.folder)


def _say(evaluation: Evaluation, about: RunSummary, notes: list[str], run: Run) -> None:
    parts = [*notes, f"Operating point: {evaluation.point.words}."]
    parts += [metrics_table(evaluation.metrics["test"], "test")]
    parts += [_beside_text(beside, run) for beside in about.beside]
    report = f"Report:  {run.shown}/report.html\n" if evaluation.config.plots else ""
    parts.append(f"Folder:  {run.shown}\n{report}Model:   {run.shown}/checkpoints/{run.best_facts.name}\n")
    print_message("\n\n".join(parts))


def _beside_text(beside: StageComparison, run: Run) -> str:
    lines = "\n".join(format_conclusions(beside.comparison.differences, 1))
    return f"{beside.title}\n{beside.words}\n{lines}\nMore: {run.shown}/{beside.folder}/comparison.md"
