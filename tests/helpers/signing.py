"""Digests as whoever sends changed files would write them, so that a test gets past them to what it is about."""

import json

from medclf.config.run_file_schemas import compute_run_digests
from medclf.utils.file_digests import file_digest, model_digests
from medclf.utils.run_folder import Run


def change(path, **values):
    """Set entries of a JSON file."""
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **values}), encoding="utf-8")


def sign_model(facts):
    """Make the digests in a best.json those of the files next to it."""
    change(facts, sha256=model_digests(facts, json.loads(facts.read_text(encoding="utf-8")).get("members", [])))


def sign_run(folder):
    """Make the digests in a run's run.json and best.json those of its files."""
    run = Run(folder)
    if run.best_facts.is_file():
        sign_model(run.best_facts)
        change(run.record, best_json_sha256=file_digest(run.best_facts))
    change(run.record, files_sha256=compute_run_digests(run))
