"""Figures of weights, activations and layer operators: what an entry of `paper.yaml` says of them.

They show no scores; the figures that do are entries of runs, `TableSpec` in `lemon.configuration.methods`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from lemon.configuration.bounds import Line, Lines, List, Name, Names
from lemon.configuration.preset import Section

# What of a layer is compared -> the layer types whose maps are averaged (method, open point 31).
COMPONENTS: dict[str, tuple[str, ...]] = {
    **{f"{t}_proj": (t,) for t in ("q", "k", "v", "o", "gate", "up", "down")},
    "mha": ("q", "k", "v", "o"),
    "ffn": ("gate", "up", "down"),
}
NORMS = ("ln1", "ln2")  # the two norms of a layer; operators have them, similarity has not
MEASURES = ("plain", "debiased")  # the two estimators of CKA, a folder each
# By renderer: the claims that are measured on what it shows.
CLAIMS: dict[str, tuple[str, ...]] = {
    "weight_similarity": ("C22", "C23", "C24", "C26", "C27"),
    "activation_similarity": ("C22", "C24", "C26", "C27"),
    "layer_operators": ("C25",),
}
PAIRED = ("C26", "C27")  # claims that compare the second panel with the first
BLOCKS = "C23"  # claim about blocks, on which several matrix types must agree
SIZES = "C27"  # claim about two sizes of a model

Component = Literal[
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "mha",
    "ffn",
    "ln1",
    "ln2",
]


@dataclass(frozen=True)
class SimilarityMap:
    """One map of the similarity of all pairs of layers, as `lemon cka` writes it.

    Attributes:
        run: whose model is measured.
        of: `weights` or `activations`.
        measure: of `MEASURES`.
        component: of `COMPONENTS`.
    """

    run: str
    of: Literal["weights", "activations"]
    measure: str
    component: str

    @property
    def path(self) -> str:
        """Where the map lies in the folder of runs."""
        return f"{self.run}/similarity/{self.of}/{self.measure}/{self.component}.csv"


class StandIn(Section):
    """What a panel shows where the preset has no second size."""

    label: Line = Field(description="title of the panel")
    run: Name = Field(description="id in runs.tsv")
    note: Line = Field(description="what a reader must know of it, a sentence")


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
        """Whether the paper has a second size here."""
        return self.otherwise is not None


class FigureSpec(Section):
    """A figure of weights, activations or layer operators: its renderer and its panels."""

    title: Line = Field(description="heading")
    renderer: Literal["weight_similarity", "activation_similarity", "layer_operators"] = Field(
        description="weight_similarity: CKA of the weights of all pairs of layers; "
        "activation_similarity: the same of what attention and FFN put out on held-out text; "
        "layer_operators: the learned gamma"
    )
    panels: List[FigurePanel] = Field(
        min_length=1,
        description="in the order in which they are drawn",
    )
    claims: Names = Field(
        default=(), description="the claims of the paper that it bears on, ids in claims.csv"
    )
    notes: Lines = Field(default=(), description="what else a reader must know, a sentence each")

    @property
    def runs(self) -> list[str]:
        """Every run that the figure shows, in the order of its panels."""
        return list(dict.fromkeys(panel.run for panel in self.panels))

    @property
    def is_figure(self) -> bool:
        """Always."""
        return True

    @property
    def maps(self) -> list[SimilarityMap]:
        """The similarity maps that it is drawn from; none for one of operators."""
        return list(dict.fromkeys(map for panel in self.panels for map in self.maps_of(panel)))

    def among(self, runs: Collection[str]) -> FigureSpec:
        """The figure as a preset with these runs shows it, stand-ins in place of what it lacks."""
        panels, notes = [], list(self.notes)
        for panel in self.panels:
            instead = panel.otherwise
            if panel.run not in runs and instead is not None:
                panel = panel.model_copy(update={"label": instead.label, "run": instead.run})
                notes.append(instead.note)
            panels.append(panel)
        return self.model_copy(update={"panels": tuple(panels), "notes": tuple(notes)})

    def maps_of(self, panel: FigurePanel) -> list[SimilarityMap]:
        """The similarity maps of one panel.

        Of weights each matrix type has its own, whose mean is the map of `mha` and `ffn`; what
        attention or the FFN puts out is one thing.
        """
        if self.renderer == "weight_similarity":
            return [
                SimilarityMap(panel.run, "weights", measure, f"{part}_proj")
                for measure in MEASURES
                for part in COMPONENTS.get(panel.component, ())
            ]
        if self.renderer == "activation_similarity":
            return [
                SimilarityMap(panel.run, "activations", measure, panel.component)
                for measure in MEASURES
            ]
        return []
