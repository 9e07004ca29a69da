"""Runs folders with made-up outcomes, in the layout that evaluation and learning leave.

The numbers are drawn from a seeded generator and mean nothing; they never leave a test's folder.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd

from lemon.configuration.planned_run import lineage
from lemon.configuration.project import TIMES, Project
from lemon.configuration.stages import stage_params
from lemon.configuration.tasks import FOLDERS, TASKS
from lemon.configuration.trials import Trial
from lemon.evaluation import outcomes
from lemon.evaluation.outcomes import Outcome
from lemon.files.manifest import MANIFEST, sealed, write_manifest
from lemon.files.storage import write_json
from lemon.reporting.tables.table import write_table

CHOICES = {"piqa": 2, "winogrande": 2, "boolq": 2, "lambada_openai": 50, "nq_open": 50}  # else 4
SKILL = {
    "source": 0.55,
    "lemon": 0.3,
    "lemon-trained": 0.35,
    "pretrained": 0.4,
}  # above guessing, as a share
FLOORS = {"uniform": 10.8, "unigram": 7.4, "bigram": 6.1}  # nats per token
DOCUMENTS = [0, 0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7]  # of the held-out sequences
CALIBRATION, TEMPERATURE = 0.25, 1.6  # nats that the best temperature takes off a loss
LOSS = {"source": 3.1, "lemon": 6.3, "lemon-trained": 5.4, "average": 10.2, "random": 11.5}
LOSS |= {"pretrained": 4.6, "scratch": 6.9}


def write_outcomes(
    run_folder: Path,
    correct: dict[str, list[bool]],
    loss: float | None,
    rows_digest: str = "rows",
    suite: str = "ablation",
    shots: dict[str, int] | None = None,
    calibration: float = CALIBRATION,
) -> None:
    """The outcomes of one run in one suite.

    `shots` holds the examples shown of a task where they are not as many as the paper has; without
    a `loss` there is no held-out text. The right answer has log-likelihood -1 where it is chosen
    and -3 where not, the other one -2, of 4 bytes each. The losses of the held-out sequences
    scatter around `loss`, in each run on its own, and are lower by `calibration` at the best
    temperature.
    """
    folder = run_folder / FOLDERS[suite]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for task, answers in correct.items():
        files.append(folder / f"{task}.parquet")
        rows = [
            Outcome(id, 0, answer, answer, answer, [-1.0 if answer else -3.0, -2.0], [4, 4], 0)
            for id, answer in enumerate(answers)
        ]
        outcomes.write_outcomes(files[-1], rows, key={"task": task})
    if loss is not None:
        heldout = _heldout(loss, calibration, crc32(run_folder.name.encode()))
        files.append(folder / "perplexity.json")
        write_json(files[-1], sealed(heldout))
    tasks = {
        task: {
            "rows_sha256": f"{rows_digest}-{task}",
            "rows": len(answers),
            "rows_available": 10 * len(answers),
            "shots": (shots or {}).get(task, TASKS[task].shots),
            "shots_asked": TASKS[task].shots,
            "fewshot": "fixed",
        }
        for task, answers in correct.items()
    }
    write_manifest(
        folder / MANIFEST,
        "evaluate",
        files=files,
        peak_memory_bytes=5 * 10**8,
        settings={"model": f"runs/laptop/{run_folder.name}/model"},
        inputs={
            **({"heldout": "text"} if loss is not None else {}),
            **{f"rows/{task}": facts["rows_sha256"] for task, facts in tasks.items()},
            "weights": f"weights of {run_folder.name}",
        },
        started=0.0,
        finished="2026-01-01T00:10:00+00:00",
        wall_s=60.0,
        tasks=tasks,
    )


def _heldout(loss: float, calibration: float, seed: int) -> dict:
    """The content of perplexity.json, one domain whose sequences have the mean `loss`."""
    scatter = np.random.default_rng(seed).normal(0, 0.3, len(DOCUMENTS))
    losses = loss + scatter - scatter.mean()
    calibrated = {"calibrated_loss": loss - calibration}
    domain = {
        **{"loss": loss, "perplexity": math.exp(loss), **calibrated},
        **{"tokens": 4096, "weight": 1.0, "documents": DOCUMENTS},
        "losses": losses.tolist(),
        "calibrated_losses": (losses - calibration).tolist(),
    }
    return {
        **{"loss": loss, "perplexity": math.exp(loss), **calibrated},
        **{"temperature": TEMPERATURE, "domains": {"wikipedia": domain}},
    }


def scored_text(runs: Path) -> Path:
    """The folder of the packed text that runs were scored on, beside theirs; only its floors."""
    return runs.parent / "text"


def write_scored(project: Project, table: str, runs: Path, out: Path) -> None:
    """Render a table of fabricated runs into `out`."""
    write_table(project, table, runs, out, scored_text(runs))


def write_scored_text(text: Path, *more: Path, owner: str | None = None) -> None:
    """The manifest and the floors of the text that runs were scored on, and more of its files."""
    text.mkdir(parents=True, exist_ok=True)
    floors = {
        name: {"tune_loss": loss, "heldout_loss": loss, "smoothing": None}
        for name, loss in FLOORS.items()
    }
    write_json(text / "floors.json", floors)
    split = {"documents": 8, "sequences": len(DOCUMENTS), "tokens": 4096, "sha256": "0"}
    splits = {name: {**split, "row_documents": DOCUMENTS} for name in ("train", "tune", "heldout")}
    write_manifest(
        text / MANIFEST,
        "text",
        files=[text / "floors.json", *more],
        owner=owner,
        started=0.0,
        **{"text_format": 2, "sequence_length": 256, "vocab_size": 49152, "dtype": "uint16"},
        domains={"wikipedia": {"weight": 1.0, "splits": splits}},
        domain_order=["wikipedia"],
    )


SETTLED = {
    "layer": {
        "sparsity": 0.25,
        "target_sparsity": 0.25,
        "smallest_kept_gate": 0.99,
        "largest_dropped_gate": 0.01,
    }
}
EXPORT = {"gates": "open", "tune_loss": {"folded": 5.0, "open": 4.9}}


def write_metrics(
    run_folder: Path,
    steps: int = 20,
    tokens_per_step: int = 1024,
    seconds_per_step: float = 2.0,
    **facts: Any,
) -> None:
    """A metrics.jsonl as a run leaves it that was killed in step 8 and resumed behind step 4.

    The manifest beside it is that of the finished run, with `facts` about it.
    """
    events = []
    for attempt in (range(min(8, steps)), range(min(5, steps), steps + 1)):
        for step in attempt:
            loss = 10 * 0.9**step
            resumed = 0.01 if attempt.start else 0.0
            values = {
                "train/loss": loss + resumed,
                "train/kl": loss / 2 + resumed,
                "train/tokens_per_s": tokens_per_step / seconds_per_step,
            }
            at = {"step": step, "tokens": tokens_per_step * step, "wall_s": seconds_per_step * step}
            names = values if step else {"tune/perplexity": math.exp(10)}
            events += [{**at, "name": name, "value": value} for name, value in names.items()]
    run_folder.mkdir(parents=True, exist_ok=True)
    metrics = run_folder / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(e) + "\n" for e in events))
    write_manifest(
        run_folder / MANIFEST,
        "learn",
        files=[metrics],
        started=0.0,
        finished="2026-01-01T00:05:00+00:00",
        wall_s=300.0,
        peak_memory_bytes=10**9,
        code={"commit": "abc", "dirty": None},
        **facts,
    )


def write_trial(project: Project, trial: Trial, runs: Path, **facts: Any) -> None:
    """A finished trial of rates; `facts` are what its manifest says of it."""
    place = runs / trial.folder
    write_metrics(place)
    said = {
        "settings": {"run": trial.run, "values": trial.rates_in_numbers},
        "key": stage_params(project, "trial", trial.name),
    }
    files = [place / "metrics.jsonl"]
    write_manifest(place / MANIFEST, "trial", files=files, started=0.0, **said | facts)


def write_times(project: Project, runs: Path) -> None:
    """Times of inference in two rounds; each layer takes a millisecond, in the second round two."""
    path = runs / TIMES
    lines = [
        {
            **shape.sizes(),
            "round": round,
            "prompt_seconds": shape.num_hidden_layers * (1 + round) / 1000,
            "generation_seconds": shape.num_hidden_layers * (1 + round) / 100,
        }
        for round in (0, 1)
        for shape in project.timed_shapes()
    ]
    pd.DataFrame(lines).to_csv(path, index=False)
    write_manifest(path.with_suffix(".manifest.json"), "time", files=[path], started=0.0)


def write_runs(project: Project, table: str, runs: Path, documents: int = 100) -> Path:
    """Every run that a table needs, and the text that they were scored on."""
    write_scored_text(scored_text(runs))
    tasks = project.table(table).tasks
    shown = {run: project.run(run) for run in project.table_runs(table)}
    if project.table(table).renderer == "scores_by_tokens":
        shown |= {model: run for run in shown.values() for model in run.earlier_models}
    for run, planned in shown.items():
        method = planned.row.method
        rng = np.random.default_rng(crc32(run.encode()))
        correct = {}
        for task in tasks:
            chance = 1 / CHOICES.get(task, 4)
            rate = chance + (1 - chance) * SKILL.get(method, 0.02)
            correct[task] = [bool(hit) for hit in rng.random(documents) < rate]
        loss = LOSS.get(method, 15.0) + float(rng.normal(0, 0.4))
        for name in project.table_suites(table):
            own = {t: hits for t, hits in correct.items() if t in project.suite(name).tasks}
            heldout = loss if project.suite(name).has_heldout else None
            write_outcomes(runs / run, own, heldout, suite=name, shots={"boolq": 11})
    for run in lineage(map(project.run, project.table_runs(table))):
        if run.method.learned:
            batch = run.training.batch_sequences
            tokens = batch * project.preset.text.sequence_length
            facts = {"gates": SETTLED, "export": EXPORT} if run.method.prunes else {}
            write_metrics(runs / run.id, run.steps, tokens, **facts)
    if project.figure_files(table):
        write_times(project, runs)
    return runs
