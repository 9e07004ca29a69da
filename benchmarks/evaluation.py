"""Our evaluation against lm-eval's `hf` model: time, memory and answers, side by side.

Both are given the same requests: the preset's tasks and source model, the paper's shots, the same
fixed examples. The two answer each task in turn in one process, the `hf` model at the batch size
that is fastest for it on the task's first documents. Peak memory is that of fresh processes that
answer the first documents of every task, the `hf` model at its usual best batch size.

    python benchmarks/evaluation.py --documents 50

    python benchmarks/evaluation.py --dtype float32 --batch-sizes 1 --hf-batch-sizes 1 --no-memory

    python benchmarks/evaluation.py --batch-sizes 1 4 16 --hf-batch-sizes 1 --no-memory

The last two compare answers: to the last prediction, and as bfloat16 rounds them at several batch
sizes of ours, of which the first is timed. Of 50 documents the time is nearly all the `hf` model's,
for 32-shot BoolQ and 25-shot ARC; the default is fewer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from lemon.configuration.load import load_project
from lemon.configuration.tasks import TASKS
from lemon.evaluation.asking import Answered, answered_chunks
from lemon.evaluation.outcomes import Outcome, judge
from lemon.evaluation.prefix_lm import PrefixLM
from lemon.evaluation.prompts import Window
from lemon.evaluation.questions import Task
from lemon.evaluation.tasks import opened_tasks
from lemon.provenance import peak_memory_bytes

TRIED = 6  # documents of a task on which batch sizes are tried, and memory is measured


def model_of(kind: type[HFLM], options: argparse.Namespace, batch_size: int) -> HFLM:
    model = AutoModelForCausalLM.from_pretrained(
        options.source, dtype=getattr(torch, options.dtype), attn_implementation="sdpa"
    )
    return kind(
        pretrained=model,
        tokenizer=AutoTokenizer.from_pretrained(options.source),
        batch_size=batch_size,
        softmax_dtype="float32",
    )


def tasks_of(options: argparse.Namespace, documents: int) -> list[Task]:
    window = Window.of_model(options.source)
    with opened_tasks(options.tasks, str(options.rows), documents, window=window) as opened:
        return list(opened)


def ours(model: PrefixLM, task: Task) -> dict[int, Answered]:
    return {one.question.id: one for chunk in answered_chunks(model, task) for one in chunk}


def theirs(model: HFLM, task: Task) -> dict[int, Answered]:
    requests = [request for question in task.questions for request in question.requests]
    scores = iter(model.loglikelihood(requests, disable_tqdm=True))
    to_generate = [one.generated for one in task.questions if one.generated]
    texts = iter(model.generate_until(to_generate, disable_tqdm=True) if to_generate else [])
    return {
        one.id: Answered(
            one, [next(scores) for _ in one.requests], next(texts) if one.generated else None
        )
        for one in task.questions
    }


def timed(answer: Callable[[], dict[int, Answered]]) -> tuple[float, dict[int, Answered]]:
    begun = time.perf_counter()
    answers = answer()
    return time.perf_counter() - begun, answers


def outcomes_of(task: Task, answers: dict[int, Answered]) -> list[Outcome]:
    return [judge(task, *answers[question.id]) for question in task.questions]


def _apart(pairs: list[tuple[Outcome, Outcome]]) -> float:
    """The largest difference of log-likelihoods in nats; 0 for generated answers."""
    differences = [
        abs(one - other)
        for a, b in pairs
        for one, other in zip(a.loglikelihoods, b.loglikelihoods, strict=True)
    ]
    return max(differences, default=0.0)


def best_batch_size(model: HFLM, task: Task, sizes: list[int]) -> int:
    """The batch size at which the `hf` model answers fastest."""
    if len(sizes) == 1:
        return sizes[0]
    seconds = {}
    for batch_size in sizes:
        model.batch_size_per_gpu = batch_size
        seconds[batch_size], _ = timed(lambda: theirs(model, task))
    return min(seconds, key=seconds.__getitem__)


def compare_times(options: argparse.Namespace) -> int:
    """Print the table; the batch size that is best for most tasks."""
    prefix_lm, hf = (model_of(kind, options, options.batch_sizes[0]) for kind in (PrefixLM, HFLM))
    chosen: Counter[int] = Counter()
    total: dict[str, list[float]] = {"zero shots": [0.0, 0.0], "all": [0.0, 0.0]}
    print(
        "task, documents, shots, ours s, hf s, its batch size, ratio, same answers, "
        f"right answers at batch sizes {options.batch_sizes}, of hf, "
        "largest difference of log-likelihoods"
    )
    first = {task.name: task for task in tasks_of(options, TRIED)}
    for task in tasks_of(options, options.questions):
        hf.batch_size_per_gpu = best = best_batch_size(hf, first[task.name], options.hf_batch_sizes)
        chosen[best] += 1
        runs = []
        for batch_size in options.batch_sizes:
            prefix_lm.batch_size_per_gpu = batch_size
            runs.append(timed(lambda task=task: ours(prefix_lm, task)))
        hf_s, other = timed(lambda task=task: theirs(hf, task))
        own_s, reference = runs[0][0], outcomes_of(task, other)
        outcomes = [outcomes_of(task, own) for _, own in runs]
        pairs = list(zip(outcomes[0], reference, strict=True))
        same = sum(a.prediction == b.prediction for a, b in pairs)
        right = [sum(outcome.correct for outcome in some) for some in (*outcomes, reference)]
        print(
            f"{task.name}, {len(pairs)}, {task.shots}, {own_s:.1f}, {hf_s:.1f}, {best}, "
            f"{hf_s / own_s:.2f}, {same}, {right[:-1]}, {right[-1]}, {_apart(pairs):.2g}",
            flush=True,
        )
        for name in ("all", "zero shots")[: 1 + (TASKS[task.name].suite == "ablation")]:
            total[name][0] += own_s
            total[name][1] += hf_s
    for name, (own_s, hf_s) in total.items():
        if own_s:
            print(f"{name}: {own_s:.1f} s against {hf_s:.1f} s, ratio {hf_s / own_s:.2f}")
    return chosen.most_common(1)[0][0]


def peak(kind: type[HFLM], batch_size: int, options: argparse.Namespace) -> int:
    """Peak resident bytes of a process that answers the first documents of every task."""
    model = model_of(kind, options, batch_size)
    for task in tasks_of(options, TRIED):
        ours(model, task) if isinstance(model, PrefixLM) else theirs(model, task)
    return peak_memory_bytes()


def main() -> None:
    project = load_project("laptop")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--source", type=Path, default=Path("data/laptop/source"))
    parser.add_argument("--rows", type=Path, default=Path("data/laptop/tasks"))
    parser.add_argument("--documents", type=int, default=8, help="of each task")
    parser.add_argument("--tasks", nargs="+", default=list(project.preset.evaluation.tasks))
    parser.add_argument("--dtype", default=project.preset.compute.dtype)
    parser.add_argument(
        "--batch-sizes",
        type=int,
        nargs="+",
        default=[project.preset.evaluation.batch_size],
        help="of ours; the first is timed and its memory measured",
    )
    parser.add_argument(
        "--hf-batch-sizes", type=int, nargs="+", default=[1, 4, 16], help="of the hf model, to try"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    options = parser.parse_args()
    best = compare_times(options)
    if not options.no_memory:
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            own = pool.apply(peak, (PrefixLM, options.batch_sizes[0], options))
            other = pool.apply(peak, (HFLM, best, options))
        words = f"{own / 2**30:.2f} GiB against {other / 2**30:.2f} GiB at batch size {best}"
        print(f"peak memory: {words}, ratio {own / other:.2f}")


if __name__ == "__main__":
    main()
