"""One trial: a run that learns with the rates of the trial, for its loss on the tune text."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from lemon.checkpoint import Checkpoint
from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.trials import Trial
from lemon.data.text.packing import PackedText
from lemon.errors import Diverged
from lemon.files.manifest import MANIFEST, checked_file, read_manifest, write_manifest
from lemon.files.ownership import owner_of_trial
from lemon.learning.run import learn, learned_from

LEARNED = "learned"  # the folder of the run while it learns
METRICS = "metrics.jsonl"
KEPT = ("gates", "export", "tune_loss", "peak_memory_bytes")


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
    """Learn with the rates of a trial, or go on, and keep its losses; nothing if that is done.

    Writes `metrics.jsonl` and `manifest.json`, which has the loss on the tune text in nats a token,
    None if the trial diverged. Then it removes what was learned: weights are large, and no later
    step needs those of a trial.

    Args:
        project, trial: the configuration, and one of its trials.
        source, text, start, teacher, teacher_cache: as `lemon.learning.run.learn` takes them.
        out: the trial's folder.

    Raises:
        BadInput, WorkFailed: as `learn`; a run that diverged is a result, no failure.
    """
    started, learned = time.monotonic(), out / LEARNED
    key = stage_params(project, "trial", trial.name)
    inputs = learned_from(Checkpoint(source), PackedText(text, ("train", "tune")), start, teacher)
    if _is_done(out, key, inputs):
        (out / MANIFEST).touch()
        shutil.rmtree(learned, ignore_errors=True)
        return
    (out / MANIFEST).unlink(missing_ok=True)
    try:
        learn(
            *(project.trying(trial), trial.run, source, text, learned),
            start=start,
            teacher=teacher,
            teacher_cache=teacher_cache,
        )
    except Diverged as error:
        facts: dict[str, Any] = {"tune_loss": None, "diverged": str(error)}
    else:
        manifest = read_manifest(learned / MANIFEST)
        facts = {name: manifest[name] for name in KEPT if name in manifest}
    shutil.copyfile(learned / METRICS, out / METRICS)
    write_manifest(
        out / MANIFEST,
        "trial",
        files=[out / METRICS],
        owner=owner_of_trial(project.preset_name, trial.rates, trial.number),
        settings={
            "preset": project.preset_name,
            "rates": trial.rates,
            "run": trial.run,
            "values": trial.rates_in_numbers,
        },
        inputs=inputs,
        started=started,
        key=key,
        **facts,
    )
    shutil.rmtree(learned)


def _is_done(out: Path, key: str, inputs: dict[str, str]) -> bool:
    """Whether the trial was run with these settings and inputs; BadInput if it is damaged."""
    if not (out / MANIFEST).is_file():
        return False
    manifest = read_manifest(out / MANIFEST)
    if (manifest.get("key"), manifest.get("inputs")) != (key, inputs):
        return False
    checked_file(out / METRICS, out / MANIFEST)
    return True
