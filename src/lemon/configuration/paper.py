"""The entries of `paper.yaml`: every table and figure of the paper, with its runs.

`TableSpec` shows scores of runs; `SizesSpec` sizes and settings, without runs; `TrialsSpec` trials
of learning rates. Figures that show no scores are in `lemon.configuration.figure_specs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lemon.configuration.bounds import (
    Block,
    Layers,
    Line,
    Lines,
    List,
    Margin,
    Name,
    Names,
    Section,
)
from lemon.configuration.figure_specs import CurvesSpec, FigureSpec, MergesSpec


class TableRow(Section):
    """One row of a table: the runs that fill it and the published row beside it."""

    label: Line = Field(description="name of the row; the source's row prints the model's own name")
    published_method: Line | None = Field(
        default=None, description="method in the published file; none if the row is our addition"
    )
    published_layers: Layers | None = Field(
        default=None, description="layers in the published file"
    )
    target: Name | None = Field(default=None, description="symbolic shape; none for the source")
    runs: Names = Field(description="ids in runs.tsv, one a seed; empty means not yet run")

    @property
    def ours(self) -> bool:
        """Whether the row is our addition to the paper's."""
        return self.published_method is None


class Margins(Section):
    """How far apart two rows may be and still count as equally good, by measure."""

    accuracy: Margin = Field(description="points of the mean over tasks")
    answer_bits_per_byte: Margin = Field(description="bits per byte of the right answer")
    answer_share: Margin = Field(
        description="points of the right answer's share of the choices' probability"
    )
    loss: Margin = Field(description="nats per token of held-out text")


class Pair(Section):
    """Two rows, each named by one of its runs."""

    first: Name = Field(description="a run of the row that is expected to be better")
    second: Name = Field(description="a run of the row that it is compared with")


class Comparison(Section):
    """A paired test of two rows on the same documents: the first beats the second, or equals it, or
    beats it by more than another pair.

    A row is named by one of its runs and enters with all of them.
    """

    claim: Name | None = Field(
        default=None,
        description="the published claim that it tests, id in claims.csv; none if ours",
    )
    first: Name = Field(description="a run of the row that is expected to be better")
    second: Name = Field(description="a run of the row that it is compared with")
    relation: Literal["better", "equivalent"] = Field(
        default="better",
        description="better: the first beats the second; equivalent: they differ by less than the "
        "margin",
    )
    margin: Margins | None = Field(default=None, description="of equivalent, and only of that")
    than: Pair | None = Field(
        default=None,
        description="a pair whose first row beats its second by less: the differences of the two "
        "pairs are compared",
    )
    not_tested: Line | None = Field(
        default=None,
        description="why the rows are not what the claim is about: their difference is shown "
        "without a verdict",
    )


class TableSpec(Section):
    """A table or figure of scored runs: its renderer, the runs that fill it, what was published."""

    title: Line = Field(description="caption")
    renderer: Literal[
        "accuracy_table",
        "dense_scores",
        "receptive_field_grid",
        "scores_by_tokens",
        "quality_by_cost",
    ] = Field(
        description="accuracy_table: methods by tasks, with what was published and paired tests; "
        "dense_scores: the source model task by task on more rows, beside what is published of it; "
        "receptive_field_grid: a figure of scores, operator size and step time over the radii of "
        "its runs; scores_by_tokens: a figure of scores over the tokens of pre-training, from the "
        "start of each run to its end; quality_by_cost: a figure of held-out loss and answer bits "
        "per byte over the cost of inference and of training"
    )
    published: Name | None = Field(
        default=None, description="file in src/lemon/published; none if the table is our addition"
    )
    tasks: Names = Field(min_length=1, description="columns, as lm-eval task names")
    rows: List[TableRow] = Field(
        default=(),
        description="rows in the paper's order; none with rows_of, otherwise at least one",
    )
    rows_of: Names = Field(
        default=(),
        description="of quality_by_cost: accuracy tables whose rows it shows, each run once",
    )
    reference: Lines = Field(
        default=("Cut", "w/o LEMON"),
        min_length=1,
        description="labels of the rows that the others of the same sizes are ordered against",
    )
    comparisons: List[Comparison] = Field(
        default=(), description="paired tests printed under the table"
    )
    costs: bool = Field(
        default=False,
        description="of accuracy_table: whether a section has the parameters, FLOPs and time of "
        "each row's model, and what it took to make it",
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """The runs of the table, in the order of its rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def is_figure(self) -> bool:
        """Whether it is drawn and stored as a figure."""
        return self.renderer in ("receptive_field_grid", "scores_by_tokens", "quality_by_cost")

    @property
    def shows_costs(self) -> bool:
        """Whether it shows what models cost, for which their inference is timed."""
        return self.costs or self.renderer == "quality_by_cost"

    def with_rows(self, entries: Mapping[str, PaperEntry]) -> TableSpec:
        """With the rows of the tables in `rows_of`, if any.

        A row that shares a run with an earlier row is left out, and so is one without runs that
        has the label and target of an earlier row.
        """
        rows, shown = list(self.rows), set[str | tuple[str, str | None]]()
        for name in self.rows_of:
            table = entries[name]
            for row in table.rows if isinstance(table, TableSpec) else ():
                names = row.runs or ((row.label, row.target),)
                if shown.isdisjoint(names):
                    rows.append(row)
                shown |= {*row.runs, (row.label, row.target)}
        return self.model_copy(update={"rows": tuple(rows)})


class SizesSpec(Section):
    """A table of sizes or settings of every preset, computed alone; no run is needed for it."""

    is_figure: ClassVar[bool] = False
    runs: ClassVar[list[str]] = []

    title: Line = Field(description="caption")
    renderer: Literal["operator_sizes", "model_sizes", "hyper_parameters"] = Field(
        description="operator_sizes: shapes and counts of the operators of every preset; "
        "model_sizes: configuration and parameters of every preset's models; hyper_parameters: "
        "budgets and rates of every preset by phase of training"
    )
    published: Name = Field(description="file in src/lemon/published")


class TrialsSpec(Section):
    """The table of the trials by which a preset's learning rates were chosen."""

    is_figure: ClassVar[bool] = False
    runs: ClassVar[list[str]] = []

    title: Line = Field(description="caption")
    renderer: Literal["tuning_trials"] = Field(
        description="tuning_trials: every trial of trials/PRESET.tsv with its loss on the tune text"
    )


PaperEntry = Annotated[
    TableSpec | FigureSpec | MergesSpec | CurvesSpec | SizesSpec | TrialsSpec,
    Field(discriminator="renderer"),
]


def runs_with_snapshots(entry: PaperEntry) -> list[str]:
    """The runs whose models an entry shows during their pre-training."""
    by_tokens = isinstance(entry, TableSpec) and entry.renderer == "scores_by_tokens"
    return entry.runs if by_tokens else []


Paper = Block[PaperEntry]
"""The whole of `paper.yaml`."""
