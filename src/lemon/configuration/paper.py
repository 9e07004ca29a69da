"""The entries of `paper.yaml`: every table and figure of the paper, with its runs.

`TableSpec` shows scores of runs; `FigureSpec` shows weights, activations or layer operators;
`SizesSpec` shows sizes computed from shapes; `TrialsSpec` trials of learning rates.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lemon.configuration.bounds import (
    Block,
    Fraction,
    Layers,
    Line,
    Lines,
    List,
    Margin,
    Name,
    Names,
    Section,
)

# Component of a layer -> the layer types whose maps are averaged (method, open point 31).
COMPONENTS: dict[str, tuple[str, ...]] = {
    **{f"{t}_proj": (t,) for t in ("q", "k", "v", "o", "gate", "up", "down")},
    "mha": ("q", "k", "v", "o"),
    "ffn": ("gate", "up", "down"),
}
NORMS = ("ln1", "ln2")  # the norms of a layer: shown for operators, not compared
MEASURES = ("plain", "debiased")  # the estimators of CKA, one folder each
# By renderer: the claims that are measured on its figures.
CLAIMS: dict[str, tuple[str, ...]] = {
    "weight_similarity": ("C22", "C23", "C24", "C26", "C27"),
    "activation_similarity": ("C22", "C24", "C26", "C27"),
    "layer_operators": ("C25",),
}
PAIRED = ("C26", "C27")  # claims that compare the second panel with the first
BLOCKS = "C23"  # claim about blocks, on which several matrix types must agree
SIZES = "C27"  # claim about two sizes of a model
CONTROLLED = "C26"  # claim that the second panel is closer to the first than the third, a control

MatrixType = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Component = Literal[MatrixType, "mha", "ffn", "ln1", "ln2"]


@dataclass(frozen=True)
class SimilarityMap:
    """One similarity map over all pairs of layers, written by `lemon cka`.

    Attributes:
        run: run whose model is measured.
        of: `weights` or `activations`.
        measure: one of `MEASURES`.
        component: a key of `COMPONENTS`.
    """

    run: str
    of: Literal["weights", "activations"]
    measure: str
    component: str

    @property
    def path(self) -> str:
        """The path of the map in the folder of runs."""
        return f"{self.run}/similarity/{self.of}/{self.measure}/{self.component}.csv"


class StandIn(Section):
    """What a panel shows where the preset has no second size."""

    label: Line = Field(description="title of the panel")
    run: Name = Field(description="id in runs.tsv")
    note: Line = Field(description="what a reader must know of it, a sentence")
    not_tested: Block[Line] = Field(
        default={}, description="claims that get no verdict on it, each with the reason"
    )


class FigurePanel(Section):
    """One panel: a component of one run's model or operators."""

    label: Line = Field(description="title of the panel; the source's prints the model's own name")
    run: Name = Field(description="id in runs.tsv")
    component: Component = Field(
        description="a matrix type; mha or ffn for the mean over the types of attention or FFN; "
        "ln1 or ln2, of operators alone"
    )
    otherwise: StandIn | None = Field(
        default=None, description="shown in place of a second size by a preset that has none"
    )

    @property
    def shows_second_size(self) -> bool:
        """Whether the panel shows a second size."""
        return self.otherwise is not None


class FigureSpec(Section):
    """A figure of weights, activations or layer operators: its renderer and its panels."""

    is_figure: ClassVar[bool] = True

    title: Line = Field(description="heading")
    renderer: Literal["weight_similarity", "activation_similarity", "layer_operators"] = Field(
        description="weight_similarity: CKA of the weights of all pairs of layers; "
        "activation_similarity: the same of the outputs of attention and FFN on held-out text; "
        "layer_operators: the learned gamma"
    )
    panels: List[FigurePanel] = Field(
        min_length=1, description="in the order in which they are drawn"
    )
    claims: Names = Field(
        default=(), description="the paper's claims that it tests, ids in claims.csv"
    )
    margin: Fraction | None = Field(
        default=None,
        description="how far apart two mean similarities may be and still count as alike; of "
        "C27 alone",
    )
    not_tested: Block[Line] = Field(
        default={}, description="claims without a verdict here, each with the reason"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """The runs of the figure, in the order of its panels."""
        return list(dict.fromkeys(panel.run for panel in self.panels))

    @property
    def maps(self) -> list[SimilarityMap]:
        """The similarity maps of all panels; none for a figure of operators."""
        return list(dict.fromkeys(map for panel in self.panels for map in self.maps_of(panel)))

    def among(self, runs: Collection[str]) -> FigureSpec:
        """The figure for a preset with these runs, with stand-ins for missing runs."""
        panels, notes, not_tested = [], list(self.notes), dict(self.not_tested)
        for panel in self.panels:
            instead = panel.otherwise
            if panel.run not in runs and instead is not None:
                panel = panel.model_copy(update={"label": instead.label, "run": instead.run})
                notes.append(instead.note)
                not_tested |= instead.not_tested
            panels.append(panel)
        shown = {"panels": tuple(panels), "notes": tuple(notes), "not_tested": not_tested}
        return self.model_copy(update=shown)

    def maps_of(self, panel: FigurePanel) -> list[SimilarityMap]:
        """The similarity maps of one panel.

        For weights there is one map per matrix type; `mha` and `ffn` are means over types. For
        activations, the output of attention or the FFN has one map.
        """
        of: Literal["weights", "activations"] = "activations"
        parts: list[str] = [panel.component] if self.renderer == "activation_similarity" else []
        if self.renderer == "weight_similarity":
            of, parts = "weights", [f"{part}_proj" for part in COMPONENTS.get(panel.component, ())]
        return [SimilarityMap(panel.run, of, kind, part) for kind in MEASURES for part in parts]


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
        description="the paper's claim that it tests, id in claims.csv; none if ours",
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
        "accuracy_table", "dense_scores", "receptive_field_grid", "scores_by_tokens"
    ] = Field(
        description="accuracy_table: methods by tasks, with what was published and paired tests; "
        "dense_scores: the source model task by task on more rows, beside what is published of it; "
        "receptive_field_grid: a figure of scores, operator size and step time over the radii of "
        "its runs; scores_by_tokens: a figure of scores over the tokens of pre-training, from the "
        "start of each run to its end"
    )
    published: Name | None = Field(
        default=None, description="file in src/lemon/published; none if the table is our addition"
    )
    tasks: Names = Field(min_length=1, description="columns, as lm-eval task names")
    rows: List[TableRow] = Field(min_length=1, description="rows in the paper's order")
    reference: Lines = Field(
        default=("Cut", "w/o LEMON"),
        min_length=1,
        description="labels of the rows that the others of the same sizes are ordered against",
    )
    comparisons: List[Comparison] = Field(
        default=(), description="paired tests printed under the table"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """The runs of the table, in the order of its rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def is_figure(self) -> bool:
        """Whether it is drawn and stored as a figure."""
        return self.renderer in ("receptive_field_grid", "scores_by_tokens")


OF_CURVES = ("C06", "C07")  # the claims about Figure 4, middle


class Curve(Section):
    """One curve of a figure of training: a run, or several seeds of it."""

    label: Line = Field(description="name in the legend")
    runs: Names = Field(min_length=1, description="ids in runs.tsv, one a seed")


class CurvesSpec(Section):
    """A figure of losses over training: its curves."""

    is_figure: ClassVar[bool] = True

    title: Line = Field(description="heading")
    renderer: Literal["tune_curves"] = Field(
        description="tune_curves: perplexity on the tune text over steps, tokens and seconds; the "
        "first curve is of fusion, the second of pruning"
    )
    curves: List[Curve] = Field(min_length=2, max_length=2, description="fusion, then pruning")
    claims: Names = Field(
        default=(), description="the paper's claims that it tests, ids in claims.csv"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """The runs of the figure, in the order of its curves."""
        return [run for curve in self.curves for run in curve.runs]


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
    TableSpec | FigureSpec | CurvesSpec | SizesSpec | TrialsSpec, Field(discriminator="renderer")
]


def scored_on_the_way(entry: PaperEntry) -> list[str]:
    """The runs whose models an entry shows during their pre-training."""
    by_tokens = isinstance(entry, TableSpec) and entry.renderer == "scores_by_tokens"
    return entry.runs if by_tokens else []


Paper = Block[PaperEntry]
"""The whole of `paper.yaml`."""
