"""Table 1: shapes and counts of the operators between the models of all presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

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
from lemon.radii import Radii
from lemon.reporting.facts.model_sizes import all_presets

PAPER_SMALL = "LEMON-2.7B"  # in published/table5.csv; table1.csv has its counts
PAPER_RADII = Radii(hidden=2, attention=2, ffn=2)
# The families in the order of published/table1.csv; the layer operator is the first.
LAYER = "layer"
WIDTHS = {"hidden": Axis.HIDDEN, "attention": Axis.KEY_VALUE, "intermediate": Axis.FFN}


@dataclass(frozen=True)
class OperatorLine:
    """One family of operators between two models.

    Attributes:
        operator: `LAYER` or a key of `WIDTHS`.
        radius: r, channels tied in one block.
        rows, columns: of its small factor, [out / r, in / r].
        factors: the number of factors: nine gammas, one B, an A for every source layer.
        learned: False for a layer operator between equal depths, which is the identity.
        group: query heads for each key/value head; 1 on other axes than attention's.
    """

    operator: str
    radius: int
    rows: int
    columns: int
    factors: int
    learned: bool = True
    group: int = 1

    @property
    def count(self) -> int:
        """Entries of all factors: r squared in the denominator (equation 3, footnote 2)."""
        return self.factors * self.rows * self.columns

    @property
    def printed(self) -> int:
        """The count by Table 1's formula: the first power of r, and one gamma for all types."""
        return self.rows * self.columns if self.operator == LAYER else self.count * self.radius

    @property
    def query_count(self) -> int:
        """The count by the paper's formula, whose attention axis is the query heads."""
        return self.count * self.group**2


@dataclass(frozen=True)
class ModelPair:
    """A source, a target, and the receptive fields of the operators between them.

    Attributes:
        preset: their preset; empty for models of no preset.
        label, target_name: the names of source and target.
        radii_name: the paper's name of the radii.
    """

    preset: str
    label: str
    target_name: str
    source: LlamaShape
    target: LlamaShape
    radii_name: str
    radii: Radii

    @cached_property
    def lines(self) -> list[OperatorLine]:
        """The four families, in the order of Table 1.

        Raises:
            BadInput: a radius does not divide the sizes of its axis.
        """
        depth, layers = self.target.num_hidden_layers, self.source.num_hidden_layers
        lines = [OperatorLine(LAYER, 1, depth, layers, len(LAYER_TYPES), depth != layers)]
        for operator, axis in WIDTHS.items():
            rows, columns = self.radii.factor_shape(axis, self.source, self.target)
            factors = 1 if axis is Axis.HIDDEN else layers
            group = self.source.group_size if axis is Axis.KEY_VALUE else 1
            radius = self.radii.of(axis)
            lines.append(OperatorLine(operator, radius, rows, columns, factors, group=group))
        return lines

    @property
    def count(self) -> int:
        """Entries of all trained operators."""
        return sum(line.count for line in self.lines if line.learned)

    @property
    def printed(self) -> int:
        """Entries of all trained operators by Table 1's formula, with the first power of r."""
        return sum(line.printed for line in self.lines if line.learned)

    def line(self, operator: str) -> OperatorLine:
        """One family by its name."""
        return next(line for line in self.lines if line.operator == operator)

    def share(self, entries: int) -> float:
        """Entries divided by the parameters of the small model."""
        return entries / self.target.num_parameters

    @property
    def published(self) -> bool:
        """Whether published/table1.csv has the counts for these models and radii."""
        printed = published_shape(SOURCE_MODEL), published_shape(PAPER_SMALL), PAPER_RADII
        return (self.source, self.target, self.radii) == printed


def model_pairs(project: Project, *_: object) -> list[ModelPair]:
    """Sources and Table 4 targets at all radii: the paper's, 13B, then those of other presets.

    Raises:
        BadInput: a preset is missing or wrong, or lacks a target or radii of Table 4.
    """
    (paper, *others), cases = all_presets(project), dimension_cases(project)
    found = [_pair(paper, target, name) for target, name in cases]
    found += [
        replace(
            pair,
            preset="",
            label=LLAMA2_13B_LABEL,
            target_name="widths 62.5 %",
            source=LLAMA2_13B,
            target=narrowed(LLAMA2_13B),
        )
        for pair in found
    ]
    if not any(pair.published for pair in found):
        source, label = paper.source_shape(), paper.preset.source.label
        small = published_shape(PAPER_SMALL)
        found.insert(0, ModelPair("", label, PAPER_SMALL, source, small, "2-2", PAPER_RADII))
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
