"""One trial: a run that trains with the rates of the trial, for its loss on the tune text."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lemon.configuration.project import Project
from lemon.configuration.stages import stage_params
from lemon.configuration.trials import Trial
from lemon.errors import Diverged
from lemon.files.manifest import MANIFEST, read_manifest, write_manifest
from lemon.files.ownership import owner_of_trial
from lemon.training.completion import is_complete
from lemon.training.processes import ALONE, Processes

TRAINED = "trained"  # the folder of the run while it trains
METRICS = "metrics.jsonl"
KEPT = ("gates", "export", "tune_loss", "peak_memory_bytes")


def run_trial(
    project: Project,
    trial: Trial,
    out: Path,
    inputs: Mapping[str, str],
    train: Callable[[Project, Path], None],
    processes: Processes = ALONE,
) -> None:
    """Train with the rates of a trial, or go on, and keep its losses; nothing if that is done.

    Writes `metrics.jsonl` and `manifest.json`, which has the loss on the tune text in nats a token,
    None if the trial diverged. Then it removes what was trained: weights are large, and no later
    step needs those of a trial.

    Args:
        project, trial: the configuration, and one of its trials.
        out: the trial's folder.
        inputs: the digests of what the run reads.
        train: trains the run of a project into a folder, or continues there.
        processes: those that train together, and all call this; the first one writes.

    Raises:
        BadInput, WorkFailed: as `train`; a run that diverged is a result, no failure.
    """
    started, trained = time.monotonic(), out / TRAINED
    key, inputs = stage_params(project, "trial", trial.name), dict(inputs)
    if processes.from_first(partial(_finished_before, out, key, inputs)):
        return
    if processes.writes:
        (out / MANIFEST).unlink(missing_ok=True)
    try:
        train(project.trying(trial), trained)
    except Diverged as error:
        facts: dict[str, Any] = {"tune_loss": None, "diverged": str(error)}
    else:
        manifest = read_manifest(trained / MANIFEST) if processes.writes else {}
        facts = {name: manifest[name] for name in KEPT if name in manifest}
    if not processes.writes:
        return
    shutil.copyfile(trained / METRICS, out / METRICS)
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
    shutil.rmtree(trained)


def _finished_before(out: Path, key: str, inputs: Mapping[str, str]) -> bool:
    """As `is_complete`, and if so remove what a killed job left of what was trained."""
    if not is_complete(out, key, inputs, models=()):
        return False
    (out / MANIFEST).touch()
    shutil.rmtree(out / TRAINED, ignore_errors=True)
    return True
