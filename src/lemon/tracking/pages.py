"""MLflow's pages: a named view of each table, the links to them, and the server that shows them."""

from __future__ import annotations

import json
import os
import sys
from urllib.parse import quote

from lemon.errors import WorkFailed
from lemon.tracking.metrics import mean_name
from lemon.tracking.places import ROW
from lemon.tracking.store import (
    PRESET,
    answering_client,
    is_server,
    public_store,
    reason_of,
    silence,
    store_uri,
)

# A named view on MLflow's runs page is a tag of the experiment, in the format of MLflow 3.17; older
# versions ignore it and show their default columns.
TAG_PREFIX = "mlflow.sharedViewState."
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {RUN_NAME: 285, "tags.`source`": 110, "tags.`layers`": 70}
ML_PAGE = "workflowType=machine_learning"  # else MLflow opens that of language-model applications
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


def ui(*, port: int = 5000) -> None:
    """Print the links and serve MLflow's pages on this machine until interrupted.

    If MLFLOW_TRACKING_URI is a server, only that server's links are printed. WorkFailed if the
    store can't be read.
    """
    address = public_store() if is_server() else f"http://127.0.0.1:{port}"
    try:
        client = answering_client()
        with silence():
            experiments = [one for one in client.search_experiments() if PRESET in one.tags]
    except Exception as error:  # parsers, drivers and servers have no common class of errors
        raise WorkFailed(
            f"{public_store()}: MLflow can't read this store ({reason_of(error)})"
        ) from None
    if not experiments:
        print("Nothing is recorded yet; run `make report FROM=bundle`, or `make table3`.")
    for experiment in experiments:
        page = f"{address}/#/experiments/{experiment.experiment_id}/runs?{ML_PAGE}"
        print(f"{experiment.name}, all runs: {page}")
        for tag in sorted(tag for tag in experiment.tags if tag.startswith(TAG_PREFIX)):
            table = tag.removeprefix(TAG_PREFIX)
            print(f"{table}, ours beside the paper's: {page}&viewStateShareKey={quote(table)}")
    if is_server():
        return
    print(f"Serving {address}; end it with Ctrl-C.", flush=True)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store_uri()  # other users could see an argument
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes, for GenAI
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1"]
    os.execv(sys.executable, [*command, "--port", str(port), "--workers", "1"])


def saved_view(table: str, tasks: tuple[str, ...]) -> tuple[str, str]:
    """The key and value of the tag that defines a table's named view.

    It shows the rows of the table in their order, the paper's beside ours.
    """
    row, mean = f"tags.`{ROW}{table}`", mean_name(tasks)
    names = [f"acc/{mean}", f"delta/acc/{mean}", f"bpb/{mean}", "loss/heldout", "ppl/heldout"]
    names += [f"acc/{task}" for task in tasks]
    columns = ["tags.`source`", row, "tags.`layers`", *(f"metrics.`{name}`" for name in names)]
    state = {
        "searchFilter": f"{row} != ''",
        "orderByKey": row,
        "orderByAsc": True,
        "selectedColumns": columns,
        "columnOrder": [RUN_NAME, *columns],
        "columnWidths": {name: WIDTHS.get(name, 95) for name in [RUN_NAME, *columns]},
        **json.loads(OTHER_STATE),
    }
    dates = {"createdAt": FIRST_WRITTEN_MS, "updatedAt": FIRST_WRITTEN_MS}
    return TAG_PREFIX + table, json.dumps({"name": table, **dates, "state": json.dumps(state)})
