"""Checks of a preset for consistency with itself and with the other config files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any

from lemon.architecture import LARGEST_SIZE, Axis, LlamaShape
from lemon.configuration.assets import Asset, PypiAsset
from lemon.configuration.bounds import MOST_PARAMETERS, MOST_RANDOM_PARAMETERS
from lemon.configuration.given_models import given_models, given_shape
from lemon.configuration.learning_settings import RateSettings, TrainingSettings
from lemon.configuration.preset import Preset, RadiiSettings
from lemon.configuration.tasks import TASKS
from lemon.configuration.yaml_files import Mistake, Place, did_you_mean
from lemon.errors import BadInput
from lemon.files.names import path_fault
from lemon.published.tables import published_table
from lemon.radii import Radii, split_heads

# Limits of `lemon.data.synthetic`.
FEWEST_TOKENS = 257  # 256 bytes and the end-of-document token
GENERATED_DOMAINS = ("prose", "numbers")
GENERATED_TASKS = (
    *("sciq", "piqa", "winogrande", "arc_challenge", "lambada_openai", "nq_open", "mmlu"),
)
# Key of a given model -> kinds that need it.
NEEDED_BY = {"asset": ("hub", "gguf"), "path": ("folder",), "shape": ("gguf", "random")}


def radii_in_numbers(settings: RadiiSettings) -> Radii:
    """Receptive fields from settings without ratios; r_h is r_i by default."""
    attention: Any = settings.attention
    return Radii(settings.hidden or settings.ffn, attention, settings.ffn)


def with_rates(preset: Preset, rates_name: str | None) -> Preset:
    """The preset with these rates in its sections `learning`, `pruning` and `pretraining`."""
    rates = preset.rates.get(rates_name or "", RateSettings()).model_dump(exclude_none=True)
    sections = {}
    for name in ("learning", "pruning", "pretraining"):
        section = getattr(preset, name)
        own = {rate: rates[rate] for rate in rates.keys() & type(section).model_fields.keys()}
        sections[name] = section.model_copy(update=own)
    return preset.model_copy(update=sections)


def needed_assets(preset: Preset) -> dict[str, Place]:
    """The assets that a preset needs, each with the setting that needs it."""
    needed: dict[str, Place] = {}
    for section, model in given_models(preset):
        if model.asset is not None:
            needed[model.asset] = (section, "asset")
    for name, domain in preset.text.domains.items():
        if domain.asset is not None:
            needed.setdefault(domain.asset, ("text", "domains", name, "asset"))
    if preset.evaluation.source == "packaged":
        for task in preset.evaluation.tasks:
            if task in TASKS:
                needed.setdefault(TASKS[task].asset, ("evaluation", "tasks"))
    return needed


def preset_mistakes(preset: Preset, assets: Mapping[str, Asset]) -> Iterator[Mistake]:
    """Every inconsistency within a preset, and between it and the assets."""
    yield from _shape_mistakes(preset)
    yield from _source_mistakes(preset, assets)
    for message in task_mistakes(preset.evaluation.tasks):
        yield ("evaluation", "tasks"), message
    limits, dense = preset.evaluation.limits, preset.evaluation.dense.limits
    for place, names in ((("limits",), limits), (("dense", "limits"), dense)):
        for task in (task for task in names if task not in TASKS):
            yield ("evaluation", *place, task), f"unknown task {task}, {did_you_mean(task, TASKS)}"
    for section in ("pruning", "pretraining"):
        if getattr(preset, section).loading.reference == "scaling-law":
            for message in _lawless_domains(preset):
                yield (section, "loading", "reference"), message
    if fault := path_fault(preset.evaluation.source):
        yield ("evaluation", "source"), fault
    for section in ("learning", "pretraining"):
        for key, message in _training_mistakes(preset, getattr(preset, section)):
            yield (section, key), message
    yield from _snapshot_mistakes(preset)


def task_mistakes(tasks: Sequence[str]) -> Iterator[str]:
    """Unknown and repeated tasks in a list."""
    for task, count in Counter(tasks).items():
        if task not in TASKS:
            yield f"unknown task {task}, {did_you_mean(task, TASKS)}"
        if count > 1:
            yield f"{task} is named {count} times; name it once"


def require_rows(preset: Preset) -> None:
    """BadInput if the preset's folder of rows is not there.

    This is kept apart from the checks of files, as machines differ.
    """
    where = preset.evaluation.source
    if where not in ("packaged", "generated", "hub") and not Path(where).is_dir():
        raise BadInput(
            f"evaluation.source: {where!r} is not packaged, generated, hub or a folder that is "
            "there"
        )


def _shape_mistakes(preset: Preset) -> Iterator[Mistake]:
    """The sizes of the given models, and each target against the source's."""
    for section, model in given_models(preset):
        if model.shape is None:
            continue  # a Hub model that is not fetched yet
        try:
            shape = given_shape(model)
        except BadInput as error:
            yield (section, "shape", "num_attention_heads"), str(error)
            return
        for key, message in _impossible_sizes(shape, model.kind):
            yield (section, "shape", key), message
    if preset.source.shape is None:
        return
    source = given_shape(preset.source)
    faults = {
        name: fault
        for name, radii in preset.radii.items()
        if (fault := split_heads(source, radii_in_numbers(radii).attention))
    }
    if faults:
        whole = ", ".join(f"'{name}': {{attention: 100%}}" for name in faults)
        yield (
            ("radii",),
            f"{', '.join(faults)}: attention {next(iter(faults.values()))}; write into the preset "
            f"radii: {{{whole}}}",
        )
    for name, target in preset.targets.items():
        for key, size in target.model_dump(exclude_none=True).items():
            most = getattr(source, key)
            if size > most:
                message = f"is {size}, more than the source's {most}; give at most {most}"
                yield ("targets", name, key), message
        key = "num_attention_heads" if target.num_attention_heads else "num_key_value_heads"
        heads = target.num_attention_heads or source.num_attention_heads
        groups = target.num_key_value_heads or source.num_key_value_heads
        if heads != groups * source.group_size:
            message = (
                f"{heads} query heads over {groups} key/value heads; the source has "
                f"{source.group_size} query heads per key/value head and groups are kept "
                f"whole, so give {groups * source.group_size} query heads"
            )
            yield ("targets", name, key), message
        width: Any = target.hidden_size or source.hidden_size  # the ratios are numbers here
        if source.family == "llama" and width % heads:  # transformers loads no such folder
            message = f"{width} is not divisible by its {heads} query heads, as LLaMA needs it"
            key = "hidden_size" if target.hidden_size else "num_attention_heads"
            yield ("targets", name, key), message


def _impossible_sizes(shape: LlamaShape, kind: str) -> Iterator[tuple[str, str]]:
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


def _source_mistakes(preset: Preset, assets: Mapping[str, Asset]) -> Iterator[Mistake]:
    """Assets, paths and shapes that are missing, superfluous or unknown."""
    for section, model in given_models(preset):
        for key, kinds in NEEDED_BY.items():
            needed, given = model.kind in kinds, getattr(model, key) is not None
            if needed and not given:
                yield (section, key), f"must be given for kind {model.kind}"
            elif given and not needed and key != "shape":
                yield (section, key), f"must not be given for kind {model.kind}"
        if model.kind == "hub" and isinstance(assets.get(model.asset or ""), PypiAsset):
            message = f"{model.asset} is a package; a model of kind hub needs an asset of kind hub"
            yield (section, "asset"), message
    for name, domain in preset.text.domains.items():
        generated = domain.reader == "generated"
        if (domain.asset is None) != generated:
            message = f"must {'not ' if generated else ''}be given for reader {domain.reader}"
            yield ("text", "domains", name, "asset"), message
        if domain.column != "text" and domain.reader not in ("jsonl", "parquet"):
            message = f"must not be given for reader {domain.reader}"
            yield ("text", "domains", name, "column"), message
        if generated and name not in GENERATED_DOMAINS:
            message = f"only {', '.join(GENERATED_DOMAINS)} can be generated; name it so"
            yield ("text", "domains", name), message
    if preset.evaluation.source == "generated":
        for task in preset.evaluation.tasks:
            if task in TASKS and task not in GENERATED_TASKS:
                known = ", ".join(GENERATED_TASKS)
                message = f"rows of {task} can't be generated, only of {known}"
                yield ("evaluation", "tasks"), message
    for asset, place in needed_assets(preset).items():
        if asset not in assets:
            yield place, f"assets.yaml has no {asset}, {did_you_mean(asset, assets)}"


def _training_mistakes(preset: Preset, settings: TrainingSettings) -> Iterator[tuple[str, str]]:
    """Microbatches that do not make up a batch, and more tune sequences than there are."""
    whole, part = settings.batch_sequences, settings.microbatch_sequences
    if whole % part:
        yield "microbatch_sequences", f"{part} does not divide batch_sequences ({whole})"
    elif (whole // part) % preset.compute.devices:
        yield "microbatch_sequences", _uneven(whole, part, preset.compute.devices)
    prepared = preset.text.heldout_sequences
    # A default is no mistake: training takes at most the sequences that there are.
    given = "tune_sequences" in settings.model_fields_set
    if given and settings.tune_sequences > prepared:
        message = f"is more than the text.heldout_sequences ({prepared}) that are prepared"
        yield "tune_sequences", f"{settings.tune_sequences} {message}"


def _uneven(whole: int, part: int, devices: int) -> str:
    """That the microbatches of a step can't be shared evenly, and what can."""
    fix = f"make batch_sequences ({whole}) a multiple of {devices}"
    if whole % devices == 0:
        fix = f"give {gcd(part, whole // devices)}"
    parts = "one microbatch" if part == whole else f"{whole // part} microbatches"
    return (
        f"{part} makes {parts} a step, which {devices} processes (compute.devices) can't share "
        f"evenly; {fix}"
    )


def _snapshot_mistakes(preset: Preset) -> Iterator[Mistake]:
    """Two token counts that the same step of pre-training reaches first."""
    settings = preset.pretraining
    tokens_per_step = settings.batch_sequences * preset.text.sequence_length
    steps = Counter(-(-tokens // tokens_per_step) for tokens in settings.snapshots)
    for step in (step for step, count in steps.items() if count > 1):
        message = f"two of them are reached in step {step}, of {tokens_per_step:,} tokens each; "
        yield ("pretraining", "snapshots"), message + "give counts further apart"


def _lawless_domains(preset: Preset) -> Iterator[str]:
    """Domains that the scaling law lacks; it has only those of RedPajama."""
    known = sorted({row["domain"] for row in published_table("reference_losses")})
    for domain in (domain for domain in preset.text.domains if domain not in known):
        message = f"the scaling law has no domain {domain} (it has {', '.join(known)}); "
        yield message + "set reference to source"
