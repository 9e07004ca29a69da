"""Replays finished files into MLflow.

MLflow is only a view of the files. Jobs never connect to it; one writer replays their files, and
replaying the same files changes nothing. If the tracker can't be reached, the replay prints one
warning and is marked pending; a later one completes it. A preset is one experiment, in which a run
stands once and its tags say in which tables.

The store is `sqlite:///mlflow.db` in the working folder, or that of MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import hashlib
import sys
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project
from lemon.files.storage import sole_writer, write_json
from lemon.tracking.database import set_aside
from lemon.tracking.metrics import Metric
from lemon.tracking.pages import saved_view
from lemon.tracking.places import ROW
from lemon.tracking.record import Record
from lemon.tracking.records import table_records
from lemon.tracking.store import (
    ARTIFACTS,
    PRESET,
    answering_client,
    is_sqlite,
    public_store,
    reason_of,
    silence,
    store_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

KEY, DIGEST = "lemon.key", "lemon.digest"  # tags that identify a replay's runs
PARENT, DESCRIPTION = "mlflow.parentRunId", "mlflow.note.content"  # of a run, on MLflow's page
LONGEST_REPLAYS_S = 1800.0  # of other tables, for which a replay waits
LONGEST_NAME = 250  # of a run: a PostgreSQL server refuses a longer one, SQLite takes it


def track(project: Project, table: str, runs: Path, results: Path, out: Path) -> None:
    """Update MLflow from the files of a table, and write the result to `out`.

    `out` is JSON: `status` is `tracked`, with the experiment, the run ids by key and a digest of
    the content; or `pending`, with the reason, if MLflow could not be reached or refused, or
    MLFLOW_TRACKING_URI is wrong. The latter prints one line on stderr and is no failure.

    `runs` is the folder of the runs' folders, `results` that of `tables/` and `figures/`. Raises as
    `table_records`.
    """
    records = table_records(project, table, runs, results)
    name = experiment_name(project)
    digest = hashlib.sha256("".join(f"{r.key} {r.digest}\n" for r in records).encode()).hexdigest()
    state: dict[str, Any] = {"experiment": name, "store": public_store(), "digest": digest}
    spec = project.entry(table)
    view = saved_view(table, tuple(spec.tasks)) if isinstance(spec, TableSpec) else None
    try:
        client = answering_client()
        with sole_recorder(runs), silence():
            experiment = experiment_of(client, project)
            ids = _replay(client, experiment, table, records, view)
        state |= {"status": "tracked", "experiment_id": experiment, "runs": ids}
    except Exception as error:  # parsers, drivers and servers have no common class of errors
        reason = reason_of(error)
        print(
            f"lemon: warning: MLflow at {public_store()} could not record {table} ({reason}); the "
            "files are complete, run `lemon track` again when it works",
            file=sys.stderr,
        )
        state |= {"status": "pending", "reason": reason}
    if out.is_dir():
        print(f"lemon: {out} was a folder; it is now {set_aside(out).name}", file=sys.stderr)
    write_json(out, state)


def _replay(
    client: MlflowClient,
    experiment: str,
    table: str,
    records: list[Record],
    view: tuple[str, str] | None,
) -> dict[str, str]:
    """Make the table's runs in the experiment exactly these records, and add the view, if any.

    Returns the run ids by key.
    """
    if view and client.get_experiment(experiment).tags.get(view[0]) != view[1]:
        client.set_experiment_tag(experiment, *view)
    known: dict[str, list[Run]] = {}
    for run in all_runs(client, experiment):
        known.setdefault(run.data.tags.get(KEY, ""), []).append(run)
    known.pop("", None)  # runs without our tag are the user's
    ids = {key: runs[0].info.run_id for key, runs in known.items()}
    for record in records:
        earlier = known.pop(record.key, [])
        finished = [run for run in earlier if run.info.status == "FINISHED"]
        same = [run for run in finished if run.data.tags.get(DIGEST) == record.digest][:1]
        for run in earlier:
            if run not in same:
                client.delete_run(run.info.run_id)
        ids[record.key] = same[0].info.run_id if same else _write(client, experiment, record)
        parent = ids.get(record.parent or "")
        if parent and not (same and same[0].data.tags.get(PARENT) == parent):
            client.set_tag(ids[record.key], PARENT, parent)
    for run in chain(*known.values()):  # no longer in the table
        rows = [tag for tag in run.data.tags if tag.startswith(ROW)]
        if rows == [ROW + table]:
            client.delete_run(run.info.run_id)
        elif ROW + table in rows:
            client.delete_tag(run.info.run_id, ROW + table)
    return {record.key: ids[record.key] for record in records}


def _write(client: MlflowClient, experiment: str, record: Record) -> str:
    """Write one record, its digest last, so that an interrupted replay is repeated."""
    from mlflow.entities import RunTag

    run = client.create_run(
        experiment,
        start_time=record.started_ms,
        tags={KEY: record.key, "mlflow.runName": record.name[:LONGEST_NAME]},
    )
    run_id = str(run.info.run_id)
    log_params(client, run_id, record.params)
    log_metrics(client, run_id, record.metrics, record.started_ms, record.ended_ms)
    _log_data(client, run_id, record.data)
    for path in record.files:
        client.log_artifact(run_id, str(path))
    texts = record.tags | ({DESCRIPTION: record.description} if record.description else {})
    tags = [RunTag(key, value) for key, value in texts.items()]
    client.log_batch(run_id, tags=[*tags, RunTag(DIGEST, record.digest)])
    client.set_terminated(run_id, end_time=record.ended_ms)
    return run_id


def log_params(client: MlflowClient, run_id: str, params: dict[str, str]) -> None:
    """Add parameters to a run."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, value) for key, value in params.items()])


def log_metrics(
    client: MlflowClient, run_id: str, metrics: list[Metric], started_ms: int, ended_ms: int = 0
) -> None:
    """Add values to a run. MLflow ignores those that it has, with the same time."""
    from mlflow.entities import Metric as MlflowMetric

    values = []
    for metric in metrics:
        elapsed = metric.elapsed_ms
        logged_ms = ended_ms if elapsed is None else started_ms + elapsed
        values.append(MlflowMetric(metric.name, metric.value, logged_ms, metric.step))
    client.log_batch(run_id, metrics=values)


def _log_data(client: MlflowClient, run_id: str, data: dict[str, tuple[str, str]]) -> None:
    """Add what a run read as its datasets; MLflow shows the first 36 digits of a digest."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(name, digest[:36], source_type="sha256", source=digest),
            [InputTag("mlflow.data.context", use)],
        )
        for name, (use, digest) in data.items()
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def sole_recorder(runs: Path) -> AbstractContextManager[None]:
    """Wait until no other process records these runs: two could write one run twice."""
    return sole_writer(runs / "tracking", wait_s=LONGEST_REPLAYS_S)


def experiment_name(project: Project) -> str:
    """The name of a preset's experiment."""
    return f"LEMON ({project.preset_name})"


def experiment_of(client: MlflowClient, project: Project) -> str:
    """The id of a preset's experiment, which is created or restored if necessary."""
    name = experiment_name(project)
    found = client.get_experiment_by_name(name)
    if found is None:
        place = Path(ARTIFACTS, project.preset_name).absolute().as_uri()
        tags = {PRESET: project.preset_name}
        here = place if is_sqlite(store_uri()) else None
        return str(client.create_experiment(name, artifact_location=here, tags=tags))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def all_runs(client: MlflowClient, experiment: str, where: str = "") -> list[Run]:
    """The runs of an experiment that a filter finds."""
    page = client.search_runs([experiment], where, max_results=1000)
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment], where, max_results=1000, page_token=page.token)
        runs += page
    return runs
