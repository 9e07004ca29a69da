"""The benchmark tasks: which there are, where their rows come from, and their requests.

The files in `task_files/` repeat lm-eval's own templates and name the one split that is scored.
lm-eval renders the prompts and judges the answers; only the place of the rows is ours. Importing
this module loads neither lm-eval nor torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lemon.data.row_files import check_rows
from lemon.errors import BadInput, WorkFailed
from lemon.registry import TASKS

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask

TASK_FILES = Path(__file__).parent / "task_files"
PACKAGED_TASKS = Path("data/laptop/tasks")
FEWSHOT_SEED = 1234  # lm-eval's default


@dataclass(frozen=True)
class Document:
    """One row of a task with the requests that score it, one an answer."""

    id: int
    row: dict[str, Any]
    requests: list[Instance]

    @property
    def num_characters(self) -> int:
        """Length of the longest request, context and answer."""
        return max(sum(map(len, request.args)) for request in self.requests)


@dataclass(frozen=True)
class Task:
    """A task ready to be scored.

    Attributes:
        metric: the paper's, "acc" or "acc_norm" (method section 10).
        available: rows that the split holds; `documents` are the first ones, up to the limit.
    """

    name: str
    version: str
    split: str
    metric: str
    available: int
    documents: list[Document]
    lm_eval_task: ConfigurableTask

    @property
    def rows_digest(self) -> str:
        """SHA-256 over the content of the scored rows."""
        digest = hashlib.sha256()
        for document in self.documents:
            line = json.dumps(document.row, sort_keys=True, ensure_ascii=False, default=str)
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()


def check_task_names(names: Sequence[str]) -> None:
    """Refuse unknown, repeated and missing names.

    Raises:
        BadInput: naming the nearest known task.
    """
    known = list(TASKS)
    if not names:
        raise BadInput(f"no task is named; choose from {', '.join(known)}")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise BadInput(f"unknown task {name!r}; {hint}")
    if len(set(names)) < len(names):
        raise BadInput(f"a task is named twice in {', '.join(names)}")


def rows_folder(source: str) -> Path | None:
    """The mirror that holds the rows; None stands for the Hub itself.

    Args:
        source: "packaged" (the prepared rows: `$LEMON_PACKAGED_TASKS`, else those of the laptop
            preset), "hub", or a folder laid out like the Hub.

    Raises:
        BadInput: the folder isn't there.
    """
    if source == "hub":
        return None
    if source == "packaged":
        folder = Path(os.environ.get("LEMON_PACKAGED_TASKS") or PACKAGED_TASKS)
        mend = "run `lemon prepare tasks`, or point LEMON_PACKAGED_TASKS at its output"
    else:
        folder = Path(source)
        mend = "give `packaged`, `hub`, or a folder laid out like the Hub"
    if not folder.is_dir():
        raise BadInput(f"{folder}: there are no task rows here; {mend}")
    return folder


@contextmanager
def opened_tasks(names: Sequence[str], source: str, limit: int | None) -> Iterator[Iterator[Task]]:
    """Give the tasks one after the other, loaded from `source` as they are asked for.

    The rows' cache lives as long as the block: `datasets` finds cached rows by the data set's
    name alone, so that a lasting cache would give one mirror's rows for another's.

    Raises:
        BadInput: a task's rows are missing or can't be read.
        WorkFailed: the Hub can't be reached.
    """
    from lm_eval.tasks import TaskManager

    folder = rows_folder(source)
    registered = TaskManager(include_path=TASK_FILES, include_defaults=False).task_index
    with tempfile.TemporaryDirectory(prefix="lemon-tasks-") as scratch:
        for name in names:
            config: dict[str, Any] = {"include": str(TASK_FILES / f"{name}.yaml")}
            if folder is not None:
                place = folder / registered[name].cfg["dataset_path"]
                config["dataset_path"] = str(place.resolve())
                config["dataset_kwargs"] = {"cache_dir": str(Path(scratch) / "cache")}
                if not place.is_dir():
                    raise BadInput(
                        f"{place}: the rows of task {name} are missing; prepare or mirror them"
                    )
                check_rows(place)
            # JSON is YAML, and lm-eval takes an override only from a file.
            (Path(scratch) / f"{name}.yaml").write_text(json.dumps(config), encoding="utf-8")
        manager = TaskManager(include_path=scratch, include_defaults=False)
        yield (_open(manager, name, folder, limit) for name in names)


def _open(manager: Any, name: str, folder: Path | None, limit: int | None) -> Task:
    from datasets.exceptions import DatasetsError

    try:
        task = manager.load(name)["tasks"][name]
    except (OSError, ValueError, KeyError, DatasetsError) as error:
        if folder is None:
            raise WorkFailed(
                f"task {name}: the Hub's rows can't be had ({_first_line(error)}); check the "
                "network, or give `--source` a mirror folder"
            ) from error
        raise BadInput(
            f"{folder}: the rows of task {name} can't be read ({_first_line(error)}); prepare or "
            "mirror them again"
        ) from error
    task.set_fewshot_seed(FEWSHOT_SEED)
    task.build_all_requests(limit=limit)
    documents = [
        Document(id, group[0].doc, group)
        for id, group in (
            (id, list(members)) for id, members in groupby(task.instances, lambda one: one.doc_id)
        )
    ]
    return Task(
        name=name,
        version=str(task.VERSION),
        split=task.config.test_split or task.config.validation_split,
        metric=TASKS[name].metric,
        available=len(task.eval_docs),
        documents=documents,
        lm_eval_task=task,
    )


def _first_line(error: BaseException) -> str:
    cause = error.__cause__ or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
