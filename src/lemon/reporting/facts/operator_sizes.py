"""Table 1: shapes and counts of the operators between the models of all presets."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from lemon.architecture import LAYER_TYPES, Axis, LlamaShape
from lemon.configuration.preset_checks import radii_in_numbers
from lemon.configuration.project import Project, dimension_cases
from lemon.configuration.yaml_files import did_you_mean
from lemon.errors import BadInput
from lemon.published.models import (
    LLAMA2_13B,
    LLAMA2_13B_LABEL,
    SOURCE_MODEL,
    narrowed,
    published_shape,
)
from lemon.published.tables import published_table
from lemon.radii import Radii
from lemon.reporting.facts.model_sizes import all_presets

PAPER_SMALL = "LEMON-2.7B"  # in published/table5.csv; table1.csv has its counts
PAPER_RADII = Radii(hidden=2, attention=2, ffn=2)
# The families in the order of published/table1.csv, with the axis of a dimension operator.
FAMILIES = {
    "layer": None,
    "hidden": Axis.HIDDEN,
    "attention": Axis.KEY_VALUE,
    "intermediate": Axis.FFN,
}


class ModelPair(NamedTuple):
    """A source, a target, and the receptive fields of the operators between them.

    Attributes:
        preset: their preset; None for models of no preset.
        label, target_name: the names of source and target.
        radii_name: the paper's name of the radii.
    """

    preset: str | None
    label: str
    target_name: str
    source: LlamaShape
    target: LlamaShape
    radii_name: str
    radii: Radii

    @property
    def is_published(self) -> bool:
        """Whether published/table1.csv has the counts for these models and radii."""
        printed = published_shape(SOURCE_MODEL), published_shape(PAPER_SMALL), PAPER_RADII
        return (self.source, self.target, self.radii) == printed


def operator_sizes(project: Project, *_: object) -> pd.DataFrame:
    """The lines of `family_lines` of all pairs of models; errors as of it and `model_pairs`."""
    return pd.DataFrame([line for pair in model_pairs(project) for line in family_lines(pair)])


def family_lines(pair: ModelPair) -> list[dict[str, Any]]:
    """A line for each family of operators between two models; shares are fractions.

    `factors` is the number of small factors [out / r, in / r]: nine gammas, one B, an A for every
    source layer. `count` has the entries of them all: r squared in the denominator (equation 3,
    footnote 2). `count_first_power` is that of Table 1's formula: the first power of r, and one
    gamma for all types. `count_on_query_axis` is that of the paper's formula, whose attention axis
    is the query heads. A layer operator between equal depths is the identity and not `learned`.

    Raises:
        BadInput: a radius does not divide the sizes of its axis.
    """
    depth, layers = pair.target.num_hidden_layers, pair.source.num_hidden_layers
    small, lines = pair.target.num_parameters, []
    for paper, (operator, axis) in zip(published_table("table1"), FAMILIES.items(), strict=True):
        if axis is None:
            rows, columns, factors = depth, layers, len(LAYER_TYPES)
            first_power = rows * columns
        else:
            rows, columns = pair.radii.factor_shape(axis, pair.source, pair.target)
            factors = 1 if axis is Axis.HIDDEN else layers
            first_power = factors * rows * columns * pair.radii.of(axis)
        count = factors * rows * columns
        group = pair.source.group_size if axis is Axis.KEY_VALUE else 1
        squared = int(paper["count_7b_to_2p7b_all_r2"]) if pair.is_published else None
        first = int(paper["count_if_printed_power_all_r2"]) if pair.is_published else None
        line = {
            "preset": pair.preset,
            "source": pair.label,
            "target": pair.target_name,
            "radii": pair.radii_name,
            **{f"radius_{name}": radius for name, radius in vars(pair.radii).items()},
            "operator": operator,
            "factor_rows": rows,
            "factor_columns": columns,
            "factors": factors,
            "learned": str(axis is not None or depth != layers).lower(),
            "count": count,
            "count_first_power": first_power,
            "first_power_over_count": round(first_power / count, 6),
            "count_on_query_axis": count * group**2,
            "small_model_parameters": small,
            "share_of_small_model": round(count / small, 6),
            "published_symbol": paper["symbol"],
            "published_shape": paper["shape_as_printed"],
            "published_count": squared,
            "count_difference": None if squared is None else count - squared,
            "published_count_first_power": first,
            "first_power_difference": None if first is None else first_power - first,
        }
        lines.append(line)
    return lines


def model_pairs(project: Project) -> list[ModelPair]:
    """Sources and Table 4 targets at all radii: the paper's, 13B, then those of other presets.

    Raises:
        BadInput: a preset is missing or wrong, or lacks a target or radii of Table 4.
    """
    (paper, *others), cases = all_presets(project), dimension_cases(project)
    found = [_pair(paper, target, name) for target, name in cases]
    larger = (None, LLAMA2_13B_LABEL, "widths 62.5 %", LLAMA2_13B, narrowed(LLAMA2_13B))
    found += [ModelPair(*larger, pair.radii_name, pair.radii) for pair in found]
    if not any(pair.is_published for pair in found):
        source, label = paper.source_shape(), paper.preset.source.label
        small = published_shape(PAPER_SMALL)
        found.insert(0, ModelPair(None, label, PAPER_SMALL, source, small, "2-2", PAPER_RADII))
    return [*found, *(_pair(other, *case) for other in others for case in cases)]


def _pair(project: Project, target: str, name: str) -> ModelPair:
    known = project.preset.radii
    if name not in known:
        raise BadInput(
            f"preset {project.preset_name} has no radii {name}, {did_you_mean(name, known)}"
        )
    return ModelPair(
        project.preset_name,
        project.preset.source.label,
        target,
        project.source_shape(),
        project.shape_of(target),
        name,
        radii_in_numbers(known[name]),
    )
