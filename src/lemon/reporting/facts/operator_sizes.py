"""Table 1: shapes and counts of the operators between the models of all presets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lemon.architecture import LAYER_TYPES, Axis, LlamaShape
from lemon.configuration.load import siblings
from lemon.configuration.preset_checks import radii_in_numbers
from lemon.configuration.project import Project, dimension_cases
from lemon.configuration.yaml_files import did_you_mean
from lemon.errors import BadInput
from lemon.operators.algebra import factor_shapes
from lemon.published.models import (
    LLAMA2_13B,
    LLAMA2_13B_LABEL,
    SOURCE_MODEL,
    narrowed,
    published_shape,
)
from lemon.published.tables import published_table
from lemon.radii import Radii
from lemon.reporting.facts.model_sizes import (
    SizesEntry,
    paper_project,
    sizes_entry,
)

PAPER_SMALL = "LEMON-2.7B"  # in published/table5.csv; table1.csv has its counts
PAPER_RADII = Radii(hidden=2, attention=2, ffn=2)
FAMILIES = {"layer": "gamma", "hidden": "hidden", "attention": "attn", "intermediate": "ffn"}


@dataclass(frozen=True)
class OperatorLine:
    """One family of operators between two models.

    Attributes:
        operator: layer, hidden, attention or intermediate, as in published/table1.csv.
        radius: r, channels tied in one block.
        rows, columns: of its small factor, [out / r, in / r].
        factors: the number of factors: nine gammas, one B, an A for every source layer.
        learned: False for a layer operator between equal depths, which is the identity.
        printed: its count by Table 1's formula: the first power of r, and one gamma for all types.
        query_count: its count by the paper's formula, whose attention axis is the query heads.
    """

    operator: str
    radius: int
    rows: int
    columns: int
    factors: int
    learned: bool
    printed: int
    query_count: int

    @property
    def count(self) -> int:
        """Entries of all factors: r squared in the denominator (equation 3, footnote 2)."""
        return self.factors * self.rows * self.columns


@dataclass(frozen=True)
class ModelPair:
    """A source, a target, and the receptive fields of the operators between them.

    Attributes:
        preset: their preset; empty for models of no preset.
        label: the source's name.
        target_name: the target's name.
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
        shapes = factor_shapes(self.source, self.target, self.radii)
        return [self._line(operator, shapes) for operator in FAMILIES]

    @property
    def learned(self) -> list[OperatorLine]:
        """The trained families."""
        return [line for line in self.lines if line.learned]

    @property
    def count(self) -> int:
        """Entries of all trained operators."""
        return sum(line.count for line in self.learned)

    @property
    def printed(self) -> int:
        """Entries of all trained operators by Table 1's formula, with the first power of r."""
        return sum(line.printed for line in self.learned)

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

    def _line(self, operator: str, shapes: dict[str, tuple[int, int]]) -> OperatorLine:
        family = FAMILIES[operator]
        own = [shape for name, shape in shapes.items() if name.split(".")[0] == family]
        rows, columns = own[0]
        count = len(own) * rows * columns
        if operator == "layer":
            printed = count // len(LAYER_TYPES)
            return OperatorLine(
                operator, 1, rows, columns, len(own), rows != columns, printed, count
            )
        axis = {"hidden": Axis.HIDDEN, "attention": Axis.KEY_VALUE, "intermediate": Axis.FFN}
        radius = self.radii.of(axis[operator])
        groups = self.source.group_size if operator == "attention" else 1
        return OperatorLine(
            *(operator, radius, rows, columns, len(own), True),
            printed=count * radius,
            query_count=count * groups**2,
        )


@dataclass(frozen=True)
class OperatorSizesFacts:
    """The facts of Table 1: the published values by operator, and all pairs of models."""

    entry: SizesEntry
    printed: dict[str, dict[str, str]]
    pairs: list[ModelPair]


def operator_sizes_facts(project: Project, table: str, runs: Path) -> OperatorSizesFacts:
    """Gather Table 1; no run is read.

    Raises:
        BadInput: a preset lacks a target or radii of Table 4, or they do not fit its sizes.
    """
    printed = {line["operator"]: line for line in published_table("table1")}
    return OperatorSizesFacts(sizes_entry(project, table), printed, model_pairs(project))


def model_pairs(project: Project) -> list[ModelPair]:
    """Sources and Table 4 targets at all radii: the paper's, 13B, then those of other presets.

    Raises:
        BadInput: a preset lacks a target or radii of Table 4, or they do not fit its sizes.
    """
    paper, cases = paper_project(project), dimension_cases(project)
    source, label = paper.source_shape(), paper.preset.source.label
    found = [_pair(paper, target, name) for target, name in cases]
    if not any(pair.published for pair in found):
        small = published_shape(PAPER_SMALL)
        found.insert(0, ModelPair("", label, PAPER_SMALL, source, small, "2-2", PAPER_RADII))
    found += [
        ModelPair(
            *("", LLAMA2_13B_LABEL, "widths 62.5 %", LLAMA2_13B, narrowed(LLAMA2_13B)),
            name,
            numeric_radii(paper, name),
        )
        for _, name in cases
    ]
    for sibling in siblings(project):
        if sibling.preset_name != paper.preset_name:
            found += [_pair(sibling, target, name) for target, name in cases]
    return found


def _pair(project: Project, target: str, name: str) -> ModelPair:
    return ModelPair(
        project.preset_name,
        project.preset.source.label,
        target,
        project.source_shape(),
        project.shape_of(target),
        name,
        numeric_radii(project, name),
    )


def numeric_radii(project: Project, name: str) -> Radii:
    """Named radii of a preset as numbers.

    Raises:
        BadInput: the preset has no radii of this name.
    """
    known = project.preset.radii
    if name not in known:
        raise BadInput(
            f"preset {project.preset_name} has no radii {name}, {did_you_mean(name, known)}"
        )
    return radii_in_numbers(known[name])
