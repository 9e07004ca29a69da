"""The figures of `paper.yaml` that show no scores.

They are of similarity, layer operators, merged layers and training curves.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import Field

from lemon.configuration.bounds import Block, Fraction, Line, Lines, List, Name, Names, Section

# Component of a layer -> the layer types whose maps are averaged (method, open point 31).
COMPONENTS: dict[str, tuple[str, ...]] = {
    **{f"{t}_proj": (t,) for t in ("q", "k", "v", "o", "gate", "up", "down")},
    "mha": ("q", "k", "v", "o"),
    "ffn": ("gate", "up", "down"),
}
MEASURES = ("plain", "debiased")  # the estimators of CKA, one folder each
MATCHED = "matched"  # the folder of the correlation of matched neurons
# By renderer: the claims that are measured on its figures.
CLAIMS: dict[str, tuple[str, ...]] = {
    "weight_similarity": ("C22", "C23", "C24", "C26", "C27"),
    "activation_similarity": ("C22", "C24", "C26", "C27", "F06"),
    "matched_correlation": (),
    "layer_operators": ("C25",),
}
PAIRED = ("C26", "C27")  # claims that compare the second panel with the first
BLOCKS = "C23"  # claim about blocks, on which several matrix types must agree
SIZES = "C27"  # claim about two sizes of a model
OUTPUTS = "F06"  # claim about the outputs of attention and FFN of one model
CONTROLLED = "C26"  # claim that the second panel is closer to the first than the third, a control

MatrixType = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Component = Literal[MatrixType, "mha", "ffn", "ln1", "ln2"]


@dataclass(frozen=True)
class SimilarityMap:
    """One measurement of how alike the layers of a model are.

    `lemon cka` writes a map over all pairs of layers, `lemon match` neighbouring layers alone.

    Attributes:
        run: run whose model is measured.
        measure: one of `MEASURES`, or `MATCHED`.
        component: a key of `COMPONENTS`.
    """

    run: str
    of: Literal["weights", "activations"]
    measure: str
    component: str

    @property
    def stage(self) -> str:
        """The command that writes it."""
        return "match" if self.measure == MATCHED else "cka"

    @property
    def path(self) -> str:
        """The path of its file in the folder of runs."""
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
    renderer: Literal[
        "weight_similarity", "activation_similarity", "matched_correlation", "layer_operators"
    ] = Field(
        description="weight_similarity: CKA of the weights of all pairs of layers; "
        "activation_similarity: the same of the outputs of attention and FFN on held-out text; "
        "matched_correlation: correlation of the FFN neurons of neighbouring layers there, as they "
        "are and aligned; layer_operators: the learned gamma"
    )
    panels: List[FigurePanel] = Field(
        min_length=1, description="in the order in which they are drawn"
    )
    claims: Names = Field(
        default=(), description="the published claims that it tests, ids in claims.csv"
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
        """The measurements of all panels; none for a figure of operators."""
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
        """The measurements of one panel.

        For weights there is one map per matrix type; `mha` and `ffn` are means over types. For
        activations, the output of attention or the FFN has one map.
        """
        if self.renderer == "matched_correlation":
            return [SimilarityMap(panel.run, "activations", MATCHED, panel.component)]
        of: Literal["weights", "activations"] = "activations"
        parts: list[str] = [panel.component] if self.renderer == "activation_similarity" else []
        if self.renderer == "weight_similarity":
            of, parts = "weights", [f"{part}_proj" for part in COMPONENTS.get(panel.component, ())]
        return [SimilarityMap(panel.run, of, kind, part) for kind in MEASURES for part in parts]


class MergedModel(Section):
    """One panel of a figure of merged layers."""

    label: Line = Field(description="title of the panel")
    run: Name = Field(description="id in runs.tsv, of a method that merges in rounds, such as come")


class MergesSpec(Section):
    """A figure of the source layers that each layer of merged models is made of: its panels."""

    is_figure: ClassVar[bool] = True

    title: Line = Field(description="heading")
    renderer: Literal["layer_merges"] = Field(
        description="layer_merges: the tree of source layers of each merged layer, and their shares"
    )
    panels: List[MergedModel] = Field(
        min_length=1, description="in the order in which they are drawn"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """The runs of the figure, in the order of its panels."""
        return [panel.run for panel in self.panels]


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
        default=(), description="the published claims that it tests, ids in claims.csv"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """The runs of the figure, in the order of its curves."""
        return [run for curve in self.curves for run in curve.runs]
