"""Checks of the rows of `runs.tsv` against the preset and each other, before any job starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from lemon.architecture import LARGEST_SIZE, Axis, LlamaShape
from lemon.configuration.methods import METHODS, SCRATCH, SECOND_SIZE
from lemon.configuration.preset import Preset
from lemon.configuration.row_lookups import (
    changes_widths,
    fused_shape,
    named_shape,
    radii_of,
    rearranged_by,
    ties,
)
from lemon.configuration.runs import Mistake, Run
from lemon.configuration.yaml_files import Problem, did_you_mean
from lemon.errors import BadInput
from lemon.radii import legal_radii, refusal, split_heads

_SIZES = (
    *("num_hidden_layers", "hidden_size", "intermediate_size"),
    *("num_attention_heads", "num_key_value_heads"),
)


def check_runs(
    preset: Preset, runs: dict[str, Run], path: Path, line_of: dict[str, int]
) -> Iterator[Problem]:
    """Every cell of `runs.tsv` that does not fit the preset or the other rows."""
    for run in runs.values():
        for column, message in (
            *_name_mistakes(preset, runs, run),
            *_start_mistakes(run, runs),
            *_source_mistakes(run, runs),
            *_size_mistakes(preset, runs, run),
        ):
            yield Problem(path, line_of[run.id], column, message)


def _name_mistakes(preset: Preset, runs: dict[str, Run], run: Run) -> Iterator[Mistake]:
    """What the preset lacks or does not fit the method, and a given model that is named twice."""
    method = run.traits
    first = next(other.id for other in runs.values() if other.method == run.method)
    if first != run.id and not method.needs_target:
        yield "method", f"{first} is this model already; name that run instead of a second one"
    scattered = method.scatters and run.radii is not None
    if scattered:
        message = "keeps single channels; write - and give radii to what starts from it"
        yield "radii", f"{run.method} {message}"
    named: dict[str, tuple[str, Collection[str]]] = {
        "steps": ("budget", preset.budgets),
        "target": ("target", preset.targets),
        **({} if scattered else {"radii": ("radii", preset.radii)}),
        "rates": ("rates", preset.rates),
    }
    for column, (what, known) in named.items():
        name = getattr(run, column)
        if name is not None and name not in known:
            yield column, f"unknown {what} {name}, {did_you_mean(name, known)}"
    steps = preset.budgets.get(run.steps)
    if steps is not None and method.learned != (steps > 0):
        needs = "needs a budget of at least 1 step"
        verb = needs if method.learned else "learns nothing; give it a budget of 0 steps"
        yield "steps", f"{run.method} {verb} ({run.steps} is {steps})"


def _start_mistakes(run: Run, runs: dict[str, Run]) -> Iterator[Mistake]:
    """Why a run can't start from the run that it names; nothing if it names a method."""
    start = runs.get(run.start or "")
    if start is None:
        return
    columns = ("target", "source") if start.traits.scatters else ("target", "source", "radii")
    for column in columns:
        own, other = (getattr(row, column) or "none" for row in (run, start))
        if own != other:
            message = f"{start.id} has {column} {other}, this run {own}; they must be the same"
            yield "start", message
    if run.traits.selects and not start.traits.prunes:
        yield "start", f"{start.id} ({start.method}) learns no masks; name a run that does"
    earlier = runs.get(start.start or "")
    if rearranged_by(earlier.traits if earlier else None, start):
        message = f"{start.id} learned over rearranged weights of its own, which this run has not; "
        yield "start", message + f"name {start.id} in source, as the first of two stages"
    if run.traits.matches_states and ties(runs, start):
        yield "start", f"{start.id} ties FFNs, and weights of its model that train would untie them"
    if run.traits.matches_states and start.traits.learns_operators:
        message = f"{start.id} learned operators, whose layers each stand for all source layers; "
        yield "start", message + "name a run that drops or merges neighbouring layers"
    if _comes_back(run, runs, "start"):
        yield "start", f"{run.id} starts, through others, from itself"


def _source_mistakes(run: Run, runs: dict[str, Run]) -> Iterator[Mistake]:
    """Why a run can't fuse the model of the run that it names as source."""
    if run.source is None:
        return
    source = runs.get(run.source)
    if source is None:
        yield "source", f"no run {run.source}, {did_you_mean(run.source, runs)}"
    elif source.method == SECOND_SIZE:
        yield "source", f"{source.id} is only compared with the source; nothing is fused from it"
    elif ties(runs, source):
        yield "source", f"{source.id} ties FFNs, and a further stage would untie them"
    elif _comes_back(run, runs, "source"):
        sources = " or ".join(known.id for known in runs.values() if known.method == "source")
        message = f"{run.id} is fused, through others, from itself; one of them must be fused from "
        yield "source", message + sources
    elif source.traits.fuses and run.traits.prunes:
        message = "is no source model, and masks start from the source's own shape"
        yield "source", f"{source.id} {message}"
    elif run.method == SCRATCH and source.traits.needs_target:
        yield "source", f"{source.id} is no source model, of whose family the new one is"


def _comes_back(run: Run, runs: dict[str, Run], column: str) -> bool:
    """Whether following a column from run to run leads into a cycle."""
    seen, following = {run.id}, runs.get(getattr(run, column) or "")
    while following is not None and following.id not in seen:
        seen.add(following.id)
        following = runs.get(getattr(following, column) or "")
    return following is not None


def _size_mistakes(preset: Preset, runs: dict[str, Run], run: Run) -> Iterator[Mistake]:
    """Sizes and radii that a run can't map between; nothing if a shape itself is wrong."""
    method = run.traits
    if run.target is None:
        return
    try:
        large = fused_shape(preset, runs, run)
        small = named_shape(preset, run.target)
    except (BadInput, KeyError):
        return
    if large.axis_size(Axis.QUERY) > LARGEST_SIZE:
        return  # the checks of the preset report it
    sizes = {name: (getattr(large, name), getattr(small, name)) for name in _SIZES}
    grown = {name: pair for name, pair in sizes.items() if pair[1] > pair[0]}
    if grown:
        # A target larger than the source model itself is reported by the checks of the preset.
        if run.source in runs and runs[run.source].target is not None:
            for name, (most, size) in grown.items():
                message = f"{run.source} has {name} {most}, less than the {size} of {run.target}; "
                fix = f"a stage makes models smaller, so name a run of at least {size}"
                yield "source", message + fix
        return
    if method.pretrains and run.method != SCRATCH and large != small:
        message = f"{run.source} has other sizes than {run.target}; give the target of {run.source}"
        yield "target", message
        return
    if method.prunes and large == small:
        message = "is as large as the source; masks need a target that drops something"
        yield "target", f"{run.target} {message}"
    deep = large.num_hidden_layers != small.num_hidden_layers
    wide = changes_widths(large, small)
    named = (name for name in (run.method, run.start or "") if name in METHODS)
    removing = next((name for name in named if METHODS[name].depth_only), None)
    if wide and removing:
        kept = (t for t in preset.targets if not changes_widths(large, named_shape(preset, t)))
        message = f"{removing} removes layers only, and {run.target} changes widths; take a "
        fix = f"target that does not ({', '.join(kept) or 'none here'}), or the method cut"
        yield "target", message + fix
    if method.ties and (wide or not deep):
        message = f"{run.method} spares the parameters that fewer layers would have less, and "
        yield "target", message + f"{run.target} does not have fewer layers of the same widths"
    if deep and method.widths_only:
        message = f"keeps all layers, and {run.target} drops some; take a target of widths"
        yield "target", f"{run.method} {message}"
    if deep and wide and method.teaches:
        message = f"{run.target} changes both the widths and the layers of what is fused; "
        fix = "operators learn one of the two a stage, so name the run of the first stage in source"
        yield "target", message + fix
    if method.learns_operators and not (deep or wide):
        yield "target", f"{run.target} is as large as what is fused; there is nothing to learn"
    if run.radii is None and wide and method.learns_operators:
        fault = split_heads(large, 1)
        if fault and small.num_key_value_heads < large.num_key_value_heads:
            yield "radii", f"without radii, attention {fault}"
    if run.radii in preset.radii and not method.scatters:
        for message in _radii_mistakes(preset, run, large, small):
            yield "radii", f"{run.radii}: {message}"


def _radii_mistakes(
    preset: Preset, run: Run, large: LlamaShape, small: LlamaShape
) -> Iterator[str]:
    """Receptive fields that don't fit the sizes, the heads or the tied halves of a head."""
    radii = radii_of(preset, run)
    for axis in (Axis.KEY_VALUE, Axis.HIDDEN, Axis.FFN):
        try:
            radii.factor_shape(axis, large, small)
        except BadInput as error:
            yield str(error)
            continue
        head, half = large.head_dim, large.head_dim // 2
        tied = preset.fusion.rotary_halves == "tied" and axis is Axis.KEY_VALUE
        if tied and radii.attention < head and half % radii.attention:
            legal = [r for r in legal_radii(axis, large, small) if r >= head or half % r == 0]
            fault = f"does not divide half a head ({half} channels), and "
            tie = "fusion.rotary_halves is tied"
            yield refusal(radii.attention, axis, fault + tie, legal)
