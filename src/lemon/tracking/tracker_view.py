"""The page of MLflow that shows a table: which runs, which columns, in which order.

MLflow keeps the named views of its runs page in tags of the experiment. The format is that of
MLflow 3.17; an older page ignores such tags and shows its own columns.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

TAG_PREFIX = "mlflow.sharedViewState."
ROWS_FILTER = "tags.source != 'table'"  # the rows of the table, ours and the paper's
RUN_NAME = "attributes.`Run Name`"
WIDTHS = {RUN_NAME: 285, "tags.`source`": 110, "tags.`layers`": 70}
FIRST_WRITTEN_MS = 1_722_470_400_000  # views have a date; a fixed one keeps replays equal


def saved_view(table: str, tasks: tuple[str, ...]) -> tuple[str, str]:
    """The tag that makes a named view of a table: its key and its value.

    Columns are where the run comes from, its depth, the mean, the perplexity and every task; rows
    are sorted by the mean.
    """
    metrics = ["mean", "perplexity", *(f"acc/{task}" for task in tasks)]
    columns = ["tags.`source`", "tags.`layers`", *(f"metrics.`{name}`" for name in metrics)]
    state: dict[str, Any] = {
        "searchFilter": ROWS_FILTER,
        "orderByKey": "metrics.`mean`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
        "columnOrder": [RUN_NAME, *columns],
        "columnWidths": {name: WIDTHS.get(name, 95) for name in [RUN_NAME, *columns]},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }
    view = {
        "name": table,
        "createdAt": FIRST_WRITTEN_MS,
        "updatedAt": FIRST_WRITTEN_MS,
        "state": json.dumps(state),
    }
    return TAG_PREFIX + table, json.dumps(view)


def view_link(address: str, experiment: str, table: str) -> str:
    """The address of a table's view."""
    query = urlencode({"viewStateShareKey": table})
    return f"{address}/#/experiments/{experiment}/runs?{query}"
