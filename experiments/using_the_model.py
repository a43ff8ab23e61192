"""What a trained model comes to in use: predict, every export, the page, and two stages; by the commands themselves.

python experiments/using_the_model.py RUN STAGE1 STAGE2 NAME=FOLDER...

RUN is a finished run, STAGE1 and STAGE2 two that `medclf.cascade` takes, all with their images where they lay. FOLDER
holds images of another kind. Writes using_the_model.md.
"""

import http.client
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

import pandas as pd

FORMATS = ("onnx", "torch", "openvino")
ASKED = 20
HERE = Path(__file__).parent


def typed(*words: str) -> str:
    """What a command prints."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def predicted(run: str, folder: str, output: Path) -> pd.DataFrame:
    """The table that predict leaves."""
    typed("medclf.predict", f"run={run}", f"input={folder}", f"output={output}")
    return pd.read_csv(output / "predictions.csv", keep_default_na=False)


def flagged(run: str, kinds: dict[str, str], scratch: Path) -> list[str]:
    """A row for the images of each kind: how many, and how many of them are flagged."""
    rows = []
    for name, folder in kinds.items():
        table = predicted(run, folder, scratch / f"predicted_{name}")
        counts = Counter(table["flag"])
        rows.append(f"| {name} | {len(table)} | {counts['unlike training']} | {counts['unreadable']} |")
    return rows


def exported(run: str, scratch: Path) -> list[str]:
    """A line for each format: what the command says of its own check."""
    lines = []
    for form in FORMATS:
        printed = typed("medclf.export", f"run={run}", f"format={form}", f"output={scratch / 'exported'}")
        verified = next(line for line in printed.splitlines() if line.startswith("Verified"))
        lines.append(f"- {form}: {verified}")
    return lines


def seconds_of_answers(run: str, images: list[Path]) -> list[float]:
    """How long the page takes for each image, from the upload to the answer with its Grad-CAM."""
    command = [sys.executable, "-m", "medclf.demo", f"run={run}", "port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        port = int(page.stdout.readline().split()[0].rpartition(":")[2])
        taken = []
        for path in images:
            begin = time.perf_counter()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("POST", "/answer", path.read_bytes())
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            taken.append(time.perf_counter() - begin)
        page.send_signal(signal.SIGINT)
    return taken


def cascade(stages: list[str], scratch: Path) -> list[str]:
    """Results of the two stages joined, and beside either alone."""
    folder = scratch / "cascade"
    typed("medclf.cascade", f"stage1={stages[0]}", f"stage2={stages[1]}", f"output={folder}")
    metrics = pd.read_csv(folder / "metrics.csv")
    test = metrics[(metrics["split"] == "test") & metrics["class"].isna()]
    rows = [
        f"| {row.metric} | {row.value:.3f} | {row.low:.3f} to {row.high:.3f} | {row.n} |" for row in test.itertuples()
    ]
    point = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["operating_point"]["words"]
    beside = [next((folder / f"against_stage{at}").glob("*.md")).read_text(encoding="utf-8") for at in (1, 2)]
    lower = ["\n".join("#" + line if line.startswith("#") else line for line in text.splitlines()) for text in beside]
    return [f"Operating point: {point}.", "", "| test metric | value | 95 % interval | n |", "|---|---|---|---|", *rows,
            "", *lower]  # fmt: skip


def main(words: list[str]) -> None:
    """Do all, and write the page."""
    run, *stages = words[:3]
    kinds = dict(word.split("=", 1) for word in words[3:])
    config = json.loads((Path(run) / "checkpoints/best.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        flags, exports = flagged(run, kinds, scratch), exported(run, scratch)
        images = [path for folder in kinds.values() for path in sorted(Path(folder).rglob("*.png"))][:ASKED]
        answers = seconds_of_answers(run, images)
        joined = cascade(stages, scratch)
    page = [
        "# The model in use", "",
        f"A {config['model']['name']} trained on {config['dataset']} ({', '.join(config['classes'])}). Written by "
        "using_the_model.py from what the commands print and leave.", "",
        "## Predict", "", "| images | n | unlike training | unreadable |", "|---|---|---|---|", *flags, "",
        "## Export", "", *exports, "",
        "## The page", "",
        f"{len(answers)} images one after the other, Grad-CAM included: median {median(answers):.2f} s, slowest "
        f"{max(answers):.2f} s.", "",
        "## Two stages", "", *joined,
    ]  # fmt: skip
    (HERE / "using_the_model.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
