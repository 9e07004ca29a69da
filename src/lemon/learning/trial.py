"""One trial: a run that learns with the rates of the trial, for its loss on the tune text."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.trials import Trial
from lemon.errors import Diverged
from lemon.files.manifest import MANIFEST, read_manifest, write_manifest
from lemon.learning.run import learn

KEPT = ("gates", "export", "tune_loss", "wall_s", "peak_memory_bytes")
LEARNED = "learned"  # the folder of the run while it learns


def run_trial(
    project: Project,
    trial: Trial,
    source: Path,
    text: Path,
    out: Path,
    start: Path | None = None,
    teacher: Path | None = None,
    teacher_cache: Path | None = None,
) -> None:
    """Learn with the rates of a trial, or go on, and keep its losses.

    Writes `metrics.jsonl` and, last, `manifest.json`, which has the loss on the tune text in nats
    a token, None if the trial diverged. What was learned is removed: weights are large, and no
    later step needs those of a trial.

    Args:
        project, trial: the configuration, and one of its trials.
        source, text, start, teacher, teacher_cache: as `lemon.learning.run.learn` takes them.
        out: the trial's folder.

    Raises:
        BadInput, WorkFailed: as `learn`; a run that diverged is a result, no failure.
    """
    started, learned = time.monotonic(), out / LEARNED
    (out / MANIFEST).unlink(missing_ok=True)
    try:
        learn(
            *(project.with_rates(trial), trial.run, source, text, learned),
            start=start,
            teacher=teacher,
            teacher_cache=teacher_cache,
        )
    except Diverged as error:
        facts: dict[str, Any] = {"tune_loss": None, "diverged": str(error)}
    else:
        manifest = read_manifest(learned / MANIFEST)
        facts = {name: manifest[name] for name in KEPT if name in manifest}
        facts["inputs"] = manifest["inputs"]
    (learned / "metrics.jsonl").replace(out / "metrics.jsonl")
    shutil.rmtree(learned)
    write_manifest(
        out / MANIFEST,
        "trial",
        files=[out / "metrics.jsonl"],
        settings={
            "preset": project.preset_name,
            "rates": trial.rates,
            "run": trial.run,
            "values": trial.values.model_dump(exclude_none=True),
        },
        started=started,
        key=stage_params(project, "trial", trial.name),
        **facts,
    )
