"""What the names in a row of `runs.tsv` stand for under a preset: sizes, radii, start.

The checks ask this too, before rows can be resolved.
"""

from __future__ import annotations

from collections.abc import Mapping

from lemon.architecture import LlamaShape
from lemon.configuration.given_models import given_shape
from lemon.configuration.methods import Method
from lemon.configuration.preset import Preset
from lemon.configuration.preset_checks import radii_in_numbers
from lemon.configuration.runs import Run
from lemon.radii import Radii


def named_shape(preset: Preset, target: str | None) -> LlamaShape:
    """The sizes of a symbolic target, those left out being the source's; the source's if None.

    KeyError if the preset has no such target; BadInput if the sizes are inconsistent.
    """
    source = given_shape(preset.source)
    sizes = preset.targets[target].model_dump(exclude_none=True) if target else {}
    return LlamaShape(**{**vars(source), **sizes})


def rearranged_by(start: Method | None, row: Run) -> str | None:
    """The folder of rearranged weights of a run whose start has this method; None for none."""
    if row.traits.matches_states:
        return "fused_source"
    if start is None:
        return None
    if start.places:
        return "placed_source"
    return "permuted_source" if row.radii and start.scatters else None


def ties(rows: Mapping[str, Run], row: Run) -> bool:
    """Whether neighbouring layers of a run's model share one FFN."""
    start = rows.get(row.start or "")
    return row.traits.ties or (start is not None and start.traits.ties)


def as_many_tied_layers(large: LlamaShape, small: LlamaShape) -> int:
    """How many neighbouring layers share one FFN for a model of about the parameters of `small`.

    A window of k + 1 layers spares k FFNs; k is the number nearest to the difference. Where one FFN
    for all layers spares less than that, it is all layers.
    """
    spared = (large.num_parameters - small.num_parameters) / large.ffn_parameters
    return min(1 + max(1, round(spared)), large.num_hidden_layers)


def fused_shape(preset: Preset, rows: Mapping[str, Run], row: Run) -> LlamaShape:
    """The sizes of the model that a run fuses: the source's, or those of its first stage."""
    first = rows.get(row.source or "")
    return named_shape(preset, first.target if first else None)


def radii_of(preset: Preset, row: Run) -> Radii:
    """The receptive fields of a run in numbers; 1 if it names none."""
    return Radii() if row.radii is None else radii_in_numbers(preset.radii[row.radii])


def changes_widths(source: LlamaShape, target: LlamaShape) -> bool:
    """Whether two models differ in more than the number of layers."""
    return source.with_depth(target.num_hidden_layers) != target


def start_run(rows: Mapping[str, Run], row: Run) -> str | None:
    """The id of the run with the operators that a run starts from; None if there is none."""
    if row.start in rows:
        return row.start
    wanted = (row.start, row.target, row.seed, row.source)
    same = (o for o in rows.values() if (o.method, o.target, o.seed, o.source) == wanted)
    return next((other.id for other in same), None)
