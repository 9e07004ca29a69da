"""Replays finished files into MLflow, and serves its pages.

MLflow is only a view of the files. Jobs never connect to it; one writer replays their files, and
replaying the same files changes nothing. If the tracker can't be reached, the replay prints one
warning and is marked pending; a later one completes it.

The store is `sqlite:///mlflow.db` in the working folder, or that of MLFLOW_TRACKING_URI.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from lemon.configuration.paper import TableSpec
from lemon.configuration.project import Project
from lemon.errors import WorkFailed
from lemon.files.storage import write_json
from lemon.outside_calls import silence
from lemon.tracking.database import set_aside
from lemon.tracking.records import Record, table_records
from lemon.tracking.store import (
    ARTIFACTS,
    answering_client,
    is_server,
    is_sqlite,
    public_store,
    reason_of,
    store_uri,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

KEY, DIGEST = "lemon.key", "lemon.digest"  # tags that identify a replay's runs
DESCRIPTION = "mlflow.note.content"  # the description on a run's page
METRICS_A_REQUEST, PARAMS_A_REQUEST = 1000, 100  # MLflow's limits for one batch
# A named view on MLflow's runs page is a tag of the experiment, in the format of MLflow 3.17; older
# versions ignore it and show their default columns.
TAG_PREFIX = "mlflow.sharedViewState."
ROWS_FILTER = "tags.source != 'table'"  # the reproduced and the paper's rows
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {RUN_NAME: 285, "tags.`source`": 110, "tags.`layers`": 70}
# What else MLflow stores of a view, with its own defaults.
OTHER_STATE = """{
  "startTime": "ALL", "lifecycleFilter": "Active", "modelVersionFilter": "All Runs",
  "datasetsFilter": [], "runsExpanded": {}, "runsPinned": [], "runsHidden": [],
  "runsVisibilityMap": {}, "runsHiddenMode": "FIRST_10_RUNS", "viewMaximized": false,
  "runListHidden": false, "isAccordionReordered": false, "useGroupedValuesInCharts": true,
  "hideEmptyCharts": true, "groupBy": null, "groupsExpanded": {}, "autoRefreshEnabled": true,
  "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}
}"""
FIRST_WRITTEN_MS = 1_722_470_400_000  # views have a date; a fixed one keeps replays equal


def track(project: Project, table: str, runs: Path, results: Path, out: Path) -> None:
    """Update MLflow from the files of a table, and write the result to `out`.

    `out` is JSON: `status` is `tracked`, with the experiment, the run ids by key and a digest of
    the content; or `pending`, with the reason, if MLflow could not be reached or refused, or
    MLFLOW_TRACKING_URI is wrong. The latter prints one line on stderr and is no failure.

    Args:
        project, table: the preset, and a table of `paper.yaml`.
        runs, results: the folders of the runs' folders, and of `tables/` and `figures/`.
        out: the file to write.

    Raises:
        BadInput: a run is not evaluated or the table is not rendered.
        WorkFailed: `out` can't be written.
    """
    records = table_records(project, table, runs, results)
    name = f"{table} ({project.preset_name})"
    digest = hashlib.sha256("".join(f"{r.key} {r.digest}\n" for r in records).encode()).hexdigest()
    state: dict[str, Any] = {"experiment": name, "store": public_store(), "digest": digest}
    spec = project.entry(table)
    view = saved_view(table, tuple(spec.tasks)) if isinstance(spec, TableSpec) else None
    try:
        client = answering_client()
        with silence():
            state |= {"status": "tracked", **_replay(client, name, records, view)}
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


def ui(*, port: int = 5000) -> None:
    """Print the tables' links and serve MLflow's pages on this machine until interrupted.

    If MLFLOW_TRACKING_URI is a server, only that server's links are printed.

    Raises:
        WorkFailed: the store can't be read, or the server can't be started.
    """
    address = public_store() if is_server() else f"http://127.0.0.1:{port}"
    try:
        client = answering_client()
        with silence():
            experiments = [one for one in client.search_experiments() if KEY in one.tags]
    except Exception as error:  # parsers, drivers and servers have no common class of errors
        raise WorkFailed(
            f"{public_store()}: MLflow can't read this store ({reason_of(error)})"
        ) from None
    if not experiments:
        print("No table is tracked yet; run `make table3`, or `lemon track`.")
    for experiment in experiments:
        for tag in experiment.tags:
            if tag.startswith(TAG_PREFIX):
                view = {"viewStateShareKey": tag.removeprefix(TAG_PREFIX)}
                query = urlencode({"workflowType": "machine_learning", **view})
                page = f"{address}/#/experiments/{experiment.experiment_id}/runs?{query}"
                print(f"{experiment.name}: {page}")
    print(f"The rows of a table, ours and the paper's, are the runs with  {ROWS_FILTER}")
    if is_server():
        return
    print(f"Serving {address}; end it with Ctrl-C.", flush=True)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store_uri()  # other users could see an argument
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes, for GenAI
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"]
    os.execv(sys.executable, [*command, "--port", str(port), "--workers", "1"])


def _replay(
    client: MlflowClient, name: str, records: list[Record], view: tuple[str, str] | None
) -> dict[str, Any]:
    """Make the experiment contain exactly these records, and the view, if any."""
    experiment = _experiment(client, name)
    if view and client.get_experiment(experiment).tags.get(view[0]) != view[1]:
        client.set_experiment_tag(experiment, *view)
    known: dict[str, list[Run]] = {}
    for run in _all_runs(client, experiment):
        known.setdefault(run.data.tags.get(KEY, ""), []).append(run)
    ids: dict[str, str] = {}
    for record in records:
        earlier = known.pop(record.key, [])
        finished = [run for run in earlier if run.info.status == "FINISHED"]
        same = [run for run in finished if run.data.tags.get(DIGEST) == record.digest][:1]
        for run in earlier:
            if run not in same:
                client.delete_run(run.info.run_id)
        ids[record.key] = same[0].info.run_id if same else _write(client, experiment, record)
    known.pop("", None)  # runs without our tag are the user's
    for run in chain(*known.values()):  # no longer in the table
        client.delete_run(run.info.run_id)
    return {"experiment_id": experiment, "runs": ids}


def _write(client: MlflowClient, experiment: str, record: Record) -> str:
    """Write one record, its digest last, so that an interrupted replay is repeated."""
    from mlflow.entities import Metric as MlflowMetric
    from mlflow.entities import Param, RunTag

    run = client.create_run(
        experiment,
        start_time=record.started_ms,
        tags={KEY: record.key, "mlflow.runName": record.name},
    )
    run_id = str(run.info.run_id)
    params = [Param(key, value) for key, value in record.params.items()]
    for first in range(0, len(params), PARAMS_A_REQUEST):
        client.log_batch(run_id, params=params[first : first + PARAMS_A_REQUEST])
    metrics = []
    for metric in record.metrics:
        elapsed = metric.elapsed_ms
        logged_ms = record.ended_ms if elapsed is None else record.started_ms + elapsed
        metrics.append(MlflowMetric(metric.name, metric.value, logged_ms, metric.step))
    for first in range(0, len(metrics), METRICS_A_REQUEST):
        client.log_batch(run_id, metrics=metrics[first : first + METRICS_A_REQUEST])
    for path in record.files:
        client.log_artifact(run_id, str(path))
    texts = record.tags | ({DESCRIPTION: record.description} if record.description else {})
    tags = [RunTag(key, value) for key, value in texts.items()]
    client.log_batch(run_id, tags=[*tags, RunTag(DIGEST, record.digest)])
    client.set_terminated(run_id, end_time=record.ended_ms)
    return run_id


def _experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment, which is created or restored if necessary."""
    found = client.get_experiment_by_name(name)
    if found is None:
        local = is_sqlite(store_uri())
        folder = Path(ARTIFACTS, name.replace(" (", "-").removesuffix(")"))
        place = folder.absolute().as_uri() if local else None
        return str(client.create_experiment(name, artifact_location=place, tags={KEY: name}))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _all_runs(client: MlflowClient, experiment: str) -> list[Run]:
    page = client.search_runs([experiment], max_results=1000)
    runs = list(page)
    while page.token:
        page = client.search_runs([experiment], max_results=1000, page_token=page.token)
        runs += page
    return runs


def saved_view(table: str, tasks: tuple[str, ...]) -> tuple[str, str]:
    """The key and value of the tag that defines a table's named view.

    Columns are source, layers, mean, perplexity and every task; rows are sorted by the mean.
    """
    metrics = ["mean", "perplexity", *(f"acc/{task}" for task in tasks)]
    columns = ["tags.`source`", "tags.`layers`", *(f"metrics.`{name}`" for name in metrics)]
    state = {
        "searchFilter": ROWS_FILTER,
        "orderByKey": "metrics.`mean`",
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": [RUN_NAME, *columns],
        "columnWidths": {name: WIDTHS.get(name, 95) for name in [RUN_NAME, *columns]},
        **json.loads(OTHER_STATE),
    }
    dates = {"createdAt": FIRST_WRITTEN_MS, "updatedAt": FIRST_WRITTEN_MS}
    return TAG_PREFIX + table, json.dumps({"name": table, **dates, "state": json.dumps(state)})
