"""Mirrors the curves of learning runs into MLflow while their files grow.

Jobs know nothing of it. Before values are sent, a tag of MLflow's run says how many they are in all
and their digest. After a kill or an outage the file is sent again from its first line, and MLflow
ignores what it has. A run that goes on from a checkpoint may write other values than those sent;
then its digest differs, and it is recorded anew. The replay of its table puts the finished run in
the place of this one.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lemon.configuration.planned_run import PlannedRun
from lemon.configuration.project import Project
from lemon.errors import BadInput
from lemon.files.manifest import MANIFEST
from lemon.tracking.metrics import Metric, curve
from lemon.tracking.places import places
from lemon.tracking.replay import (
    KEY,
    LONGEST_NAME,
    all_runs,
    experiment_of,
    log_metrics,
    log_params,
    sole_recorder,
)
from lemon.tracking.run_records import rows_with, run_key, run_parameters, run_tags, texts
from lemon.tracking.store import answering_client, public_store, reason_of, silence

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

LOOK_EVERY_S = 5.0
MIRRORED = "lemon.mirrored"  # a tag: the number of values to be recorded, and their digest


def follow(project: Project, runs: Path) -> None:
    """Mirror the runs that learn in a folder of runs, until interrupted.

    If MLflow is out of reach, one line on stderr says so; it gets everything when it answers again.
    """
    follower, out_of_reach = Follower(project, runs), False
    print(f"Following {runs} into MLflow at {public_store()}; end it with Ctrl-C.", flush=True)
    while True:
        try:
            follower.look()
            out_of_reach = False
        except Exception as error:  # parsers, drivers and servers have no common class of errors
            follower.forget()
            if not out_of_reach:
                print(
                    f"lemon: warning: MLflow at {public_store()} does not record "
                    f"({reason_of(error)}); it gets all curves when it answers again",
                    file=sys.stderr,
                )
            out_of_reach = True
        time.sleep(LOOK_EVERY_S)


class Follower:
    """Brings MLflow up to the files, once a look."""

    def __init__(self, project: Project, runs: Path) -> None:
        """Nothing is asked of MLflow yet."""
        self._project, self._runs, self._places = project, runs, places(project)
        self._refused: set[str] = set()  # damaged files, each named once
        self.forget()

    def forget(self) -> None:
        """Take nothing for recorded; what MLflow has already is not recorded twice."""
        self._client: MlflowClient | None = None
        self._recorded: dict[str, int] = {}  # values by MLflow's id of the run

    def look(self) -> None:
        """Record what the files have and MLflow lacks; raises whatever prevents that."""
        if self._client is None:
            self._client = answering_client()
        with sole_recorder(self._runs):
            self._bring_up(self._client)

    def _bring_up(self, client: MlflowClient) -> None:
        with silence():
            experiment = experiment_of(client, self._project)
            found = all_runs(client, experiment, "attributes.status = 'RUNNING'")
        open_runs = {run.data.tags.get(KEY, ""): run for run in found}
        for run in self._project.runs.values():
            folder, followed = self._runs / run.id, open_runs.get(run_key(self._project, run))
            ended = (folder / MANIFEST).is_file()  # asked first: it is written after the last value
            if not run.method.learned or (ended and followed is None):
                continue
            try:
                learned = curve(folder / "metrics.jsonl")
            except BadInput as error:
                if run.id not in self._refused:
                    print(f"lemon: warning: {error}", file=sys.stderr)
                self._refused.add(run.id)
                continue
            if learned:
                with silence():
                    self._mirror(client, experiment, run, learned, followed, ended)

    def _mirror(
        self,
        client: MlflowClient,
        experiment: str,
        run: PlannedRun,
        values: list[Metric],
        followed: Run | None,
        ended: bool,
    ) -> None:
        if followed is None or not _begins_as(values, followed.data.tags.get(MIRRORED, "")):
            key = run_key(self._project, run)
            for other in all_runs(client, experiment, f"tags.`{KEY}` = '{key}'"):
                client.delete_run(other.info.run_id)
            tags = texts(run_tags(self._project, run, rows_with(run.id, self._places)))
            name = f"{tags['method']}, {tags['layers']} layers, learning"[:LONGEST_NAME]
            followed = client.create_run(  # begun as long ago as the last value is old
                experiment,
                start_time=round(1000 * time.time()) - _length_ms(values),
                tags={**tags, KEY: key, "mlflow.runName": name},
            )
            log_params(client, followed.info.run_id, run_parameters(self._project, run, ()))
        run_id, started_ms = followed.info.run_id, followed.info.start_time
        first = self._recorded.get(run_id, 0)
        if first < len(values):
            client.set_tag(run_id, MIRRORED, f"{len(values)} {_digest(values)}")
            log_metrics(client, run_id, values[first:], started_ms)
            self._recorded[run_id] = len(values)
        if ended:
            client.set_terminated(run_id, end_time=started_ms + _length_ms(values))


def _begins_as(values: list[Metric], mirrored: str) -> bool:
    count, _, digest = mirrored.partition(" ")
    return count.isdigit() and _digest(values[: int(count)]) == digest


def _digest(values: list[Metric]) -> str:
    lines = (f"{m.name} {m.step} {m.elapsed_ms} {m.value!r}\n" for m in values)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _length_ms(values: list[Metric]) -> int:
    return max(metric.elapsed_ms or 0 for metric in values)
